//! `muster scale`: gives groups another number of nodes, inside what the file allows.

use std::path::{Path, PathBuf};

use crate::carry_out::{Order, Work};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::scaling::Wanted;

const HINT: &str = "write for example `muster scale compute=4`";

/// Give groups another number of nodes, within the range of `count` in the file
///
/// The number is kept: later runs of `up` make it so as well. Otherwise it does what `up` does. The nodes with the
/// highest numbers leave; what runs on them comes to its end first, where their recipe sees to that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster scale compute=4\n  muster scale slurm compute=+1 login=0\n  \
                        muster scale compute=2 --yes        remove nodes without asking")]
pub(crate) struct Args {
    /// The cluster, where it is not clear which; then groups and numbers: compute=4, compute=+1, compute=-1
    #[arg(required = true, value_name = "[CLUSTER] GROUP=N")]
    words: Vec<String>,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (cluster, scale) = read(&args.words)?;
    let store = context.store()?;
    let named = cluster.or(args.file.as_ref().and_then(|file| file.to_str()));
    let name = context.choose(store.as_ref(), named).await?;
    let Some(record) = store.cluster(&name).await? else {
        return Err(context.unknown_cluster(store.as_ref(), &name).await?);
    };
    let file = match &args.file {
        Some(file) => file.clone(),
        None => known(&record.file, name.as_str())?,
    };
    let mut compiled = context.compile(Some(&file), Some(&record.provider))?;
    if compiled.spec.name.value != name {
        let message = format!("{} describes cluster {}, not {name}", file.display(), compiled.spec.name.value);
        return Err(Failure::usage(message, "name its own file with `--file`"));
    }
    let opened = context.create(&mut compiled).await?;
    let again = format!("muster scale {}", args.words.join(" "));
    let order = Order { command: "scale", again, policy: muster_plan::Policy::default(), scale };
    args.work.carry_out(order, (&compiled, &opened), context).await
}

/// The cluster, if it is named, and the numbers.
fn read(words: &[String]) -> Result<(Option<&str>, Vec<Wanted>), Failure> {
    let (cluster, numbers) = match words {
        [first, rest @ ..] if !first.contains('=') => (Some(first.as_str()), rest),
        all => (None, all),
    };
    if numbers.is_empty() {
        return Err(Failure::usage("no group is named", HINT));
    }
    let numbers: Result<_, String> = numbers.iter().map(|word| word.parse()).collect();
    Ok((cluster, numbers.map_err(|error| Failure::usage(error, HINT))?))
}

/// The file that the cluster was made from, if it is still there.
fn known(file: &str, cluster: &str) -> Result<PathBuf, Failure> {
    if file == "-" || file.is_empty() {
        let message = format!("cluster {cluster} was not made from a file that can be read again");
        return Err(Failure::usage(message, "name its file with `--file FILE`"));
    }
    let path = Path::new(file);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let message = format!("the file that cluster {cluster} was made from is gone: {file}");
    Err(Failure::usage(message, "name the file with `--file FILE`"))
}
