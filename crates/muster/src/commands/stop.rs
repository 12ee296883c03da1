//! `muster stop`: powers a whole cluster off and keeps its data.

use std::path::PathBuf;

use muster_engine::Tend;

use crate::carry_out::Draining;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::{known, tending};

/// Power all nodes of a cluster off; their data is kept, and `start` brings them back
///
/// Nodes are drained first where their recipes say how, and those that others need are stopped last.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster stop demo\n  muster stop --no-drain        whatever runs on them")]
pub(crate) struct Args {
    /// The cluster: its name, or its file
    cluster: Option<String>,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    draining: Draining,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (compiled, opened) = known::open(context, (args.cluster.as_deref(), args.file.as_deref())).await?;
    let nodes = opened.nodes().await?.into_iter().filter(|node| node.machine.is_some()).map(|node| node.name);
    let order = (Tend::Stop, nodes.collect(), format!("muster stop {}", opened.name));
    tending::carry_out(order, args.draining, (&compiled, &opened), context).await
}
