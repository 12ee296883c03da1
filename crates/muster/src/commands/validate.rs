//! `muster validate`: everything that is wrong with a cluster file, at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::context::{Context, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;

/// Check a cluster file: all mistakes at once, nothing is made
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster validate cluster.yaml\n  muster validate --json cluster.yaml   diagnostics as data"
)]
pub(crate) struct Args {
    /// The cluster file; cluster.yaml of this folder without it, - for standard input
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let compiled = context.compile(args.file.as_deref(), &args.reading)?;
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new()).len();
    if context.printer.is_text() {
        let noun = if nodes == 1 { "node" } else { "nodes" };
        context.printer.line(&format!("{}: the file is right; it describes {nodes} {noun}", compiled.spec.name.value));
    } else {
        let diagnostics = muster_doc::to_json(&compiled.warnings, &compiled.sources);
        context.printer.line(&diagnostics.to_string());
    }
    Ok(ExitStatus::DONE)
}
