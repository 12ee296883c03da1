//! Applies cloud-config documents to the node: in order, once, with a record that survives crashes and reboots.
//!
//! A document is done step by step. The journal says which steps are done; each step's output is kept in files. The
//! work runs in a task of its own, whoever watches. After a crash or a reboot it goes on with the first step that is
//! not done. A command that was running then runs again, unless the machine was rebooted from inside: then it is taken
//! to have caused the reboot, and counts as done.
//!
//! Commands of `runcmd` run once. Those of `bootcmd` run once in each boot, as in cloud-init. After a reboot of a node
//! whose document is done, mounts, the host name and files that were on a memory file system come back too.
//!
//! Reload steps follow files: before one of these is written, for whatever reason, the journal is told that the step is
//! due. It stays so until it has run, over failures and crashes.

mod commands;
mod error;
mod journal;
mod log;
mod plan;
mod run;
mod shell;
mod steps;
mod tool;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_api::{ApplyEvent, ApplyRequest, ConfigPhase, ConfigState, LogLine};
use muster_cloudinit::{Document, parse_document};
use muster_stdx::{OnError, Supervisor, create_private_dir};
use muster_types::{Generation, NodeName};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

pub use error::{ApplyError, ApplyRefusal};

use journal::{Done, Facts, Journal};
use log::Logs;
use run::{EVENTS_MAX, Failure, Run};
use steps::Machine;
use worker::{Mode, Worker};

/// How long a new document waits for the boot commands of the last one.
const BOOT_WAIT: Duration = Duration::from_secs(10);
/// Steps that are told of at the most when what they made is not there any more.
const DRIFTED_MAX: usize = 256;

/// Where the applier works, and what it has to know of the machine.
#[derive(Debug, Clone)]
pub struct ApplierConfig {
    /// Kept across reboots; made with mode 0700.
    pub state_dir: PathBuf,
    /// `/`. Another folder stands for the node in tests: files and users are made below it, programs are looked for
    /// in it, and the host name, mounts and power of the machine stay as they are. Commands run on the machine.
    pub root: PathBuf,
    /// What commands find in `INSTANCE_ID`.
    pub node: NodeName,
    /// New with every start of the machine.
    pub boot_id: String,
    /// The last boot was ended by a reboot that a process of the machine asked for.
    pub rebooted_from_inside: bool,
}

/// A handle; clones are the same applier.
#[derive(Debug, Clone)]
pub struct Applier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    machine: Machine,
    logs: Logs,
    /// For scripts and what shells leave to their successors.
    scratch: PathBuf,
    boot_id: String,
    supervisor: Supervisor,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    /// The pass that runs, or the last one.
    run: Option<Arc<Run>>,
    busy: bool,
}

impl Shared {
    /// Nothing that panics happens under the lock, and nothing waits.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal<T>(&self, with: impl FnOnce(&mut Journal) -> T) -> T {
        with(&mut self.lock().journal)
    }

    fn facts<T>(&self, with: impl FnOnce(&Facts) -> T) -> T {
        with(self.lock().journal.facts())
    }

    fn set_idle(&self) {
        self.lock().busy = false;
    }
}

impl Applier {
    /// Opens the record of the node and goes on with a document that is not done. Needs a tokio runtime.
    pub fn open(config: ApplierConfig, supervisor: Supervisor) -> Result<Self, ApplyError> {
        let folder = config.state_dir.join("apply");
        let failed = |source: io::Error| ApplyError::Open { path: folder.clone(), source };
        let scratch = folder.join("shell");
        create_private_dir(&scratch).map_err(failed)?;
        let (mut journal, text) = Journal::open(&folder).map_err(failed)?;
        settle_running(&mut journal, &config).map_err(failed)?;
        let shared = Arc::new(Shared {
            machine: Machine::new(config.root, config.node),
            logs: Logs::new(folder.join("logs")),
            scratch,
            boot_id: config.boot_id,
            supervisor,
            state: Mutex::new(State { journal, run: None, busy: false }),
        });
        if let Some(text) = text {
            shared.take_up(&text);
        }
        Ok(Self { shared })
    }

