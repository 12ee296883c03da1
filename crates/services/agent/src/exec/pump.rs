//! The traffic of one exec: both directions at once, each waiting for its own reader and for nothing else.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use muster_api::{ExecExit, FRAME_BYTES_MAX, Frame, FrameKind, WindowSize};
use muster_sys::pty;
use muster_sys::session::signal_group;
use tokio::io::unix::AsyncFdReadyGuard;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::start::{Started, Streams};
use super::wire::{FrameReader, FrameWriter};
use super::{Descriptor, ExecError, Process, Timing, exit_code};

/// Frames of input that wait for a command that does not read. Signals and resizes overtake those.
const STDIN_FRAMES_MAX: usize = 2;
/// Read at once: a node has 8 MiB for its agent, and may run some dozens of commands.
const OUTPUT_BYTES: usize = 16 * 1024;
const _: () = assert!(OUTPUT_BYTES <= FRAME_BYTES_MAX, "what is read at once fits a frame");
/// As much as a pipe can hold unless the administrator has raised it.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

pub(super) enum Ended {
    /// All output has been sent; the exit frame has not.
    Exited(ExecExit),
    /// There is nobody to tell, or nothing sensible came from there; the command may run.
    Abandoned(ExecError),
}

pub(super) async fn pump<R, W>(
    started: &mut Started,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
    timing: Timing,
) -> Ended
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Started { process, streams } = started;
    let Streams { terminal, stdin, stdout, stderr } = streams;
    let (process, terminal) = (&*process, terminal.as_ref());
    let outputs = (terminal.or(stdout.as_ref()), stderr.as_ref());
    let (queue, queued) = mpsc::channel(STDIN_FRAMES_MAX);
    tokio::select! {
        // Whichever ends first ends the exec. Losing the others is safe: what the client still sends has no reader, and
        // a client that is gone takes no output.
        result = send_output(process, outputs, writer, timing) => result.map_or_else(Ended::Abandoned, Ended::Exited),
        error = take_input(process, terminal, reader, queue) => Ended::Abandoned(error),
        never = feed(stdin, terminal, queued) => match never {},
    }
}

/// Sends output until the command has ended and its output is at its end, or nobody but a process that it left behind
/// could go on writing.
async fn send_output<W: AsyncWrite + Unpin>(
    process: &Process,
    (mut stdout, mut stderr): (Option<&Descriptor>, Option<&Descriptor>),
    writer: &mut FrameWriter<W>,
    timing: Timing,
) -> Result<ExecExit, ExecError> {
    let mut buffer = vec![0; OUTPUT_BYTES];
    let mut heartbeat = interval_at(Instant::now() + timing.heartbeat, timing.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut exit: Option<(i32, Instant)> = None;
    loop {
        if let Some((code, _)) = exit
            && stdout.is_none()
            && stderr.is_none()
        {
            return Ok(ExecExit { code, error: None });
        }
        // Losing any of these is safe: they only wait, and find the same when they are asked again.
        tokio::select! {
            ready = readable(stdout) => {
                send_some(FrameKind::Stdout, ready, &mut stdout, &mut buffer, writer).await?;
            }
            ready = readable(stderr) => {
                send_some(FrameKind::Stderr, ready, &mut stderr, &mut buffer, writer).await?;
            }
            end = process.ended(), if exit.is_none() => {
                let code = exit_code(end.map_err(ExecError::Watch)?);
                exit = Some((code, Instant::now() + timing.output));
            }
            code = output_is_over(exit) => {
                // What the command itself wrote is in the pipes, so it is read without waiting for more.
                drain(FrameKind::Stdout, stdout, &mut buffer, writer).await?;
                drain(FrameKind::Stderr, stderr, &mut buffer, writer).await?;
                return Ok(ExecExit { code, error: None });
            }
            _ = heartbeat.tick() => writer.send(&Frame::new(FrameKind::Stdout, Bytes::new())).await?,
        }
    }
}

async fn readable(source: Option<&Descriptor>) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
    match source {
        None => pending().await,
        Some(source) => source.readable().await,
    }
}

async fn output_is_over(exit: Option<(i32, Instant)>) -> i32 {
    match exit {
        None => pending().await,
        Some((code, until)) => {
            sleep_until(until).await;
            code
        }
    }
}

/// One read, one frame. At its end the source becomes `None`.
async fn send_some<W: AsyncWrite + Unpin>(
    kind: FrameKind,
    ready: io::Result<AsyncFdReadyGuard<'_, OwnedFd>>,
    source: &mut Option<&Descriptor>,
    buffer: &mut [u8],
    writer: &mut FrameWriter<W>,
) -> Result<(), ExecError> {
    let mut ready = ready.map_err(ExecError::Output)?;
    let Some(descriptor) = *source else { return Ok(()) };
    match descriptor.read_now(buffer).map_err(ExecError::Output)? {
        None => ready.clear_ready(),
        Some(0) => *source = None,
        Some(count) => {
            drop(ready);
            writer.send(&Frame::new(kind, Bytes::copy_from_slice(&buffer[..count]))).await?;
        }
    }
    Ok(())
}

