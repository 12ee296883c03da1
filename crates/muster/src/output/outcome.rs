//! What became of a run, for people and as a document.

use std::collections::BTreeSet;

use muster_engine::{Exit, NodeOutcome, Outcome};
use muster_plan::Verb;
use muster_types::Phase;

use crate::error::Failure;
use crate::output::events::tone;
use crate::output::printer::Tone;
use crate::output::table::{duration, table};
use crate::output::{Format, Printer};

/// Log lines of a failed node that are shown; `muster logs` has the rest.
const LOG_LINES_MAX: usize = 10;

/// Every node accounted for, then what went wrong and what to do.
pub(crate) fn summary(outcome: &Outcome, printer: &Printer) -> Result<(), Failure> {
    match printer.format {
        Format::JsonLines => return Ok(()),
        Format::Json => return printer.json(&document(outcome)),
        Format::Text => accounts(outcome, printer),
    }
    let removed = match outcome.removed.len() {
        0 => String::new(),
        count => format!(", {count} removed"),
    };
    let (ready, total) = (outcome.ready(), outcome.total());
    let mark = if outcome.exit == Exit::Done { Tone::Good } else { Tone::Bad };
    let text =
        format!("{}: {ready} of {total} ready{removed}, in {}", outcome.cluster, duration(outcome.took.as_millis()));
    printer.note(&printer.tone(&text, mark));
    if let Some(words) = touched(outcome) {
        printer.note(&words);
    }
    if ready < total {
        printer.hint("run the same command again to go on; what is ready stays as it is");
    }
    Ok(())
}

/// Each node in a line, then what went wrong.
pub(crate) fn accounts(outcome: &Outcome, printer: &Printer) {
    if !outcome.nodes.is_empty() {
        let rows = outcome.nodes.iter().map(|node| {
            vec![
                node.name.to_string(),
                printer.data_tone(node.phase.as_str(), tone(node.phase)),
                node.addresses.first().map(ToString::to_string).unwrap_or_default(),
                duration(node.took.as_millis()),
                node.reason.clone(),
            ]
        });
        printer.line(&table(printer, &["NODE", "PHASE", "ADDRESS", "TOOK", "WHY"], rows));
    }
    for node in outcome.nodes.iter().filter(|node| node.phase == Phase::Failed) {
        failed(node, printer);
    }
    for leftover in &outcome.leftovers {
        printer.note(&format!("{} {leftover}", printer.tone("left:", Tone::Bad)));
    }
}

/// `touched 3 of 7: 2 new; 1 configured: its files speak of web-3, which is new`
fn touched(outcome: &Outcome) -> Option<String> {
    let counts = outcome.counts();
    let all = outcome.total() + outcome.removed.len() + outcome.untouched;
    if counts.touched() == 0 || counts.touched() == counts.created && counts.created == all {
        return None;
    }
    let parts = [
        (counts.created, "new"),
        (counts.started, "started"),
        (counts.replaced, "replaced"),
        (counts.removed, "removed"),
        (counts.configured, "configured"),
    ];
    let mut words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let configured = |node: &&NodeOutcome| node.verb == Verb::Configure && node.phase == Phase::Ready;
    let reasons: BTreeSet<&str> = outcome.nodes.iter().filter(configured).map(|node| node.why.as_str()).collect();
    if let (Some(last), Some(reason)) = (words.last_mut(), reasons.first()) {
        let more = if reasons.len() > 1 { format!(", and {} more reasons", reasons.len() - 1) } else { String::new() };
        *last = format!("{last}: {reason}{more}");
    }
    Some(format!("touched {} of {all}: {}", counts.touched(), words.join("; ")))
}

fn failed(node: &NodeOutcome, printer: &Printer) {
    let step = node.step.as_ref().map(|step| format!(", {step}")).unwrap_or_default();
    printer.note(&format!("\n{} {}{step}: {}", printer.tone("failed:", Tone::Bad), node.name, node.reason));
    for line in &node.log[node.log.len().saturating_sub(LOG_LINES_MAX)..] {
        printer.note(&format!("    {line}"));
    }
    printer.hint(&node.hint);
}

pub(crate) fn document(outcome: &Outcome) -> serde_json::Value {
    let nodes: Vec<_> = outcome
        .nodes
        .iter()
        .map(|node| {
            serde_json::json!({
                "name": node.name, "group": node.group, "action": node.verb, "why": node.why, "phase": node.phase,
                "reason": node.reason, "step": node.step, "log": node.log, "hint": node.hint,
                "id": node.machine, "addresses": node.addresses, "changed": node.changed,
                "duration_ms": node.took.as_millis(),
            })
        })
        .collect();
    let counts = outcome.counts();
    let counts = serde_json::json!({
        "created": counts.created, "started": counts.started, "configured": counts.configured,
        "replaced": counts.replaced, "removed": counts.removed, "kept": counts.kept,
        "untouched": outcome.untouched, "touched": counts.touched(),
    });
    serde_json::json!({
        "counts": counts,
        "version": 1, "cluster": outcome.cluster, "run": outcome.run, "exit": outcome.exit.code(),
        "nodes": nodes, "removed": outcome.removed, "leftovers": outcome.leftovers,
        "duration_ms": outcome.took.as_millis(),
    })
}