    /// Applies a document, or joins the stream of the same one that is being applied. The work goes on when the
    /// receiver is dropped.
    ///
    /// Right after a reboot the node may still be at the boot commands of its last document; another document waits
    /// a little for those before it is refused.
    pub async fn apply(&self, mut request: ApplyRequest) -> Result<mpsc::Receiver<ApplyEvent>, ApplyRefusal> {
        let shared = &self.shared;
        request.hash.make_ascii_lowercase();
        if hex(&Sha256::digest(request.document.as_bytes())) != request.hash {
            return Err(ApplyRefusal::HashMismatch);
        }
        let booting = shared.lock().run.clone().filter(|run| run.is_of_boot() && run.hash() != request.hash);
        if let Some(run) = booting
            && tokio::time::timeout(BOOT_WAIT, run.finished()).await.is_err()
        {
            tracing::debug!("the boot commands of the last document take long");
        }
        shared.order(request)
    }

    /// The newest generation whose orders were taken.
    pub fn generation(&self) -> Generation {
        self.shared.facts(|facts| facts.generation)
    }

    /// How far the document is; `None` before the first.
    pub fn state(&self) -> Option<ConfigState> {
        self.shared.lock().run.clone().map(|run| run.config_state())
    }

    /// Steps of a finished document whose result is not there any more. Only looks; on a thread of its own, since there
    /// may be much to look at.
    pub async fn drifted(&self) -> Vec<String> {
        let shared = Arc::clone(&self.shared);
        let looked = tokio::task::spawn_blocking(move || shared.drifted()).await;
        looked.unwrap_or_else(|error| {
            tracing::error!(%error, "the look at what was configured failed");
            Vec::new()
        })
    }

    /// The last lines that the steps of the document printed, or one of them; with `follow` also what comes until the
    /// document is done.
    #[expect(clippy::unused_async, reason = "a caller need not know that nothing waits here today")]
    pub async fn logs(
        &self,
        lines: usize,
        step: Option<String>,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, ApplyError> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let run = self.shared.lock().run.clone();
        let Some(run) = run else {
            return match step {
                Some(step) => Err(ApplyError::NoStep { step }),
                None => Ok(receiver),
            };
        };
        let steps: Vec<(usize, String)> = run.slots().into_iter().map(|slot| slot.id).enumerate().collect();
        let steps: Vec<_> = steps.into_iter().filter(|(_, id)| step.as_ref().is_none_or(|step| step == id)).collect();
        if let Some(step) = step.filter(|_| steps.is_empty()) {
            return Err(ApplyError::NoStep { step });
        }
        let logs = self.shared.logs.clone();
        self.shared.supervisor.spawn("log stream", OnError::Log, async move {
            run.stream_logs(&logs, steps, lines, follow, &sender).await
        });
        Ok(receiver)
    }
}

impl Shared {
    fn drifted(&self) -> Vec<String> {
        let (run, facts) = {
            let state = self.lock();
            let run = state.run.clone().filter(|_| !state.busy);
            (run, state.journal.facts().clone())
        };
        let Some(run) = run.filter(|_| matches!(facts.finished, Some((ConfigPhase::Done, _)))) else {
            return Vec::new();
        };
        let drifted = run.converging().iter().filter(|step| {
            let done = facts.done(step.id.as_str(), step.hash.as_str());
            done.is_some_and(|done| !done.memo.adjusted && !steps::holds(&self.machine, &step.kind, &done.memo))
        });
        drifted.take(DRIFTED_MAX).map(|step| step.id.as_str().to_owned()).collect()
    }

