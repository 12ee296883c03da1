//! From a request to a command that runs, or to the reason why it does not.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join;
use muster_api::{ExecExit, ExecRequest, WindowSize};
use muster_sys::pty::{self, Pty};
use muster_sys::session::{Session, SessionError, UserIds};

use super::process::Reach;
use super::{Account, Descriptor, Process};

const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const TERMINAL_KIND: &str = "xterm";

/// A command that runs, and our ends of its pipes or of its terminal.
#[derive(Debug)]
pub(super) struct Started {
    /// The first field: dropped early, it is killed before its input ends.
    pub(super) process: Process,
    pub(super) streams: Streams,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) terminal: Option<Descriptor>,
    pub(super) stdin: Option<Descriptor>,
    pub(super) stdout: Option<Descriptor>,
    pub(super) stderr: Option<Descriptor>,
}

/// Why a command was not started, in words for whoever asked.
#[derive(Debug)]
pub(super) struct Refusal {
    code: i32,
    message: String,
}

impl Refusal {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// No descriptors or no processes any more, usually.
    fn internal(error: &io::Error) -> Self {
        Self::new(NOT_EXECUTABLE, format!("the node cannot start a command now: {error}"))
    }

    pub(super) fn exit(self) -> ExecExit {
        ExecExit { code: self.code, error: Some(self.message) }
    }
}

impl Started {
    /// Ends a command whose client is gone.
    pub(super) async fn hang_up(self, grace: Duration) {
        let Streams { terminal, stdin, stdout, stderr } = self.streams;
        let reach =
            terminal.as_ref().map_or(Reach::Session, |terminal| Reach::Foreground(pty::foreground_group(terminal)));
        self.process.hang_up(reach);
        // Those that go on in spite of the signal are told so by their terminal.
        drop(terminal);
        tokio::select! {
            () = self.process.end(reach, grace) => {}
            // Losing this is safe: it throws away. Without it a command that says something while it cleans up would
            // be ended by the closed pipe, or wait for a reader.
            never = discard(stdout, stderr) => match never {},
        }
        // Not before: it would look like the end of the input, which the client has not told.
        drop(stdin);
    }
}

async fn discard(stdout: Option<Descriptor>, stderr: Option<Descriptor>) -> Infallible {
    let to_the_end = async |source: Option<Descriptor>| {
        if let Some(source) = source {
            source.discard().await;
        }
    };
    join(to_the_end(stdout), to_the_end(stderr)).await;
    pending().await
}

/// Starts what was asked for: as its user, in its folder (without one: the user's home, or `/` where that cannot be
/// entered; a relative one starts at the home), with a login's environment and the request's over it.
pub(super) fn start(request: &ExecRequest) -> Result<Started, Refusal> {
    let Some(program) = request.command.first().filter(|program| !program.is_empty()) else {
        return Err(Refusal::new(NOT_FOUND, "no command was given"));
    };
    check_environment(request)?;
    let account = match &request.user {
        None => Account::own(),
        Some(user) => Account::find(user).ok_or_else(|| {
            let message = format!("there is no user `{user}` on this node; /etc/passwd there lists those it has");
            Refusal::new(NOT_EXECUTABLE, message)
        })?,
    };
    let folder = account.home.join(request.cwd.as_deref().unwrap_or(""));
    let mut result = start_in(request, &account, folder.clone())?;
    if request.cwd.is_none() && matches!(result, Err(SessionError::Folder(_))) {
        result = start_in(request, &account, PathBuf::from("/"))?;
    }
    result.map_err(|error| explain(error, program, &account, &folder))
}