/// What is there now, and no more than could have been there when the command ended.
async fn drain<W: AsyncWrite + Unpin>(
    kind: FrameKind,
    source: Option<&Descriptor>,
    buffer: &mut [u8],
    writer: &mut FrameWriter<W>,
) -> Result<(), ExecError> {
    let Some(source) = source else { return Ok(()) };
    let mut drained = 0;
    while drained < DRAIN_BYTES_MAX {
        match source.read_now(buffer).map_err(ExecError::Output)? {
            None | Some(0) => break,
            Some(count) => {
                drained += count;
                writer.send(&Frame::new(kind, Bytes::copy_from_slice(&buffer[..count]))).await?;
            }
        }
    }
    Ok(())
}

/// Takes frames until the client goes away or sends what it may not; returns which.
async fn take_input<R: AsyncRead + Unpin>(
    process: &Process,
    terminal: Option<&Descriptor>,
    reader: &mut FrameReader<R>,
    queue: mpsc::Sender<Bytes>,
) -> ExecError {
    let mut queue = Some(queue);
    loop {
        let frame = match reader.next().await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        let taken = match frame.kind {
            FrameKind::Stdin => {
                // Once a command does not read any more, its input is thrown away as by a closed pipe.
                let lost = match &queue {
                    Some(queue) => queue.send(frame.payload).await.is_err(),
                    None => false,
                };
                if lost {
                    queue = None;
                }
                Ok(())
            }
            FrameKind::StdinClosed => {
                queue = None;
                Ok(())
            }
            FrameKind::Resize => resize(terminal, &frame),
            FrameKind::Signal => signal(process, terminal, &frame),
            kind => Err(ExecError::Unexpected(kind)),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

/// Without a terminal there is nothing to resize.
fn resize(terminal: Option<&Descriptor>, frame: &Frame) -> Result<(), ExecError> {
    let size: WindowSize = serde_json::from_slice(&frame.payload).map_err(|_| ExecError::Payload(frame.kind))?;
    if let Some(terminal) = terminal
        && let Err(error) = pty::resize(terminal, pty::Size { columns: size.columns, rows: size.rows })
    {
        tracing::debug!(%error, "cannot resize a terminal");
    }
    Ok(())
}

/// To the group in the foreground of the terminal; to the command's own group without one.
fn signal(process: &Process, terminal: Option<&Descriptor>, frame: &Frame) -> Result<(), ExecError> {
    let number = std::str::from_utf8(&frame.payload).ok().and_then(|text| text.parse().ok());
    let number = number.filter(|number| SIGNALS.contains(number)).ok_or(ExecError::Payload(frame.kind))?;
    match terminal.and_then(pty::foreground_group) {
        Some(group) => {
            if let Err(error) = signal_group(group, number) {
                tracing::debug!(%group, number, %error, "cannot signal the group in the foreground");
            }
        }
        None => process.signal(number),
    }
    Ok(())
}

/// Writes input to the command until it is closed on either side. Never returns: an exec goes on without input.
///
/// Only the client's word ends the input. When this future is dropped the pipe stays open: a command whose client is
/// gone must not take half of its input for the whole before the signal reaches it.
async fn feed(
    stdin: &mut Option<Descriptor>,
    terminal: Option<&Descriptor>,
    mut queued: mpsc::Receiver<Bytes>,
) -> Infallible {
    if let Some(target) = stdin.as_ref().or(terminal) {
        let mut in_line = false;
        let closed = loop {
            let Some(data) = queued.recv().await else { break true };
            if let Err(error) = target.write_all(&data).await {
                tracing::debug!(%error, "the command takes no more input");
                break false;
            }
            in_line = data.last().map_or(in_line, |byte| !matches!(byte, b'\n' | b'\r'));
        };
        if closed && let Some(terminal) = terminal {
            end_input(terminal, in_line).await;
        }
    }
    // The command sees the end of its input, and what else the client sends is thrown away.
    *stdin = None;
    drop(queued);
    pending().await
}

/// A terminal has no end of its own: it is typed. Inside a line the first such character only ends the line.
async fn end_input(terminal: &Descriptor, in_line: bool) {
    let Some(character) = pty::end_of_input(terminal) else { return };
    let typed = [character; 2];
    let typed = if in_line { &typed[..] } else { &typed[..1] };
    if let Err(error) = terminal.write_all(typed).await {
        tracing::debug!(%error, "cannot end the input of a terminal");
    }
}
