//! Goes through a document: which steps are done already, which are to be done, and what is written down about it.

use std::convert::Infallible;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_api::{ConfigPhase, StepOutcome};
use muster_cloudinit::{Class, Document, PowerState, Section, Step, StepKind};
use muster_stdx::Backoff;
use nix::unistd::Pid;

use super::Shared;
use super::journal::{Done, Failed, Memo, Started};
use super::run::{Failure, Run};
use super::steps::{self, Applied, Context, StepError};
use super::tool::StepLog;

/// Lines of a failed step's output that are told with the failure.
pub(super) const LAST_LINES: usize = 20;
/// How long the processes of an agent that crashed may take to die.
const LEFTOVER_WAIT: Duration = Duration::from_secs(2);
/// How long packages of an agent that crashed may take to be installed.
const PACKAGES_WAIT: Duration = Duration::from_mins(10);

/// Why a document is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Somebody asked, perhaps an earlier process of the agent: what is done is looked at and repaired.
    Ask,
    /// The agent or the node was started again in the middle of it: it goes on where it was.
    Resume,
    /// The node was started again with a finished document: boot commands run, as cloud-init has it, and what a reboot
    /// takes away comes back.
    Boot,
}

/// A step failed; it has been told and written down.
#[derive(Debug)]
pub(super) struct Stop;

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) run: Arc<Run>,
    pub(super) document: Document,
    pub(super) mode: Mode,
    /// Whether a command ran in this pass: it may have changed what other steps made.
    pub(super) commands_ran: bool,
}

impl Worker {
    pub(super) async fn work(mut self) -> Result<(), Infallible> {
        let _unwinding = Unwinding { shared: Arc::clone(&self.shared), run: Arc::clone(&self.run) };
        self.end_leftovers().await;
        let phase = match self.steps().await {
            Ok(()) => ConfigPhase::Done,
            Err(Stop) => ConfigPhase::Failed,
        };
        if self.commands_ran {
            self.settle();
        }
        let power = self.power(phase);
        self.finish(phase);
        if let Some(power) = power
            && let Err(error) = steps::change_power(&self.shared.machine, &power).await
        {
            tracing::error!(error = error.tell(), "the power state was not changed");
        }
        Ok(())
    }

    fn finish(&self, phase: ConfigPhase) {
        let boot = self.shared.boot_id.as_str();
        let written = self.shared.journal(|journal| {
            let known = journal.facts().finished.as_ref().is_some_and(|(p, b)| *p == phase && b == boot);
            if known && self.run.changed() == 0 { Ok(()) } else { journal.finished(phase, boot) }
        });
        if let Err(error) = written {
            // The document is done all the same; an agent that starts again will look at it once more.
            tracing::warn!(%error, "the end of the configuration could not be written down");
        }
        self.shared.set_idle();
        self.run.finish(phase);
    }

    /// The change of power that this pass has decided on.
    fn power(&self, phase: ConfigPhase) -> Option<PowerState> {
        let step = self.document.steps.last().filter(|_| phase == ConfigPhase::Done)?;
        match &step.kind {
            StepKind::PowerState(power) if self.run.was_done(self.document.steps.len() - 1) => Some(power.clone()),
            _ => None,
        }
    }

    async fn steps(&mut self) -> Result<(), Stop> {
        let mut index = 0;
        while index < self.document.steps.len() {
            if let StepKind::Command(command) = &self.document.steps[index].kind {
                let (section, end) = (command.section, self.section_end(index));
                self.commands(section, index..end).await?;
                index = end;
            } else {
                self.step(index).await?;
                index += 1;
            }
        }
        Ok(())
    }

    fn section_end(&self, first: usize) -> usize {
        let section = section_of(&self.document.steps[first]);
        let same = self.document.steps[first..].iter().take_while(|step| section_of(step) == section);
        first + same.count()
    }

    /// Whether a command has run. Those of `bootcmd` run once in each boot.
    pub(super) fn command_is_done(&self, section: Section, index: usize) -> bool {
        let step = &self.document.steps[index];
        self.shared.facts(|facts| {
            let done = facts.done(step.id.as_str(), step.hash.as_str());
            done.is_some_and(|done| section == Section::Run || done.boot == self.shared.boot_id)
        })
    }

    /// Tells of a step that is not done in this pass.
    pub(super) fn pass_over(&self, index: usize) {
        let step = &self.document.steps[index];
        let done = self.shared.facts(|facts| facts.done(step.id.as_str(), step.hash.as_str()).cloned());
        match done.filter(|_| self.mode == Mode::Resume) {
            Some(done) => {
                let written = self.shared.logs.end(step.id.as_str()).unwrap_or_default();
                self.run.restore(index, &done, written);
            }
            None => self.run.ended(index, StepOutcome::Unchanged, 0, None),
        }
    }

