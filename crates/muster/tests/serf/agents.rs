//! Agents, and both programs as their clients.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster_testkit::{Output, Running, free_port, wait_for};
use nix::sys::signal::Signal;

/// Unpacked by `cargo xtask setup`.
const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/usr/bin/serf");
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Real,
    Ours,
}

/// `false`, and a line that says so, if the package is not there.
pub(crate) fn real_is_there() -> bool {
    let there = Path::new(REAL).exists();
    if !there {
        muster_testkit::skipped("the real serf is not there: `cargo xtask setup` fetches it");
    }
    there
}

impl Program {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Real => REAL,
            Self::Ours => env!("CARGO_BIN_EXE_muster"),
        }
    }

    /// By the name of Serf, either.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new(self.path());
        command.arg0("serf").env_remove("SERF_RPC_ADDR").env_remove("SERF_RPC_AUTH");
        command
    }

    pub(crate) fn run(self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments);
        Running::start(command).wait_within(PATIENCE)
    }
}

/// An agent that runs, and is killed with this handle.
pub(crate) struct Agent {
    pub(crate) bind: String,
    pub(crate) rpc: String,
    pub(crate) running: Running,
    /// What it was started with, but for the program.
    words: Vec<String>,
}

impl Agent {
    pub(crate) fn start(program: Program, name: &str, arguments: &[&str]) -> Self {
        let start = || Self::try_start(program, name, arguments);
        (0..10).find_map(|_| start()).unwrap_or_else(|| panic!("ten times somebody else took the port of {name}"))
    }

    /// `None` if somebody took one of the ports that were free a moment ago.
    fn try_start(program: Program, name: &str, arguments: &[&str]) -> Option<Self> {
        let [bind, rpc] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let words = [&["agent", "-node", name, "-bind", &bind, "-rpc-addr", &rpc], arguments].concat();
        let words = words.into_iter().map(str::to_owned).collect();
        Self::start_at(program, bind, rpc, words)
    }

    fn start_at(program: Program, bind: String, rpc: String, words: Vec<String>) -> Option<Self> {
        let mut command = program.command();
        command.args(&words);
        let mut running = Running::start(command);
        running.wait_line(PATIENCE, |line| line.contains("Log data will now stream"))?;
        Some(Self { bind, rpc, running, words })
    }

    /// Leaves as systemd makes it leave, and comes back with the same words as this program.
    pub(crate) fn replaced_by(self, program: Program) -> Self {
        let Self { bind, rpc, running, words } = self;
        running.signal(Signal::SIGINT);
        running.wait().success();
        Self::start_at(program, bind, rpc, words).unwrap()
    }

    /// What a program says to this agent.
    pub(crate) fn ask(&self, program: Program, arguments: &[&str]) -> Output {
        let mut command = program.command();
        command.args(arguments).env("SERF_RPC_ADDR", &self.rpc);
        Running::start(command).wait_within(PATIENCE)
    }

    pub(crate) fn watch(&self, program: Program, arguments: &[&str]) -> Running {
        let mut command = program.command();
        command.args(arguments).env("SERF_RPC_ADDR", &self.rpc);
        Running::start(command)
    }

    /// Until this many members are alive for it.
    pub(crate) fn wait_for_members(&self, count: usize) {
        wait_for("all members", PATIENCE, || {
            let members = self.ask(Program::Real, &["members", "-status=alive"]).success();
            (members.stdout.lines().filter(|line| line.contains("alive")).count() == count).then_some(())
        });
    }
}
