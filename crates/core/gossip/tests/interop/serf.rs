//! The real agent, Debian's package `serf`, as a peer.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::driver::PATIENCE;

/// Unpacked by `cargo xtask setup`.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target/tools/usr/bin/serf");

/// `false`, and a line that says so, if the package is not installed.
pub(crate) fn is_there() -> bool {
    let there = std::path::Path::new(PROGRAM).exists();
    if !there {
        muster_testkit::skipped("the real serf is not there: `cargo xtask setup` fetches it");
    }
    there
}

/// An agent that runs. It is killed with this handle.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    rpc: String,
    child: Child,
    log: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl Agent {
    pub(crate) async fn start(name: &str, arguments: &[&str]) -> Self {
        for _ in 0..10 {
            if let Some(agent) = Self::try_start(name, arguments).await {
                return agent;
            }
        }
        panic!("ten times somebody else took the port of the agent {name}");
    }

    /// `None` if somebody took one of the ports that were free a moment ago.
    async fn try_start(name: &str, arguments: &[&str]) -> Option<Self> {
        let (address, rpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let mut child = Command::new(PROGRAM)
            .args(["agent", "-log-level=debug", "-node", name, "-bind", &address, "-rpc-addr", &rpc])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("serf starts");
        let (lines, log) = mpsc::channel(100_000);
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                lines.send(line).await.ok();
            }
        });
        let address = address.parse().expect("it is an address");
        let mut agent = Self { address, rpc, child, log, _tasks: tasks };
        let started = agent.find(|line| line.contains("Log data will now stream")).await;
        started.is_ok().then_some(agent)
    }

    /// The next line of its log that contains all these.
    pub(crate) async fn logs(&mut self, parts: &[&str]) -> String {
        let found = self.find(|line| parts.iter().all(|part| line.contains(part))).await;
        found.unwrap_or_else(|lines| panic!("no line with {parts:?} in\n{}", lines.join("\n")))
    }

    async fn find(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, Vec<String>> {
        let mut passed = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.log.recv().await {
                if wanted(&line) {
                    return Some(line);
                }
                passed.push(line);
            }
            None
        });
        found.await.ok().flatten().ok_or(passed)
    }

    /// What a command prints.
    pub(crate) async fn run(&self, command: &str, arguments: &[&str]) -> String {
        let output = Command::new(PROGRAM).arg(command).args(["-rpc-addr", &self.rpc]).args(arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").expect("serf runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "serf {command} {arguments:?}: {text}");
        text
    }

    /// The columns of `serf members` for one member.
    pub(crate) async fn member(&self, name: &str) -> Vec<String> {
        let members = self.run("members", &["-name", name]).await;
        members.split_whitespace().map(str::to_owned).collect()
    }

    /// Such as STOP.
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status().await.expect("kill runs");
        assert!(status.success(), "signal {signal}");
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// Free for both UDP and TCP a moment ago.
fn free_port() -> u16 {
    muster_testkit::free_port()
}
