//! `muster scale`: gives groups another number of nodes, inside what the file allows.

use std::path::PathBuf;

use crate::carry_out::{Order, Victims, Work};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::known;
use crate::scaling::Wanted;

const HINT: &str = "write for example `muster scale compute=4`";

/// Give groups another number of nodes, within the range of `count` in the file
///
/// The number is kept: later runs of `up` make it so as well. Otherwise it does what `up` does. The nodes with the
/// highest numbers leave, unless you say which; what runs on them comes to its end first, where their recipe sees to that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster scale compute=4\n  muster scale slurm compute=+1 login=0\n  \
                        muster scale compute=2 --yes        remove nodes without asking\n  \
                        muster scale compute=2 --oldest     `muster node rm` removes nodes by name")]
pub(crate) struct Args {
    /// The cluster, where it is not clear which; then groups and numbers: compute=4, compute=+1, compute=-1
    #[arg(required = true, value_name = "[CLUSTER] GROUP=N")]
    words: Vec<String>,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// The nodes that were made first leave
    #[arg(long, conflicts_with = "newest")]
    oldest: bool,
    /// The nodes that were made last leave
    #[arg(long)]
    newest: bool,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (cluster, scale) = read(&args.words)?;
    let (compiled, opened) = known::open(context, (cluster, args.file.as_deref())).await?;
    let again = format!("muster scale {}", args.words.join(" "));
    let victims = match (args.oldest, args.newest) {
        (true, _) => Victims::Oldest,
        (_, true) => Victims::Newest,
        _ => Victims::Highest,
    };
    let order = Order { command: "scale", again, policy: muster_plan::Policy::default(), scale, victims, kept: None };
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