    /// Whether a step that was done has to be done again.
    fn has_to_be_done(&self, step: &Step, done: &Done) -> bool {
        let machine = &self.shared.machine;
        match (step.class, self.mode) {
            (Class::Once { .. }, _) => false,
            (Class::Converge, _) if done.memo.adjusted => false,
            (Class::Converge, Mode::Resume) => {
                done.boot != self.shared.boot_id && steps::lost_by_reboot(machine, &step.kind, &done.memo)
            }
            (Class::Converge, Mode::Ask | Mode::Boot) => !steps::holds(machine, &step.kind, &done.memo),
        }
    }

    async fn step(&mut self, index: usize) -> Result<(), Stop> {
        let step = &self.document.steps[index];
        let (id, hash) = (step.id.as_str(), step.hash.as_str());
        let (done, note) = self.shared.facts(|facts| (facts.done.get(id).cloned(), facts.notes.get(id).cloned()));
        if let Some(done) = done.as_ref().filter(|done| done.hash == hash)
            && !self.has_to_be_done(step, done)
        {
            self.pass_over(index);
            return Ok(());
        }
        let begun = Instant::now();
        let note = note.filter(|note| note.hash == hash);
        let interrupted = note.is_some();
        let memo = note.map(|note| note.memo).or_else(|| done.map(|done| done.memo)).unwrap_or_default();
        let left_over =
            self.shared.facts(|facts| facts.running.iter().any(|other| other.id == id && other.hash == hash));
        if matches!(step.kind, StepKind::Reload(_)) {
            self.commands_ran = true;
        }
        let step = &self.document.steps[index];
        let result = match self.mark_reloads(step) {
            Ok(()) => self.apply(index, memo, interrupted, left_over).await,
            Err(error) => Err(StepError::Journal(error)),
        };
        let duration_ms = milliseconds(begun);
        let applied = match result {
            Ok(applied) => applied,
            Err(error) => return Err(self.fail(index, duration_ms, error.exit_code(), error.tell())),
        };
        if let Some(output) = applied.output {
            self.keep_listening(index, output);
        }
        for warning in applied.warnings {
            self.run.warn(format!("{id}: {warning}"));
        }
        self.done(index, duration_ms, applied.changed, None, applied.memo)
    }

    /// Before a file is written, the steps that reload it are due, and so is a reload that begins, whatever happens
    /// next.
    fn mark_reloads(&self, begun: &Step) -> io::Result<()> {
        let is_due = |step: &&Step| match &step.kind {
            StepKind::Reload(reload) => step.id == begun.id || reload.watches(&begun.kind),
            _ => false,
        };
        let mut reloads = self.document.steps.iter().filter(is_due);
        reloads.try_for_each(|reload| self.shared.journal(|journal| journal.due(reload.id.as_str())))
    }

    async fn apply(&self, index: usize, memo: Memo, interrupted: bool, left_over: bool) -> Result<Applied, StepError> {
        let step = &self.document.steps[index];
        let started = Started {
            id: step.id.as_str().to_owned(),
            hash: step.hash.as_str().to_owned(),
            boot: self.shared.boot_id.clone(),
            process: None,
            memo: Memo::default(),
        };
        self.run.started(index);
        let writer = self.shared.logs.writer(step.id.as_str()).map_err(StepError::Log)?;
        let mut log = StepLog::new(writer, Arc::clone(&self.run), index);
        let noted = if interrupted { memo.clone() } else { Memo::default() };
        let begun = Started { memo: noted, ..started.clone() };
        self.shared.journal(|journal| journal.started(begun.clone())).map_err(StepError::Journal)?;
        let mut running = |process| {
            let begun = Started { process: Some(process), ..begun.clone() };
            self.shared.journal(|journal| journal.started(begun))
        };
        let mut note = |memo| self.shared.journal(|journal| journal.started(Started { memo, ..started.clone() }));
        let mut context = Context {
            machine: &self.shared.machine,
            log: &mut log,
            scratch: &self.shared.scratch,
            memo,
            interrupted,
            left_over,
            running: &mut running,
            note: &mut note,
        };
        let result = steps::apply(step, &mut context).await;
        log.flush().map_err(StepError::Log)?;
        result
    }

    /// Writes down and tells that a step is done.
    pub(super) fn done(
        &self,
        index: usize,
        duration_ms: u64,
        changed: bool,
        detail: Option<String>,
        memo: Memo,
    ) -> Result<(), Stop> {
        let step = &self.document.steps[index];
        let done = Done {
            id: step.id.as_str().to_owned(),
            hash: step.hash.as_str().to_owned(),
            boot: self.shared.boot_id.clone(),
            duration_ms,
            changed,
            carried: false,
            detail: detail.clone(),
            memo,
        };
        if let Err(error) = self.shared.journal(|journal| journal.done(done)) {
            return Err(self.fail(index, duration_ms, None, StepError::Journal(error).tell()));
        }
        let outcome = if changed { StepOutcome::Done } else { StepOutcome::Unchanged };
        self.run.ended(index, outcome, duration_ms, detail);
        Ok(())
    }

