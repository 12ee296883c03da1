//! Programs that steps run: their output goes to the step's log, and they end when the agent does.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use muster_api::LogStream;
use muster_sys::session::Session;

use super::log::Writer;
use super::run::Run;
use super::shell::SHELL;
use super::steps::{Context, StepError};
use crate::exec::{Descriptor, Process, exit_code};

/// Read at once from a program's output.
const READ_BYTES: usize = 4 << 10;
/// What a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// Where programs are looked for, by name; the node's own environment is not asked.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The log of the step that runs; whoever follows it hears of each piece.
#[derive(Debug)]
pub(super) struct StepLog {
    writer: Writer,
    run: Arc<Run>,
    index: usize,
}

impl StepLog {
    pub(super) fn new(writer: Writer, run: Arc<Run>, index: usize) -> Self {
        Self { writer, run, index }
    }

    pub(super) fn output(&mut self, stream: LogStream, data: &[u8]) -> io::Result<()> {
        self.writer.output(stream, data)?;
        self.tell();
        Ok(())
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.writer.line(text)?;
        self.tell();
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        self.run.written(self.index, self.writer.position());
    }
}

/// A program with a clean environment and nothing to read.
pub(super) fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCH_PATH).env("HOME", "/root").env("LANG", "C.UTF-8");
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Waits for a line, so that no program runs before it is written down that it does.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// The program, made by `command`, behind a gate that a line opens.
fn gated(command: &Command) -> io::Result<(Command, io::PipeWriter)> {
    let (gate, opener) = io::pipe()?;
    let mut gated = Command::new(SHELL);
    gated.args(["-c", GATE, "sh"]).arg(command.get_program()).args(command.get_args()).env_clear();
    gated.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    gated.current_dir(command.get_current_dir().unwrap_or(Path::new("/"))).stdin(gate);
    Ok((gated, opener))
}

/// Runs a program to its end and returns its exit code.
pub(super) async fn run(context: &mut Context<'_>, command: Command) -> Result<i32, StepError> {
    run_to_end(context, command).await.map(|(code, _)| code)
}

/// As `run`; also returns our ends of the pipes, in case it has left something behind that goes on printing.
pub(super) async fn run_to_end(context: &mut Context<'_>, command: Command) -> Result<(i32, Output), StepError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |source: io::Error| StepError::Program { program: name.clone(), source };
    let (command, mut opener) = gated(&command).map_err(failed)?;
    let mut running = Running::start(command).map_err(failed)?;
    let process = running.process.id();
    let ticks = muster_sys::process::start_ticks(process).map_err(failed)?;
    (context.running)((process, ticks)).map_err(StepError::Journal)?;
    opener.write_all(b"go\n").map_err(failed)?;
    drop(opener);
    let log = &mut *context.log;
    let code = loop {
        match running.next().await.map_err(failed)? {
            Piece::Output(stream, length) => {
                log.output(stream, running.output.bytes(stream, length)).map_err(StepError::Log)?;
            }
            Piece::Ended(code) => break code,
        }
    };
    running.output.draw_line();
    while let Some((stream, length)) = running.output.left().map_err(failed)? {
        log.output(stream, running.output.bytes(stream, length)).map_err(StepError::Log)?;
    }
    log.flush().map_err(StepError::Log)?;
    Ok((code, running.output))
}

/// A program that runs, with our ends of its pipes. Dropping it ends it, with its group.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) output: Output,
}

/// What a program and those that it left behind print.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Pipe,
    stderr: Pipe,
}

/// Our end of a pipe, until it has ended.
#[derive(Debug)]
struct Pipe {
    descriptor: Option<Descriptor>,
    buffer: Vec<u8>,
    /// So much of what comes can have been there when the line was drawn.
    left: usize,
}

#[derive(Debug)]
pub(super) enum Piece {
    /// So many bytes of that stream; see `Output::bytes`.
    Output(LogStream, usize),
    Ended(i32),
}

impl Running {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let (out, out_child) = io::pipe()?;
        let (err, err_child) = io::pipe()?;
        command.stdout(out_child).stderr(err_child);
        let process = Process::start(Session::default(), command).map_err(io::Error::other)?;
        let output = Output { stdout: Pipe::new(out.into())?, stderr: Pipe::new(err.into())? };
        Ok(Self { process, output })
    }

    /// The next piece of output, or the end of the process. Can be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> io::Result<Piece> {
        let (stream, length) = tokio::select! {
            // The end before output: a process that was left behind may print without pause, and what was printed
            // before the end is still in the pipes. Losing a read loses nothing: bytes are only taken by the read that
            // wins.
            biased;
            end = self.process.ended() => return Ok(Piece::Ended(exit_code(end?))),
            length = self.output.stdout.read() => (LogStream::Stdout, length?),
            length = self.output.stderr.read() => (LogStream::Stderr, length?),
        };
        Ok(Piece::Output(stream, length))
    }
}

impl Output {
    /// What stands in the pipes now is what `left` tells; others may go on printing, but a pipe holds only so much.
    pub(super) fn draw_line(&mut self) {
        (self.stdout.left, self.stderr.left) = (PIPE_BYTES, PIPE_BYTES);
    }

    /// What stood in the pipes when the line was drawn, without waiting.
    pub(super) fn left(&mut self) -> io::Result<Option<(LogStream, usize)>> {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if let Some(length) = self.pipe(stream).read_now()? {
                return Ok(Some((stream, length)));
            }
        }
        Ok(None)
    }

    /// The next piece, from whoever holds the pipes now; `None` when nobody does any more.
    pub(super) async fn next(&mut self) -> io::Result<Option<(LogStream, usize)>> {
        if self.is_closed() {
            return Ok(None);
        }
        let (stream, length) = tokio::select! {
            // Losing a read loses nothing: bytes are only taken by the read that wins.
            length = self.stdout.read() => (LogStream::Stdout, length?),
            length = self.stderr.read() => (LogStream::Stderr, length?),
        };
        Ok(Some((stream, length)))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stdout.descriptor.is_none() && self.stderr.descriptor.is_none()
    }

    fn pipe(&mut self, stream: LogStream) -> &mut Pipe {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    /// The bytes that were read last.
    pub(super) fn bytes(&self, stream: LogStream, length: usize) -> &[u8] {
        match stream {
            LogStream::Stdout => &self.stdout.buffer[..length],
            LogStream::Stderr => &self.stderr.buffer[..length],
        }
    }
}

impl Pipe {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self { descriptor: Some(Descriptor::new(descriptor)?), buffer: vec![0; READ_BYTES], left: 0 })
    }

    /// Waits for bytes. The end of the pipe is an empty piece, once; after it this waits for ever.
    async fn read(&mut self) -> io::Result<usize> {
        let Some(descriptor) = &self.descriptor else { return std::future::pending().await };
        loop {
            let mut ready = descriptor.readable().await?;
            match descriptor.read_now(&mut self.buffer)? {
                Some(length) => {
                    if length == 0 {
                        drop(ready);
                        self.descriptor = None;
                    }
                    return Ok(length);
                }
                None => ready.clear_ready(),
            }
        }
    }

    fn read_now(&mut self) -> io::Result<Option<usize>> {
        let Some(descriptor) = self.descriptor.as_ref().filter(|_| self.left > 0) else { return Ok(None) };
        let room = self.left.min(self.buffer.len());
        match descriptor.read_now(&mut self.buffer[..room])? {
            Some(0) => {
                self.descriptor = None;
                Ok(None)
            }
            read => {
                self.left -= read.unwrap_or(self.left);
                Ok(read)
            }
        }
    }
}
