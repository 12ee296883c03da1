//! The command line of Serf: its commands, flags, texts and exit codes, so that scripts run unchanged.

mod agent;
mod flags;
mod go;
mod help;
mod info;
mod keys;
mod members;
mod monitor;
mod query;
mod reachability;
mod request;
mod table;

use std::io::{self, Write};

use muster_types::Redacted;
use tokio_util::sync::CancellationToken;

use crate::rpc::address::Address;
use crate::rpc::client::{Client, ClientError};
use flags::Flags;
use table::{Action, Command};

/// Where an agent listens if nobody says otherwise.
const RPC_ADDRESS: &str = "127.0.0.1:7373";

/// What the commands know of the program they are part of.
pub struct Environment {
    /// The name that it was called by.
    pub program: String,
    /// `SERF_RPC_ADDR`; empty is none.
    pub rpc_address: Option<String>,
    /// `SERF_RPC_AUTH`.
    pub rpc_auth: Option<Redacted<String>>,
    /// Ctrl-C.
    pub interrupt: CancellationToken,
}

/// Where a command writes. As with Serf, errors go to `out` too; `error` has what the flags and we have to say.
pub struct Terminal<'a> {
    pub out: &'a mut (dyn Write + Send),
    pub error: &'a mut (dyn Write + Send),
}

impl Terminal<'_> {
    fn line(&mut self, line: impl AsRef<[u8]>) -> Result<(), Stop> {
        self.out.write_all(line.as_ref())?;
        self.out.write_all(b"\n")?;
        // Whoever reads along wants to see each line when it is there.
        Ok(self.out.flush()?)
    }

    fn error_line(&mut self, line: &str) -> Result<(), Stop> {
        Ok(writeln!(self.error, "{line}")?)
    }
}

/// Why a command ends before its end.
enum Stop {
    Exit(u8),
    /// Nobody reads any more what it writes.
    Output,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

/// A command that runs.
struct Call<'a, 't> {
    command: &'static Command,
    flags: Flags,
    environment: &'a Environment,
    terminal: &'a mut Terminal<'t>,
}

/// Runs what the words after the program's name ask for, and returns the exit code.
pub async fn run(environment: &Environment, arguments: &[String], terminal: &mut Terminal<'_>) -> u8 {
    match dispatch(environment, arguments, terminal).await {
        Ok(()) => 0,
        Err(Stop::Exit(code)) => code,
        Err(Stop::Output) => 1,
    }
}

async fn dispatch(environment: &Environment, arguments: &[String], terminal: &mut Terminal<'_>) -> Result<(), Stop> {
    let program = environment.program.as_str();
    let words = Words::read(arguments);
    let command = match words.command.and_then(table::find) {
        Some(command) if words.help => return terminal.error_line(&help::command(program, command)),
        Some(command) => command,
        None => {
            terminal.error_line(&help::program(program))?;
            return if words.help && words.command.is_none() { Ok(()) } else { Err(Stop::Exit(127)) };
        }
    };
    if words.misplaced {
        terminal.error_line("Invalid flags before the subcommand. If these flags are for")?;
        terminal.error_line("the subcommand, please put them after the subcommand.\n")?;
        terminal.error_line(&help::command(program, command))?;
        return Err(Stop::Exit(1));
    }
    if let Action::Plain(run) = command.action {
        return run(terminal);
    }
    let flags = match flags::parse(&command.flags().collect::<Vec<_>>(), words.rest) {
        Ok(flags) => flags,
        Err(mistake) => {
            terminal.error_line(&mistake)?;
            let help = help::command(program, command);
            // What an agent says begins so.
            let head = if let Action::Agent = command.action { "==> " } else { "" };
            terminal.line(format!("{head}{help}"))?;
            return Err(Stop::Exit(1));
        }
    };
    if let Action::Agent = command.action {
        return agent::run(&flags, program, terminal).await;
    }
    let interrupt = &environment.interrupt;
    let mut call = Call { command, flags, environment, terminal };
    let on_interrupt = matches!(command.action, Action::Asking).then_some(Stop::Exit(130));
    let run = call.run();
    match on_interrupt {
        None => run.await,
        Some(stop) => tokio::select! {
            // The command has told or asked one thing; nothing of it is left here.
            () = interrupt.cancelled() => Err(stop),
            ended = run => ended,
        },
    }
}

/// Words as the `cli` library sorts them.
struct Words<'a> {
    command: Option<&'a str>,
    help: bool,
    /// There are flags before the command.
    misplaced: bool,
    /// What follows the command.
    rest: &'a [String],
}

