//! `muster start`: starts the nodes of a cluster that are stopped.

use std::path::PathBuf;

use muster_plan::Policy;
use muster_types::Phase;

use crate::carry_out::{Order, Victims, Work};
use crate::context::{Context, Orders};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::known;

/// Start the nodes of a cluster that are stopped, and verify them; nothing else is changed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster start demo\n  muster start --json")]
pub(crate) struct Args {
    /// The cluster: its name, or its file
    cluster: Option<String>,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (compiled, opened) = known::open(context, (args.cluster.as_deref(), args.file.as_deref())).await?;
    let status = opened.engine("start", Orders::default())?.engine.status(&opened.name).await?;
    let stopped = status.nodes.into_iter().filter(|node| node.phase == Phase::Stopped).map(|node| node.name);
    let policy = Policy { only: Some(stopped.collect()), ..Policy::default() };
    let again = format!("muster start {}", opened.name);
    let order = Order { command: "start", again, policy, scale: Vec::new(), victims: Victims::Highest, kept: None };
    args.work.carry_out(order, (&compiled, &opened), context).await
}
