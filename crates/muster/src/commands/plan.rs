//! `muster plan`: what `up` would do, and why.

use std::path::PathBuf;

use crate::commands::up::policy;
use crate::context::{Context, Orders, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;

/// Show what `up` would do, and why; nothing is changed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster plan cluster.yaml\n  muster plan --detailed-exitcode   exit 2 when something would change\n  \
                        muster plan --json"
)]
pub(crate) struct Args {
    /// The cluster file; cluster.yaml of this folder without it
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// As if these nodes were to get a new machine
    #[arg(long, value_name = "NODES")]
    replace: Option<String>,
    /// Exit with 2 when something would change
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let mut compiled = context.compile(args.file.as_deref(), &args.reading)?;
    let opened = context.look_at(&mut compiled).await?;
    let policy = policy(args.replace.as_deref(), &opened).await?;
    let plan = opened.engine("plan", Orders { policy, ..Orders::default() })?.engine.plan(&compiled).await?;
    if context.printer.is_text() {
        context.printer.line(plan.to_string().trim_end());
    } else {
        context.printer.json(&plan)?;
    }
    let pending = args.detailed_exitcode && !plan.is_empty();
    Ok(if pending { ExitStatus::PENDING } else { ExitStatus::DONE })
}
