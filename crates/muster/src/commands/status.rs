//! `muster status`: every node, and what it waits for.

use muster_types::Phase;

use crate::context::{Context, Orders};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::events::tone;
use crate::output::table::{age, table};

/// Show every node of a cluster: its phase, its address, and what it waits for
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster status\n  muster status demo --json\n\nExits with 0 when every node is ready, 3 when some are, 1 when none is."
)]
pub(crate) struct Args {
    /// The cluster
    cluster: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let opened = context.open(args.cluster.as_deref()).await?;
    let document = opened.engine("status", Orders::default())?.engine.status(&opened.name).await?;
    let ready = document.nodes.iter().filter(|node| node.phase == Phase::Ready).count();
    let status = match document.nodes.len() {
        total if ready == total => ExitStatus::DONE,
        _ if ready > 0 => ExitStatus::PARTLY,
        _ => ExitStatus::FAILED,
    };
    if !context.printer.is_text() {
        context.printer.json(&document)?;
        return Ok(status);
    }
    let rows = document.nodes.iter().map(|node| {
        let why = if node.reason.is_empty() { node.waiting_for.clone() } else { node.reason.clone() };
        vec![
            node.name.to_string(),
            context.printer.data_tone(node.phase.as_str(), tone(node.phase)),
            node.addresses.first().cloned().unwrap_or_default(),
            age(node.since),
            why,
        ]
    });
    context.printer.line(&table(&context.printer, &["NODE", "PHASE", "ADDRESS", "SINCE", "WHY"], rows));
    Ok(status)
}
