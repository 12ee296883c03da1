//! `muster audit`: who did what to a cluster, by which plan.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_api::{Event, EventBody};
use muster_types::{NodeName, RunId, SignedDuration, Timestamp};

use crate::commands::exec::parse_duration;
use crate::commands::logs::words;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::Tone;

/// Events that are searched at the most; as many are kept of a cluster.
const EVENTS_MAX: usize = 100_000;

/// Show who did what to a cluster, by which plan: decisions with their reasons, orders to the provider with their ends
///
/// The record outlives the cluster. It holds no secrets, and what is in it is never changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster audit\n  muster audit demo --since 24h --node web-1\n  muster audit --json"
)]
pub(crate) struct Args {
    /// The cluster: its name, or its file
    cluster: Option<String>,
    /// Only what happened in this time until now: 30m, 24h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only what was done to this node
    #[arg(long)]
    node: Option<NodeName>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let store = context.store()?;
    let cluster = context.choose(store.as_ref(), args.cluster.as_deref()).await?;
    let events = store.events(&cluster, EVENTS_MAX).await?;
    let after =
        args.since.map(|since| Timestamp::now() - SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX));
    let mut plans: BTreeMap<RunId, String> = BTreeMap::new();
    for event in &events {
        if let EventBody::Ordered { plan, .. } = &event.body {
            plans.insert(event.run.clone(), plan.clone());
        }
    }
    let shown = |event: &&Event| {
        let in_time = after.is_none_or(|after| event.at >= after);
        in_time && is_of_audit(&event.body) && args.node.as_ref().is_none_or(|node| speaks_of(&event.body, node))
    };
    let entries: Vec<&Event> = events.iter().filter(shown).collect();
    if !context.printer.is_text() {
        let documents: Vec<_> =
            entries.iter().map(|event| serde_json::json!({ "plan": plans.get(&event.run), "event": event })).collect();
        let document = serde_json::json!({ "version": 1, "cluster": cluster, "entries": documents });
        context.printer.json(&document)?;
        return Ok(ExitStatus::DONE);
    }
    if entries.is_empty() {
        context.printer.note(&format!("Nothing of that kind is known to have happened to a cluster `{cluster}`."));
    }
    for event in entries {
        let at = event.at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
        let plan = plans.get(&event.run).map_or("-", |plan| &plan[..plan.len().min(8)]);
        let head = context.printer.data_tone(&format!("{at}  {plan:<8}"), Tone::Quiet);
        context.printer.line(&format!("{head}  {}", words(&event.body)));
    }
    Ok(ExitStatus::DONE)
}

/// Decisions, orders and ends; how nodes got along is told by `muster logs`.
fn is_of_audit(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::RunStarted { .. }
            | EventBody::Ordered { .. }
            | EventBody::Decided { .. }
            | EventBody::Intent { .. }
            | EventBody::Called { .. }
            | EventBody::Recorded { .. }
            | EventBody::Failed { .. }
            | EventBody::RunFinished { .. }
    )
}

fn speaks_of(body: &EventBody, of: &NodeName) -> bool {
    match body {
        EventBody::Decided { node, .. } | EventBody::Intent { node, .. } | EventBody::Recorded { node, .. } => {
            node == of
        }
        EventBody::Called { node, order, .. } => {
            node.as_ref() == Some(of) || order.split_whitespace().nth(1) == Some(of.as_str())
        }
        EventBody::Failed { node, .. } => node.as_ref() == Some(of),
        _ => false,
    }
}
