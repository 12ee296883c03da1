//! Commands and terminals on the node: the agent's end of an exec stream.

mod account;
mod descriptor;
mod error;
mod process;
mod pump;
mod start;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::future::join;
use muster_api::{ExecExit, Frame, FrameKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

pub(crate) use account::Account;
pub(crate) use descriptor::Descriptor;
pub use error::ExecError;
pub(crate) use process::{Process, exit_code};
use pump::Ended;
use wire::{FrameReader, FrameWriter};

/// The waits of one exec; tests use shorter ones.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// For the first frame.
    request: Duration,
    /// For the end of output when the command has ended but a process that it left behind holds its pipes.
    output: Duration,
    /// Between SIGHUP and SIGKILL when the client is gone.
    hangup: Duration,
    /// Between signs of life to the client. Without them a client that vanished is not noticed while a command neither
    /// prints nor reads.
    heartbeat: Duration,
    /// For the client to take the last frame and close.
    linger: Duration,
}

const TIMING: Timing = Timing {
    request: Duration::from_secs(30),
    output: Duration::from_millis(200),
    hangup: Duration::from_secs(5),
    heartbeat: Duration::from_secs(15),
    linger: Duration::from_secs(2),
};

/// Runs one command for a client, from its request to the exit frame.
///
/// The first frame is the request. Then stdin, resizes and signals come in; output goes out, and last an `ExecExit`,
/// also when the command could not be started. An empty stdout frame is a sign of life and means nothing else.
///
/// The command leads a session and a process group of its own. When the client goes away, all of the session (on a
/// terminal: its group and the one in the foreground) gets SIGHUP, and what is left of it after five seconds SIGKILL. When this future is dropped, SIGKILL comes at once. What a command
/// leaves in the background when it ends by itself goes on.
pub async fn run<S>(stream: S) -> Result<(), ExecError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve(stream, TIMING).await
}

async fn serve<S>(stream: S, timing: Timing) -> Result<(), ExecError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader);
    let mut writer = FrameWriter::new(writer);
    let request = tokio::time::timeout(timing.request, reader.request()).await.map_err(|_| ExecError::NoRequest)??;
    let exit = match start::start(&request) {
        Err(refusal) => refusal.exit(),
        Ok(mut started) => match pump::pump(&mut started, &mut reader, &mut writer, timing).await {
            Ended::Exited(exit) => exit,
            Ended::Abandoned(error) => {
                started.hang_up(timing.hangup).await;
                return Err(error);
            }
        },
    };
    finish(exit, reader, writer, timing).await
}

/// Sends the last frame and waits until the client has closed: closing first, with input that nobody read, would reset
/// the connection and could take the frame away from the client.
async fn finish<R, W>(
    exit: ExecExit,
    reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    timing: Timing,
) -> Result<(), ExecError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let payload = serde_json::to_vec(&exit).map_err(ExecError::Encode)?;
    let last = Frame::new(FrameKind::Exit, payload);
    let mut reader = reader.into_inner();
    let mut rest = vec![0; 16 * 1024];
    let mut drain = std::pin::pin!(async { while reader.read(&mut rest).await.is_ok_and(|count| count > 0) {} });
    tokio::select! {
        biased;
        // Losing the write is what a closed connection means.
        sent = writer.send(&last) => sent?,
        // Losing the drain is safe: it is polled again below.
        () = &mut drain => return Err(ExecError::ClientGone),
    }
    // A client that does not close costs the linger time and nothing else.
    tokio::time::timeout(timing.linger, join(writer.close(), drain)).await.ok();
    Ok(())
}
