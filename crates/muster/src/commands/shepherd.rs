//! `muster shepherd`: the process that holds the nodes of a local cluster. Hidden; `up` starts it.

use std::path::PathBuf;

use muster_provider_local::{ShepherdOptions, run_shepherd};

use crate::exit::ExitStatus;
use crate::output::{Format, Printer};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    scope: String,
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    runtime_dir: PathBuf,
    #[arg(long)]
    subnet: String,
}

pub(crate) fn run(args: &Args) -> ExitStatus {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    log.with_max_level(tracing::Level::INFO).init();
    let options = ShepherdOptions {
        scope: args.scope.clone(),
        data_dir: args.data_dir.clone(),
        runtime_dir: args.runtime_dir.clone(),
        subnet: args.subnet.clone(),
    };
    match run_shepherd(&options) {
        Ok(()) => ExitStatus::DONE,
        Err(error) => {
            Printer::new(Format::Text).note(&muster_stdx::chain(&error));
            ExitStatus::FAILED
        }
    }
}