    fn order(self: &Arc<Self>, request: ApplyRequest) -> Result<mpsc::Receiver<ApplyEvent>, ApplyRefusal> {
        let mut state = self.lock();
        let newest = state.journal.facts().generation;
        if request.generation < newest {
            return Err(ApplyRefusal::Stale { offered: request.generation, newest });
        }
        let run = match state.run.clone().filter(|_| state.busy) {
            Some(run) if run.hash() == request.hash => {
                state.journal.raise(request.generation).map_err(ApplyRefusal::Journal)?;
                run
            }
            Some(run) => {
                state.journal.raise(request.generation).map_err(ApplyRefusal::Journal)?;
                return Err(ApplyRefusal::Busy { hash: run.hash().to_owned() });
            }
            None => {
                let planned = plan::plan(&mut state, request)?;
                if let Err(error) = self.logs.keep_only(planned.document.steps.iter().map(|step| step.id.as_str())) {
                    tracing::debug!(%error, "old logs stay");
                }
                self.start(&mut state, planned.run, planned.document, Mode::Ask)
            }
        };
        drop(state);
        Ok(run.follow(&self.logs, &self.supervisor))
    }

    fn start(self: &Arc<Self>, state: &mut State, run: Arc<Run>, document: Document, mode: Mode) -> Arc<Run> {
        state.run = Some(Arc::clone(&run));
        state.busy = true;
        let worker = Worker { shared: Arc::clone(self), run: Arc::clone(&run), document, mode, commands_ran: false };
        self.supervisor.spawn("apply", OnError::Log, worker.work());
        run
    }

    /// Goes on with the document that the journal is about, where an earlier process of the agent left it.
    fn take_up(self: &Arc<Self>, text: &str) {
        let mut state = self.lock();
        let document = match parse_document(text) {
            Ok(document) => document,
            Err(findings) => {
                // It was taken once, by another version. It stays as it is until the next document comes.
                tracing::error!(findings = ?plan::messages(text, &findings), "the document on disk cannot be read");
                return;
            }
        };
        let facts = state.journal.facts().clone();
        let run = Run::new(facts.hash.clone(), &document, plan::messages(text, &document.warnings));
        let rebooted = matches!(&facts.finished, Some((ConfigPhase::Done, boot)) if *boot != self.boot_id);
        let run = Arc::new(if rebooted { run.of_boot() } else { run });
        match facts.finished {
            Some(_) if rebooted => drop(self.start(&mut state, run, document, Mode::Boot)),
            Some((phase, _)) => {
                self.restore(&run, &document, &facts);
                run.finish(phase);
                state.run = Some(run);
            }
            None if facts.repairs => drop(self.start(&mut state, run, document, Mode::Ask)),
            None => drop(self.start(&mut state, run, document, Mode::Resume)),
        }
    }

    /// Shows what an earlier process of the agent has done.
    fn restore(&self, run: &Run, document: &Document, facts: &Facts) {
        for (index, step) in document.steps.iter().enumerate() {
            let (id, hash) = (step.id.as_str(), step.hash.as_str());
            if let Some(failed) = facts.failed.as_ref().filter(|failed| failed.id == id && failed.hash == hash) {
                let last_lines = self.logs.tail(id, worker::LAST_LINES).unwrap_or_default();
                let (exit_code, message) = (failed.exit_code, failed.message.clone());
                run.failed(index, failed.duration_ms, Failure { exit_code, message, last_lines });
            } else if let Some(done) = facts.done(id, hash) {
                run.restore(index, done, self.logs.end(id).unwrap_or_default());
            }
        }
    }
}

/// Commands that were running when the machine was rebooted from inside are taken to have done it.
fn settle_running(journal: &mut Journal, config: &ApplierConfig) -> io::Result<()> {
    let running = journal.facts().running.clone();
    for started in running.into_iter().filter(|started| started.boot != config.boot_id) {
        let is_command = ["bootcmd[", "runcmd[", "reload["].iter().any(|list| started.id.starts_with(list));
        if is_command && config.rebooted_from_inside {
            journal.done(Done {
                id: started.id,
                hash: started.hash,
                boot: config.boot_id.clone(),
                duration_ms: 0,
                changed: true,
                carried: false,
                detail: Some("the machine was rebooted from inside while it ran, so it counts as done".to_owned()),
                memo: started.memo,
            })?;
        }
    }
    Ok(())
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
