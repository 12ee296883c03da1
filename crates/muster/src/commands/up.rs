//! `muster up`: brings a cluster to what its file says.

use std::path::PathBuf;

use muster_plan::Policy;

use crate::carry_out::{Order, Victims, Work};
use crate::commands::exec::choose;
use crate::context::{Context, Opened, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::plan_file::PlanFile;

/// Bring a cluster to what its file says: make, start, join, configure and verify its nodes
///
/// Run it again after any failure or interruption: it goes on where it was. It asks before it replaces or removes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster up examples/quickstart.yaml\n  muster up cluster.yaml --yes          replace and remove without asking\n  \
                        muster up --jsonl cluster.yaml        events as data, as they happen"
)]
pub(crate) struct Args {
    /// The cluster file; cluster.yaml of this folder without it, - for standard input; or FILE.plan of `muster plan -o`
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Give these nodes a new machine, whatever their state: web-1, web-[1-3], @group
    #[arg(long, value_name = "NODES")]
    replace: Option<String>,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let named = args.file.as_ref().map_or_else(|| "cluster.yaml".to_owned(), |file| file.display().to_string());
    let again = format!("muster up {named}");
    let kept = args.file.as_deref().map(PlanFile::read).transpose()?.flatten();
    if kept.is_some() && (args.reading.is_given() || args.replace.is_some()) {
        let hint = "make another plan with them: `muster plan --replace NODES -o FILE.plan`";
        let message = "`--provider`, `--nodes`, `--image` and `--replace` are part of a plan that is kept";
        return Err(Failure::usage(message, hint));
    }
    let (file, reading) = match &kept {
        Some(kept) => (Some(kept.file.as_path()), kept.reading()),
        None => (args.file.as_deref(), args.reading),
    };
    let mut compiled = context.compile(file, &reading)?;
    let opened = context.create(&mut compiled).await?;
    let policy = match &kept {
        Some(kept) => Policy { replace: kept.replace.clone(), ..Policy::default() },
        None => policy(args.replace.as_deref(), &opened).await?,
    };
    let order = Order { command: "up", again, policy, scale: Vec::new(), victims: Victims::Highest, kept };
    args.work.carry_out(order, (&compiled, &opened), context).await
}

/// What the command line asks for beyond the file.
pub(crate) async fn policy(replace: Option<&str>, opened: &Opened) -> Result<Policy, Failure> {
    let Some(expression) = replace else { return Ok(Policy::default()) };
    let chosen = choose(expression, opened).await?;
    Ok(Policy { replace: chosen.into_iter().map(|node| node.name).collect(), ..Policy::default() })
}
