//! Serf's command line: as `muster serf`, or when the program is started by that name or GIS.lab's.

use std::ffi::OsString;
use std::io;

use muster_serf::commands::{Environment, Terminal, run as run_command};
use muster_stdx::{OnError, Supervisor};
use muster_types::Redacted;

use crate::exit::ExitStatus;

/// `program` is the name that the help shows.
pub(crate) fn run(program: &str, arguments: Vec<OsString>) -> ExitStatus {
    let words: Vec<String> = arguments.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let status = runtime.block_on(command(program, &words));
    runtime.shutdown_background();
    status
}

async fn command(program: &str, words: &[String]) -> ExitStatus {
    let supervisor = Supervisor::new();
    let interrupt = supervisor.token().child_token();
    let interrupted = interrupt.clone();
    supervisor.spawn("interrupt", OnError::Log, async move {
        tokio::signal::ctrl_c().await?;
        interrupted.cancel();
        Ok::<(), io::Error>(())
    });
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let environment = Environment {
        program: program.to_owned(),
        rpc_address: variable("SERF_RPC_ADDR"),
        rpc_auth: variable("SERF_RPC_AUTH").map(Redacted::new),
        interrupt,
    };
    let (mut out, mut error) = (io::stdout(), io::stderr());
    ExitStatus(run_command(&environment, words, &mut Terminal { out: &mut out, error: &mut error }).await)
}

fn failed(error: &io::Error) -> ExitStatus {
    tracing::error!(%error, "no runtime");
    ExitStatus::FAILED
}
