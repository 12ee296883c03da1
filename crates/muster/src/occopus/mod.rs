//! Occopus' commands under their own names, and the state that only they need: imported node definitions, and which
//! infrastructure is which cluster. Machines are the engine's, as for every other command.

mod args;
mod build;
pub(crate) mod definitions;
mod destroy;
mod import;
mod infralist;
mod maintain;
pub(crate) mod place;
mod records;
pub(crate) mod rest;
mod scale;
mod scaling;
mod session;
mod settings;
pub(crate) mod voice;

use std::ffi::OsString;

use muster_types::ClusterName;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::args::Command;
use crate::occopus::place::Place;
use crate::occopus::records::Records;
use crate::occopus::voice::Voice;
use crate::output::{Format, Printer};
use crate::paths::Paths;

/// Runs one of the programs. `called` is its name, or `muster`: then the first word says which.
pub(crate) fn run(called: &str, words: Vec<OsString>) -> ExitStatus {
    let command = match args::parse(called, words) {
        Ok(command) => command,
        Err(status) => return status,
    };
    crate::start_log(false);
    let printer = Printer::new(Format::Text);
    let voice = Voice::new(printer.clone());
    let result = crate::with_runtime(printer, None, async |context| dispatch(command, context, &voice).await);
    result.unwrap_or_else(|failure| {
        voice.failure(&failure);
        plain(failure.status())
    })
}

/// Occopus' programs end with 0 or 1; scripts compare with 1.
fn plain(status: ExitStatus) -> ExitStatus {
    match status {
        ExitStatus::DONE | ExitStatus::INTERRUPTED => status,
        _ => ExitStatus::FAILED,
    }
}

/// What `muster down` does before it begins: whoever looks after the cluster as an infrastructure of Occopus' commands is not
/// to make it anew. Gives the infrastructure's id.
pub(crate) fn is_leaving(paths: &Paths, cluster: &ClusterName) -> Result<Option<String>, Failure> {
    let Some(records) = Records::existing(Place::at(paths)) else { return Ok(None) };
    let found = records.all()?.into_iter().find(|record| record.cluster == *cluster);
    found.map(|record| Ok(records.change(&record.id, |record| record.destroying = true)?.id)).transpose()
}

/// And when nothing of it is left.
pub(crate) fn forget(paths: &Paths, id: &str) -> Result<(), Failure> {
    Records::existing(Place::at(paths)).map_or(Ok(()), |records| records.remove(id))
}

async fn dispatch(command: Command, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    let status = match command {
        Command::Import(args) => import::run(&args, context, voice),
        Command::Build(args) => Box::pin(build::run(args, context, voice)).await,
        Command::Scale(args) => scale::run(&args, context, voice),
        Command::Maintain(args) => Box::pin(maintain::run(args, context, voice)).await,
        Command::Destroy(args) => Box::pin(destroy::run(args, context, voice)).await,
        Command::RestService(args) => Box::pin(rest::run(args, context, voice)).await,
    }?;
    Ok(plain(status))
}
