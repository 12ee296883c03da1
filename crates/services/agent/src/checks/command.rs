//! A short command whose output matters only at its end.

use std::io;
use std::process::{Command, Stdio};

use muster_sys::session::{End, Session, SessionError};

use crate::exec::{Account, Descriptor, Process};

/// How much of the output's end is kept.
const OUTPUT_BYTES_MAX: usize = 4096;
/// As much as a pipe holds by default.
const OUTPUT_DRAIN_MAX: usize = 64 * 1024;

pub(super) struct Ran {
    pub(super) end: End,
    /// The end of what it printed, stdout and stderr as they came.
    pub(super) output: Vec<u8>,
}

/// Runs a program as the agent's user, in `/`. Dropping the future kills its process group; so does its end, since what
/// a check leaves in the background would grow with every try.
pub(super) async fn run(words: &[String]) -> Result<Ran, SessionError> {
    let (process, output) = start(words)?;
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    let mut open = true;
    let end = loop {
        tokio::select! {
            // Losing either is safe: they only wait.
            ready = output.readable(), if open => {
                let mut ready = ready.map_err(SessionError::Watch)?;
                match output.read_now(&mut buffer).map_err(SessionError::Watch)? {
                    None => ready.clear_ready(),
                    Some(0) => open = false,
                    Some(count) => keep(&mut kept, &buffer[..count]),
                }
            }
            end = process.ended() => break end.map_err(SessionError::Watch)?,
        }
    };
    process.signal(libc::SIGKILL);
    // What it had written is in the pipe; a process that it left behind may hold that open.
    let mut drained = 0;
    while drained < OUTPUT_DRAIN_MAX
        && let Ok(Some(count @ 1..)) = output.read_now(&mut buffer)
    {
        drained += count;
        keep(&mut kept, &buffer[..count]);
    }
    Ok(Ran { end, output: kept })
}

fn start(words: &[String]) -> Result<(Process, Descriptor), SessionError> {
    let (reader, writer) = io::pipe().map_err(SessionError::Prepare)?;
    let second = writer.try_clone().map_err(SessionError::Prepare)?;
    let reader = Descriptor::new(reader.into()).map_err(SessionError::Prepare)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear().envs(Account::own().environment());
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let session = Session { folder: Some("/".into()), ..Session::default() };
    Ok((Process::start(session, command)?, reader))
}

/// Lets go of the beginning when the whole is too long.
fn keep(kept: &mut Vec<u8>, data: &[u8]) {
    kept.extend_from_slice(data);
    let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
    drop(kept.drain(..excess));
}