/// The outer error is of ours, the inner one of the process.
fn start_in(
    request: &ExecRequest,
    account: &Account,
    folder: PathBuf,
) -> Result<Result<Started, SessionError>, Refusal> {
    let mut command = Command::new(&request.command[0]);
    command.args(&request.command[1..]).env_clear().envs(account.environment());
    if request.tty.is_some() {
        command.env("TERM", TERMINAL_KIND);
    }
    command.envs(&request.env);
    let user = account.to_become();
    let streams = match request.tty {
        None => with_pipes(&mut command),
        Some(size) => with_terminal(&mut command, size, user.as_ref()),
    };
    let streams = streams.map_err(|error| Refusal::internal(&error))?;
    let session = Session { controlling_terminal: request.tty.is_some(), user, folder: Some(folder) };
    Ok(Process::start(session, command).map(|process| Started { process, streams }))
}

fn with_pipes(command: &mut Command) -> io::Result<Streams> {
    let (stdin, our_stdin) = io::pipe()?;
    let (our_stdout, stdout) = io::pipe()?;
    let (our_stderr, stderr) = io::pipe()?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let ours = |end: OwnedFd| Descriptor::new(end).map(Some);
    Ok(Streams {
        terminal: None,
        stdin: ours(our_stdin.into())?,
        stdout: ours(our_stdout.into())?,
        stderr: ours(our_stderr.into())?,
    })
}

fn with_terminal(command: &mut Command, size: WindowSize, user: Option<&UserIds>) -> io::Result<Streams> {
    let pty = Pty::open(pty::Size { columns: size.columns, rows: size.rows })?;
    if let Some(user) = user {
        pty.give_to(user.uid)?;
    }
    let Pty { controller, terminal } = pty;
    command.stdin(Stdio::from(terminal.try_clone()?)).stdout(Stdio::from(terminal.try_clone()?)).stderr(terminal);
    Ok(Streams { terminal: Some(Descriptor::new(controller)?), ..Streams::default() })
}

/// What the kernel would not take, told better than it does.
fn check_environment(request: &ExecRequest) -> Result<(), Refusal> {
    let bad = |name: &&String| name.is_empty() || name.contains('=');
    if let Some(name) = request.env.keys().find(bad) {
        let message = format!("`{name}` cannot be the name of an environment variable: it is empty or holds a `=`");
        return Err(Refusal::new(NOT_EXECUTABLE, message));
    }
    let texts = request.command.iter().chain(request.env.iter().flat_map(|(name, value)| [name, value]));
    if texts.chain(&request.cwd).any(|text| text.contains('\0')) {
        let message = "a zero byte cannot be in a command, in its environment or in its folder";
        return Err(Refusal::new(NOT_EXECUTABLE, message));
    }
    Ok(())
}

fn explain(error: SessionError, program: &str, account: &Account, folder: &Path) -> Refusal {
    let refused = |message| Refusal::new(NOT_EXECUTABLE, message);
    match error {
        SessionError::Program(error) => explain_program(&error, program),
        SessionError::Folder(error) => refused(format!("cannot enter the folder `{}`: {error}", folder.display())),
        SessionError::User(error) => {
            refused(format!("cannot become the user `{}` (the agent must run as root for that): {error}", account.name))
        }
        SessionError::Prepare(error) | SessionError::Session(error) | SessionError::Watch(error) => {
            Refusal::internal(&error)
        }
    }
}

fn explain_program(error: &io::Error, program: &str) -> Refusal {
    let is_path = program.contains('/');
    match error.raw_os_error() {
        Some(libc::ENOENT) if is_path && Path::new(program).exists() => {
            Refusal::new(NOT_FOUND, format!("`{program}` is there, but what its first line names to run it is not"))
        }
        Some(libc::ENOENT | libc::ENOTDIR) if is_path => {
            Refusal::new(NOT_FOUND, format!("there is no `{program}` on this node"))
        }
        Some(libc::ENOENT | libc::ENOTDIR) => {
            Refusal::new(NOT_FOUND, format!("no folder of PATH on this node has `{program}`"))
        }
        _ => Refusal::new(NOT_EXECUTABLE, format!("`{program}` cannot be executed: {error}")),
    }
}
