//! Agents of both kinds, set up by the same configuration file and asked by the same real `serf` command.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use muster_serf::agent::{Agent, Config, Ended, Handle, Level, Log, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long enough for everything that is waited for, even on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Unpacked by `cargo xtask setup`.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../target/tools/usr/bin/serf");
const LINES_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Real,
}

pub(crate) use Kind::{Ours, Real};

/// Two agents, at least one of them ours.
pub(crate) const PAIRS: [[Kind; 2]; 3] = [[Ours, Real], [Real, Ours], [Ours, Ours]];

/// `false`, and a line that says so, if the package is not installed.
pub(crate) fn is_there() -> bool {
    let there = std::path::Path::new(PROGRAM).exists();
    if !there {
        muster_testkit::skipped("the real serf is not there: `cargo xtask setup` fetches it");
    }
    there
}

enum Body {
    Ours { handle: Handle, token: CancellationToken, ended: JoinSet<Ended> },
    Real(Child),
}

/// An agent that runs. It ends with this handle.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) rpc: SocketAddr,
    body: Body,
    log: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
    _folder: TempDir,
}

impl Peer {
    /// `extra` are keys of the configuration file.
    pub(crate) async fn start(kind: Kind, name: &str, extra: Value) -> Self {
        Self::start_at(kind, name, free_address(), extra).await
    }

    pub(crate) async fn start_at(kind: Kind, name: &str, address: SocketAddr, extra: Value) -> Self {
        let mut address = address;
        for _ in 0..10 {
            let (rpc, bind) = (free_address(), address.to_string());
            let mut config =
                json!({"node_name": name, "bind": bind, "rpc_addr": rpc.to_string(), "log_level": "debug"});
            let keys = config.as_object_mut().expect("it is an object");
            keys.extend(extra.as_object().expect("it is an object").clone());
            let started = match kind {
                Ours => Self::ours(name, &config).await,
                Real => Self::real(name, address, rpc, &config).await,
            };
            match started {
                Some(peer) => return peer,
                None => address = free_address(),
            }
        }
        panic!("ten times somebody else took the ports of {name}");
    }

    async fn ours(name: &str, config: &Value) -> Option<Self> {
        let (lines, log) = mpsc::channel(LINES_MAX);
        let log_writer = Log::new(Level::Info, Box::new(Lines { lines, rest: String::new() }));
        let settings = Settings::resolve(Config::parse(&config.to_string()).expect("the keys are known")).await;
        let settings = settings.expect("the settings are good");
        log_writer.set_level(Level::Debug);
        let mut agent = Agent::build(settings, log_writer.clone()).await.ok()?;
        let rpc = agent.listen().await.ok()?;
        let (handle, token, mut ended) = (agent.handle(), CancellationToken::new(), JoinSet::new());
        let address = agent.gossip_address();
        ended.spawn(agent.run(token.clone()));
        log_writer.release();
        let (body, folder) = (Body::Ours { handle, token, ended }, tempfile::tempdir().expect("a folder can be made"));
        Some(Self { name: name.to_owned(), address, rpc, body, log, _tasks: JoinSet::new(), _folder: folder })
    }

    async fn real(name: &str, address: SocketAddr, rpc: SocketAddr, config: &Value) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("config.json");
        fs_err::write(&path, config.to_string()).expect("the file can be written");
        let mut child = Command::new(PROGRAM)
            .args(["agent", "-config-file"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("serf starts");
        let (lines, log) = mpsc::channel(LINES_MAX);
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                lines.send(line).await.ok();
            }
        });
        let body = Body::Real(child);
        let mut peer = Self { name: name.to_owned(), address, rpc, body, log, _tasks: tasks, _folder: folder };
        peer.find(|line| line.contains("Log data will now stream")).await.is_ok().then_some(peer)
    }

    /// The next line of its log that contains all these.
    pub(crate) async fn logs(&mut self, parts: &[&str]) -> String {
        let found = self.find(|line| parts.iter().all(|part| line.contains(part))).await;
        found.unwrap_or_else(|lines| panic!("{}: no line with {parts:?} in\n{}", self.name, lines.join("\n")))
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

    /// What its log says that nobody has asked for yet.
    pub(crate) fn log_so_far(&mut self) -> String {
        std::iter::from_fn(|| self.log.try_recv().ok()).collect::<Vec<_>>().join("\n")
    }

    /// Runs the real command against this agent's RPC: whether it did well, and what it printed.
    pub(crate) async fn try_serf(&self, command: &str, arguments: &[&str]) -> (bool, String) {
        let rpc = self.rpc.to_string();
        let output = Command::new(PROGRAM).arg(command).args(["-rpc-addr", &rpc]).args(arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").expect("serf runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) async fn serf(&self, command: &str, arguments: &[&str]) -> String {
        let (well, text) = self.try_serf(command, arguments).await;
        assert!(well, "{}: serf {command} {arguments:?}: {text}", self.name);
        text
    }

    /// Asks again and again until the command prints this.
    pub(crate) async fn until(&self, command: &str, arguments: &[&str], so: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let asking = async {
            loop {
                last = self.serf(command, arguments).await;
                if so(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, asking).await;
        assert!(told.is_ok(), "{}: serf {command} {arguments:?} never came to it: {last}", self.name);
        last
    }

    /// Waits until it sees a member in this state.
    pub(crate) async fn sees(&self, name: &str, status: &str) -> String {
        let pattern = format!("^{name}$");
        self.until("members", &["-name", &pattern], |text| text.split_whitespace().nth(2) == Some(status)).await
    }

    pub(crate) async fn join(&self, other: &Self) {
        let text = self.serf("join", &[&other.address.to_string()]).await;
        assert_eq!(text, "Successfully joined cluster by contacting 1 nodes.\n");
        self.sees(&other.name, "alive").await;
        other.sees(&self.name, "alive").await;
    }

    /// Ends it without a word to the others.
    pub(crate) async fn kill(mut self) {
        match &mut self.body {
            Body::Ours { token, ended, .. } => {
                token.cancel();
                ended.join_next().await;
            }
            Body::Real(child) => child.kill().await.expect("it can be killed"),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ends(&mut self) {
        let ending = async {
            match &mut self.body {
                Body::Ours { ended, .. } => drop(ended.join_next().await),
                Body::Real(child) => drop(child.wait().await),
            }
        };
        assert!(tokio::time::timeout(PATIENCE, ending).await.is_ok(), "{} does not end", self.name);
    }

    /// Only of one of ours.
    pub(crate) fn handle(&self) -> &Handle {
        match &self.body {
            Body::Ours { handle, .. } => handle,
            Body::Real(_) => panic!("{} is not ours", self.name),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Body::Ours { token, .. } = &self.body {
            token.cancel();
        }
    }
}

/// Free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], muster_testkit::free_port()))
}

/// What is written, line by line.
struct Lines {
    lines: mpsc::Sender<String>,
    rest: String,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = self.rest.split_once('\n') {
            self.lines.try_send(line.to_owned()).ok();
            self.rest = rest.to_owned();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
