//! `muster up`: brings a cluster to what its file says.

use std::path::PathBuf;

use muster_engine::{Exit, NodeOutcome, Outcome};
use muster_plan::{Plan, Policy};
use muster_types::Phase;

use crate::commands::exec::choose;
use crate::confirm::confirm;
use crate::context::{Context, Opened, Ready};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::output::events::{show, tone};
use crate::output::printer::Tone;
use crate::output::table::{duration, table};
use crate::output::{Format, Printer};

/// Log lines of a failed node that are shown; `muster logs` has the rest.
const LOG_LINES_MAX: usize = 10;

/// Bring a cluster to what its file says: make, start, join, configure and verify its nodes
///
/// Run it again after any failure or interruption: it goes on where it was. It asks before it replaces or removes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster up examples/quickstart.yaml\n  muster up cluster.yaml --yes          replace and remove without asking\n  \
                        muster up --jsonl cluster.yaml        events as data, as they happen"
)]
pub(crate) struct Args {
    /// The cluster file; cluster.yaml of this folder without it, - for standard input
    file: Option<PathBuf>,
    /// Agree to replacing and removing nodes
    #[arg(short, long)]
    yes: bool,
    /// Use this provider, whatever the file says
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Give these nodes a new machine, whatever their state: web-1, web-[1-3], @group
    #[arg(long, value_name = "NODES")]
    replace: Option<String>,
    /// Nodes at work at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let mut compiled = context.compile(args.file.as_deref(), args.provider.as_deref())?;
    let printer = &context.printer;
    let name = args.file.as_ref().map_or_else(|| "cluster.yaml".to_owned(), |file| file.display().to_string());
    let interrupt = Interrupt::listen(printer, format!("muster up {name}"))?;
    let opened = context.create(&mut compiled).await?;
    let policy = policy(args.replace.as_deref(), &opened).await?;
    let Ready { engine, events } = opened.engine("up", usize::from(args.parallel), policy)?;
    // Held from the plan to its end, so that nothing moves in between.
    engine.lease(&opened.name).await?;
    let plan = engine.plan(&compiled).await?;
    announce(&plan, printer);
    if plan.is_destructive() && !confirm("Replace or remove the nodes above?", args.yes)? {
        printer.note("Nothing was changed.");
        return Ok(ExitStatus::FAILED);
    }
    let showing = show(events, printer.clone());
    let working = async {
        let result = engine.up(&compiled, plan, interrupt.token.clone()).await;
        // The engine holds the sender of the events: the showing ends when it is gone.
        drop(engine);
        result
    };
    let (outcome, shown) = tokio::join!(working, showing);
    shown?;
    let outcome = outcome?;
    summary(&outcome, printer)?;
    Ok(interrupt.status().filter(|_| outcome.exit != Exit::Done).unwrap_or(ExitStatus(outcome.exit.code())))
}

/// What the command line asks for beyond the file.
pub(crate) async fn policy(replace: Option<&str>, opened: &Opened) -> Result<Policy, Failure> {
    let Some(expression) = replace else { return Ok(Policy::default()) };
    let chosen = choose(expression, opened).await?;
    Ok(Policy { replace: chosen.into_iter().map(|node| node.name).collect() })
}

/// The plan before: whole where something is lost, else in a line.
fn announce(plan: &Plan, printer: &Printer) {
    if !printer.is_text() {
        return;
    }
    if plan.is_destructive() || plan.is_empty() {
        printer.note(plan.to_string().trim_end());
    } else {
        let summary = plan.summary();
        let counts = [
            ("create", summary.create),
            ("start", summary.start),
            ("configure", summary.configure),
            ("keep", summary.keep),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(verb, count)| format!("{verb} {count}")).collect();
        printer.note(&format!("{}: {}", plan.cluster(), words.join(", ")));
        for image in plan.images() {
            printer.note(&format!("image {image} is made first: it is not there yet"));
        }
    }
}

/// Every node accounted for, then what went wrong and what to do.
pub(crate) fn summary(outcome: &Outcome, printer: &Printer) -> Result<(), Failure> {
    match printer.format {
        Format::JsonLines => return Ok(()),
        Format::Json => return printer.json(&document(outcome)),
        Format::Text => {}
    }
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
    let removed = match outcome.removed.len() {
        0 => String::new(),
        count => format!(", {count} removed"),
    };
    let (ready, total) = (outcome.ready(), outcome.total());
    let mark = if outcome.exit == Exit::Done { Tone::Good } else { Tone::Bad };
    let text =
        format!("{}: {ready} of {total} ready{removed}, in {}", outcome.cluster, duration(outcome.took.as_millis()));
    printer.note(&printer.tone(&text, mark));
    if ready < total {
        printer.hint("run the same command again to go on; what is ready stays as it is");
    }
    Ok(())
}

fn failed(node: &NodeOutcome, printer: &Printer) {
    let step = node.step.as_ref().map(|step| format!(", {step}")).unwrap_or_default();
    printer.note(&format!("\n{} {}{step}: {}", printer.tone("failed:", Tone::Bad), node.name, node.reason));
    for line in &node.log[node.log.len().saturating_sub(LOG_LINES_MAX)..] {
        printer.note(&format!("    {line}"));
    }
    printer.hint(&node.hint);
}

fn document(outcome: &Outcome) -> serde_json::Value {
    let nodes: Vec<_> = outcome
        .nodes
        .iter()
        .map(|node| {
            serde_json::json!({
                "name": node.name, "group": node.group, "action": node.verb, "phase": node.phase,
                "reason": node.reason, "step": node.step, "log": node.log, "hint": node.hint,
                "id": node.machine, "addresses": node.addresses, "changed": node.changed,
                "duration_ms": node.took.as_millis(),
            })
        })
        .collect();
    serde_json::json!({
        "version": 1, "cluster": outcome.cluster, "run": outcome.run, "exit": outcome.exit.code(),
        "nodes": nodes, "removed": outcome.removed, "leftovers": outcome.leftovers,
        "duration_ms": outcome.took.as_millis(),
    })
}