    /// Writes down and tells that a step has failed.
    pub(super) fn fail(&self, index: usize, duration_ms: u64, exit_code: Option<i32>, message: String) -> Stop {
        let step = &self.document.steps[index];
        let failed = Failed {
            id: step.id.as_str().to_owned(),
            hash: step.hash.as_str().to_owned(),
            exit_code,
            duration_ms,
            message: message.clone(),
        };
        if let Err(error) = self.shared.journal(|journal| journal.failed(failed)) {
            tracing::warn!(%error, "a failure could not be written down");
        }
        let last_lines = self.shared.logs.tail(step.id.as_str(), LAST_LINES).unwrap_or_default();
        self.run.failed(index, duration_ms, Failure { exit_code, message, last_lines });
        Stop
    }

    /// After commands have run, sees what they have changed of what other steps made. That was meant, so it is not
    /// put back later.
    fn settle(&self) {
        for step in self.document.steps.iter().filter(|step| step.class == Class::Converge) {
            let done = self.shared.facts(|facts| facts.done(step.id.as_str(), step.hash.as_str()).cloned());
            let Some(mut done) = done else { continue };
            let adjusted = !steps::holds(&self.shared.machine, &step.kind, &done.memo);
            if adjusted == done.memo.adjusted {
                continue;
            }
            done.memo.adjusted = adjusted;
            if adjusted {
                self.run
                    .warn(format!("{}: a command has changed what this step made; it will not be put back", step.id));
            }
            if let Err(error) = self.shared.journal(|journal| journal.done(done)) {
                tracing::warn!(%error, "what commands have changed could not be written down");
            }
        }
    }

    /// An agent that was killed could not end what it had started. Packages are waited for: a dpkg that is killed leaves
    /// the node in pieces.
    async fn end_leftovers(&self) {
        let left = self.shared.facts(|facts| {
            let here = facts.running.iter().filter(|started| started.boot == self.shared.boot_id);
            let processes = here.filter_map(|started| Some((started.process?, started.id.clone())));
            processes.collect::<std::collections::BTreeMap<_, _>>()
        });
        for ((process, ticks), id) in left {
            if self.installs(&id) && muster_sys::process::is_alive(process, ticks) {
                self.run.warn(format!("{id}: waiting for what was begun before the agent was started again"));
                wait_for(process, ticks, PACKAGES_WAIT, || {}).await;
            }
            wait_for(process, ticks, LEFTOVER_WAIT, || {
                let group = Pid::from_raw(process.cast_signed());
                if let Err(error) = muster_sys::session::signal_group(group, libc::SIGKILL) {
                    tracing::warn!(%error, "a process of an earlier agent could not be ended");
                }
            })
            .await;
        }
    }

    fn installs(&self, id: &str) -> bool {
        let step = self.document.steps.iter().find(|step| step.id.as_str() == id);
        let kind = step.map(|step| &step.kind);
        matches!(kind, Some(StepKind::Packages(_) | StepKind::UpdateIndex | StepKind::Upgrade))
    }
}

/// Waits for the end of a process, doing something about it each time that it is still there.
async fn wait_for(process: u32, ticks: u64, limit: Duration, meanwhile: impl Fn()) {
    let mut pauses = Backoff::new(Duration::from_millis(1), Duration::from_millis(100));
    let begun = Instant::now();
    while muster_sys::process::is_alive(process, ticks) && begun.elapsed() < limit {
        meanwhile();
        // It is no child of ours, so nothing tells when it has ended.
        tokio::time::sleep(pauses.pause()).await;
    }
}

/// Ends the pass of a worker that panics: nobody else would, and no other document would ever be taken.
pub(super) struct Unwinding {
    pub(super) shared: Arc<Shared>,
    pub(super) run: Arc<Run>,
}

impl Drop for Unwinding {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut state = self.shared.lock();
        if state.run.as_ref().is_some_and(|run| Arc::ptr_eq(run, &self.run)) {
            state.busy = false;
        }
        drop(state);
        let running = self.run.slots().into_iter().position(|slot| slot.outcome == StepOutcome::Running);
        if let Some(index) = running {
            let message = "the agent met an error of its own (hint: its log says which; run it again)".to_owned();
            self.run.failed(index, 0, Failure { exit_code: None, message, last_lines: Vec::new() });
        }
        self.run.finish(ConfigPhase::Failed);
    }
}

fn section_of(step: &Step) -> Option<Section> {
    match &step.kind {
        StepKind::Command(command) => Some(command.section),
        _ => None,
    }
}

pub(super) fn milliseconds(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The commands of one section that are to run now.
pub(super) fn pending(worker: &Worker, section: Section, range: Range<usize>) -> Vec<usize> {
    range.filter(|index| !worker.command_is_done(section, *index)).collect()
}

/// An operation of the agent's own that failed in the middle of a command.
pub(super) fn broken(error: io::Error) -> StepError {
    StepError::Program { program: super::shell::SHELL.to_owned(), source: error }
}
