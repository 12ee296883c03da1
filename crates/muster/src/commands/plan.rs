//! `muster plan`: what `up` would do, and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_engine::Engine;
use muster_engine::compile::Compiled;
use muster_plan::Plan;
use muster_types::NodeName;

use crate::commands::up::policy;
use crate::context::{Context, Orders, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::plan_file::{self, Made, PlanFile};

/// Show what `up` would do, and why; nothing is changed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster plan cluster.yaml\n  muster plan --detailed-exitcode   exit 2 when something would change\n  \
                        muster plan --json\n  muster plan -o monday.plan        then, if nothing has moved: muster up monday.plan"
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
    /// Write the plan to this file, for `muster up FILE.plan`
    #[arg(short, long, value_name = "FILE.plan")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let mut compiled = context.compile(args.file.as_deref(), &args.reading)?;
    let opened = context.look_at(&mut compiled).await?;
    let policy = policy(args.replace.as_deref(), &opened).await?;
    let replace = policy.replace.clone();
    let engine = opened.engine("plan", Orders { policy, ..Orders::default() })?.engine;
    let plan = engine.plan(&compiled).await?;
    if let Some(path) = &args.output {
        keep(path, (&compiled, &args.reading, replace), (&engine, &plan)).await?;
        context.printer.note(&format!("Carry it out with: muster up {}", path.display()));
    }
    if context.printer.is_text() {
        context.printer.line(plan.to_string().trim_end());
    } else {
        context.printer.json(&plan)?;
    }
    let pending = args.detailed_exitcode && !plan.is_empty();
    Ok(if pending { ExitStatus::PENDING } else { ExitStatus::DONE })
}

async fn keep(
    path: &Path,
    (compiled, reading, replace): (&Compiled, &ReadingArgs, BTreeSet<NodeName>),
    (engine, plan): (&Engine, &Plan),
) -> Result<(), Failure> {
    plan_file::check_name(path)?;
    if compiled.path == "-" {
        let hint = "write the cluster file to disk first: it is read again when the plan is carried out";
        return Err(Failure::usage("a plan of standard input cannot be kept", hint));
    }
    let reality = engine.reality().await.unwrap_or_default();
    let made = Made { plan, reality: &reality, sources: &compiled.sources };
    PlanFile::new((Path::new(&compiled.path), reading), replace, &made)?.write(path)
}
