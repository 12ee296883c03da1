//! `muster drift`: what has moved away from the file by itself.

use std::path::PathBuf;

use muster_engine::{DriftReport, Level};

use crate::context::{Context, Orders};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::known;
use crate::output::printer::Tone;
use crate::output::table::table;

/// Compare machines, configuration, membership and health with what the file says; nothing is changed
///
/// What is configured is looked at on the nodes themselves: files, packages, users, mounts. `muster up` puts back what has
/// drifted, and only that.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster drift\n  muster drift demo --detailed-exitcode   exit 2 when something has drifted\n  \
                        muster drift --json"
)]
pub(crate) struct Args {
    /// The cluster: its name, or its file
    cluster: Option<String>,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Exit with 2 when something has drifted
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let (compiled, opened) = known::open(context, (args.cluster.as_deref(), args.file.as_deref())).await?;
    let report = opened.engine("drift", Orders::default())?.engine.drift(&compiled).await?;
    show(&report, context)?;
    let pending = args.detailed_exitcode && !report.findings.is_empty();
    Ok(if pending { ExitStatus::PENDING } else { ExitStatus::DONE })
}

fn show(report: &DriftReport, context: &Context) -> Result<(), Failure> {
    let printer = &context.printer;
    if !printer.is_text() {
        return printer.json(report);
    }
    if report.findings.is_empty() {
        let noun = if report.nodes == 1 { "node" } else { "nodes" };
        printer.line(&format!("{}: nothing has drifted on {} {noun}", report.cluster, report.nodes));
        return Ok(());
    }
    let rows = report.findings.iter().map(|finding| {
        let tone = if finding.level == Level::Configuration { Tone::Busy } else { Tone::Bad };
        vec![
            finding.node.to_string(),
            printer.data_tone(finding.level.as_str(), tone),
            finding.what.clone(),
            finding.remedy.clone(),
        ]
    });
    printer.line(&table(printer, &["NODE", "LEVEL", "WHAT", "REMEDY"], rows));
    let counts: Vec<String> =
        report.counts().into_iter().map(|(level, count)| format!("{} {count}", level.as_str())).collect();
    printer.note(&format!("{}: {}", report.cluster, counts.join(", ")));
    Ok(())
}