impl<'a> Words<'a> {
    fn read(arguments: &'a [String]) -> Self {
        let is_version = |word: &String| word == "-v" || word == "--version";
        let version = arguments.iter().any(is_version);
        let mut words = Self { command: version.then_some("version"), help: false, misplaced: false, rest: &[] };
        for (at, word) in arguments.iter().enumerate() {
            match word.as_str() {
                "--" => break,
                "-h" | "-help" | "--help" => words.help = true,
                flag if flag.starts_with('-') => words.misplaced |= words.command.is_none(),
                command if words.command.is_none() && !command.is_empty() => {
                    words.command = Some(command);
                    words.rest = &arguments[at + 1..];
                }
                _ => {}
            }
        }
        words
    }
}

impl Call<'_, '_> {
    async fn run(&mut self) -> Result<(), Stop> {
        match self.command.name {
            "event" => request::event(self).await,
            "force-leave" => request::force_leave(self).await,
            "info" => info::info(self).await,
            "join" => request::join(self).await,
            "keys" => keys::keys(self).await,
            "leave" => request::leave(self).await,
            "members" => members::members(self).await,
            "monitor" => monitor::monitor(self).await,
            "query" => query::query(self).await,
            "reachability" => reachability::reachability(self).await,
            "rtt" => info::rtt(self).await,
            "tags" => request::tags(self).await,
            _ => unreachable!("every command of the table is here"),
        }
    }

    fn line(&mut self, line: impl AsRef<[u8]>) -> Result<(), Stop> {
        self.terminal.line(line)
    }

    /// A line on stdout, as Serf has it, and exit code 1.
    fn fail<T>(&mut self, line: impl AsRef<[u8]>) -> Result<T, Stop> {
        self.terminal.line(line)?;
        Err(Stop::Exit(1))
    }

    /// A mistake in the words: the line, and the help.
    fn misused<T>(&mut self, line: &str) -> Result<T, Stop> {
        self.line(line)?;
        self.line("")?;
        self.fail(help::command(&self.environment.program, self.command))
    }

    fn hint(&mut self, hint: &str) -> Result<(), Stop> {
        self.terminal.error_line(&format!("hint: {hint}"))
    }

    /// What did not work, in Serf's words, and our hint beside it.
    fn failed<T>(&mut self, what: &str, error: &ClientError) -> Result<T, Stop> {
        self.line(format!("{what}: {}", muster_stdx::chain(error)))?;
        if let Some(hint) = error.hint() {
            self.hint(&hint)?;
        }
        Err(Stop::Exit(1))
    }

    async fn connect(&mut self) -> Result<Client, Stop> {
        let address = self.flags.text("rpc-addr").or(self.environment.rpc_address.as_deref());
        let address = Address::parse(address.filter(|address| !address.is_empty()).unwrap_or(RPC_ADDRESS));
        let given = self.flags.text("rpc-auth").map(|auth| Redacted::new(auth.to_owned()));
        match Client::connect(&address, given.as_ref().or(self.environment.rpc_auth.as_ref())).await {
            Ok(client) => Ok(client),
            Err(error) => self.failed("Error connecting to Serf agent", &error),
        }
    }

    /// The result of a request, or the end with this text before the error.
    fn done<T>(&mut self, what: &str, result: Result<T, ClientError>) -> Result<T, Stop> {
        result.or_else(|error| self.failed(what, &error))
    }
}
