//! The shell process and the talk with it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Command;

use muster_api::LogStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::apply::tool::{Output, Piece, Running};

/// Longest thing that a script says.
const SAYING_BYTES_MAX: usize = 128;

/// A shell that runs a script made by `script`. Dropping it ends the shell and what it runs.
#[derive(Debug)]
pub(crate) struct Session {
    running: Running,
    socket: UnixStream,
    /// The beginning of a saying whose end has not come yet.
    heard: Vec<u8>,
    /// Told once all output that came before it has been.
    next: Option<Told>,
    /// The shell has closed its end of the socket.
    deaf: bool,
}

/// Something that the shell said, or its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    /// The shell stands before its first unit and waits.
    Ready,
    /// A unit has ended and the shell waits; all that the unit printed has come before this.
    Ended { unit: usize, code: i32 },
    /// The shell itself has ended.
    Exited(i32),
}

#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// So many bytes; see `bytes`.
    Output(LogStream, usize),
    Told(Told),
}

pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

impl Session {
    /// `command` is the shell with its script's path; its input is set here.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        command.stdin(OwnedFd::from(theirs));
        let socket = UnixStream::from_std(ours)?;
        Ok(Self { running: Running::start(command)?, socket, heard: Vec::new(), next: None, deaf: false })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.running.process.id()
    }

    /// Lets the shell go on with its next unit, or end.
    pub(crate) async fn answer(&mut self, go: bool) -> io::Result<()> {
        let answer: &[u8] = if go { b"go\n" } else { b"stop\n" };
        match self.socket.write_all(answer).await {
            // A shell that has ended needs no answer; its end is told next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    pub(crate) fn bytes(&self, stream: LogStream, length: usize) -> &[u8] {
        self.running.output.bytes(stream, length)
    }

    /// What happens next. After `Exited` there is nothing more; what left-over processes print is in `into_output`.
    pub(crate) async fn next(&mut self) -> io::Result<SessionEvent> {
        loop {
            if let Some(told) = self.next {
                if let Some((stream, length)) = self.running.output.left()? {
                    return Ok(SessionEvent::Output(stream, length));
                }
                self.next = None;
                return Ok(SessionEvent::Told(told));
            }
            let told = tokio::select! {
                // A saying comes before the end of the shell. Losing a read loses nothing: what was heard is kept.
                biased;
                saying = saying(&mut self.socket, &mut self.heard), if !self.deaf => match saying? {
                    Some(told) => told,
                    None => {
                        self.deaf = true;
                        continue;
                    }
                },
                piece = self.running.next() => match piece? {
                    Piece::Output(stream, length) => return Ok(SessionEvent::Output(stream, length)),
                    Piece::Ended(code) => Told::Exited(code),
                },
            };
            self.running.output.draw_line();
            self.next = Some(told);
        }
    }

    pub(crate) fn into_output(self) -> Output {
        self.running.output
    }
}

/// The next line from the shell; `None` at the end.
async fn saying(socket: &mut UnixStream, heard: &mut Vec<u8>) -> io::Result<Option<Told>> {
    loop {
        if let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = heard.drain(..=end).collect();
            let told =
                parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the shell is not understood"));
            return told.map(Some);
        }
        let mut buffer = [0; SAYING_BYTES_MAX];
        let count = match socket.read(&mut buffer).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            result => result?,
        };
        if count == 0 || heard.len() > SAYING_BYTES_MAX {
            return Ok(None);
        }
        heard.extend_from_slice(&buffer[..count]);
    }
}

fn parse(line: &[u8]) -> Option<Told> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    match words.next()? {
        "ready" => Some(Told::Ready),
        "end" => Some(Told::Ended { unit: words.next()?.parse().ok()?, code: words.next()?.parse().ok()? }),
        _ => None,
    }
}
