//! Documents applied to a folder that stands for a node, with real shells.

mod commands;
mod crash;
mod day_two;
mod reload;
mod streams;
mod tools;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_api::{ApplyEvent, ApplyRequest, StepOutcome};
use muster_stdx::Supervisor;
use muster_types::{Generation, NodeName};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Applier, ApplierConfig, hex};

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// A node's disk: it outlives the agents that run on it.
struct Node {
    folder: tempfile::TempDir,
    boot: String,
    rebooted_from_inside: bool,
}

/// One process of the agent.
struct Agent {
    applier: Applier,
    supervisor: Supervisor,
}

impl Node {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(folder: tempfile::TempDir) -> Self {
        fs_err::create_dir_all(folder.path().join("root/etc")).unwrap();
        Self { folder, boot: "boot-1".to_owned(), rebooted_from_inside: false }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn agent(&self) -> Agent {
        let supervisor = Supervisor::new();
        let config = ApplierConfig {
            state_dir: self.state_dir(),
            root: self.root(),
            node: NodeName::new("web-1").unwrap(),
            boot_id: self.boot.clone(),
            rebooted_from_inside: self.rebooted_from_inside,
        };
        Agent { applier: Applier::open(config, supervisor.clone()).unwrap(), supervisor }
    }

    fn reboot(&mut self, boot: &str, from_inside: bool) {
        boot.clone_into(&mut self.boot);
        self.rebooted_from_inside = from_inside;
    }

    /// A file below the node's root; commands start there, so `log` is `log` in a command.
    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.root().join(path)).unwrap_or_default()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// A named pipe that commands wait at.
    fn gate(&self, name: &str) -> Gate {
        let path = self.root().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Gate(fs_err::OpenOptions::new().read(true).write(true).open(path).unwrap())
    }
}

/// Open in both directions, which never blocks: a line waits for its reader, and a reader for its line.
struct Gate(fs_err::File);

impl Gate {
    /// Lets one `read x < gate` go on, now or when it comes.
    fn open(&mut self) {
        self.0.write_all(b"go\n").unwrap();
    }
}

fn request(generation: u64, document: &str) -> ApplyRequest {
    ApplyRequest {
        generation: Generation(generation),
        hash: hex(&Sha256::digest(document.as_bytes())),
        document: document.to_owned(),
    }
}

impl Agent {
    async fn start(&self, document: &str) -> mpsc::Receiver<ApplyEvent> {
        self.applier.apply(request(1, document)).await.unwrap()
    }

    /// Applies a document to its end and tells the events in words.
    async fn apply(&self, document: &str) -> Vec<String> {
        told(self.start(document).await).await
    }

    /// As a crash: everything is dropped where it is.
    async fn end(self) {
        assert!(self.supervisor.shutdown(LIMIT).await, "tasks end when they are told to");
    }

    fn outcomes(&self) -> String {
        let state = self.applier.state().unwrap();
        let steps = state.steps.iter().map(|step| format!("{}={}", step.id, outcome(step.outcome)));
        format!("{:?}: {}", state.phase, steps.collect::<Vec<_>>().join(" "))
    }

    async fn logged(&self, step: Option<&str>) -> Vec<String> {
        let mut lines = self.applier.logs(usize::MAX, step.map(str::to_owned), false).await.unwrap();
        let mut texts = Vec::new();
        while let Some(line) = within(lines.recv()).await {
            texts.push(line.text);
        }
        texts
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes far less than the limit")
}

/// A stream to its end.
async fn told(mut events: mpsc::Receiver<ApplyEvent>) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(event) = within(events.recv()).await {
        words.push(word(&event));
    }
    words
}

fn outcome(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Pending => "pending",
        StepOutcome::Running => "running",
        StepOutcome::Done => "done",
        StepOutcome::Unchanged => "unchanged",
        StepOutcome::Failed => "failed",
    }
}

fn word(event: &ApplyEvent) -> String {
    match event {
        ApplyEvent::Warning { message } => format!("warning {message}"),
        ApplyEvent::Started { step, index, total } => format!("{step} {index}/{total}"),
        ApplyEvent::Output { step, text, .. } => format!("{step} > {text}"),
        ApplyEvent::Done { step, outcome: how, .. } => format!("{step} {}", outcome(*how)),
        ApplyEvent::Failed { step, exit_code, message, log } => {
            format!("{step} failed {exit_code:?} {message} {log:?}")
        }
        ApplyEvent::Finished { phase, changed, total, .. } => format!("{phase:?} {changed}/{total}"),
    }
}

fn last(words: &[String]) -> &str {
    words.last().map_or("", String::as_str)
}

/// Looks again, with short pauses, until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    within(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
