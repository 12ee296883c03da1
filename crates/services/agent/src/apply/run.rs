//! One pass over a document: how far each step is, and the stream of events that tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_api::{ApplyEvent, ConfigPhase, ConfigState, LogLine, StepOutcome, StepState};
use muster_cloudinit::{Class, Document, Section, Step, StepKind};
use muster_stdx::{OnError, Supervisor};
use tokio::sync::{mpsc, watch};

use super::journal::Done;
use super::log::{Logs, Position, Reader};

/// Events that wait for a slow client before its follower waits too.
pub(super) const EVENTS_MAX: usize = 64;
/// Warnings kept of one pass.
const WARNINGS_MAX: usize = 200;

/// A step as far as telling about it needs it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) id: String,
    pub(super) hash: String,
    pub(super) command: Option<Section>,
    pub(super) rerun: bool,
    pub(super) outcome: StepOutcome,
    pub(super) exit_code: Option<i32>,
    pub(super) duration_ms: Option<u64>,
    pub(super) detail: Option<String>,
    /// The last lines of a step that failed.
    pub(super) last_lines: Vec<String>,
    /// Whether this pass began it.
    started: bool,
    /// How far its log has been written in this pass.
    written: Position,
}

/// Why and how a step ended.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) exit_code: Option<i32>,
    pub(super) message: String,
    pub(super) last_lines: Vec<String>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    warnings: Vec<String>,
    finished: Option<(ConfigPhase, usize)>,
}

/// How far a step's log may be read.
#[derive(Debug, Clone, Copy)]
enum LogEnd {
    /// This pass has yet to come to the step: what is there is of an earlier one, and will go.
    Pending,
    /// The step runs.
    At(Position),
    Whole,
}

impl LogEnd {
    /// The end for a reader; `None` when nothing is to be shown. Whoever follows is not shown what will go.
    #[expect(clippy::option_option, reason = "whether to read, and up to where")]
    fn shown(self, follow: bool) -> Option<Option<Position>> {
        match self {
            Self::Pending if follow => None,
            Self::Pending | Self::Whole => Some(None),
            Self::At(end) => Some(Some(end)),
        }
    }
}

/// Shared by the worker, which writes, and the followers of its stream.
#[derive(Debug)]
pub(super) struct Run {
    hash: String,
    of_boot: bool,
    /// Steps whose result can be looked at.
    converging: Vec<Step>,
    state: Mutex<State>,
    /// Counts changes; followers wait for the next.
    version: watch::Sender<u64>,
}

impl Run {
    pub(super) fn new(hash: String, document: &Document, warnings: Vec<String>) -> Self {
        let slots = document.steps.iter().map(|step| Slot {
            id: step.id.as_str().to_owned(),
            hash: step.hash.as_str().to_owned(),
            command: match &step.kind {
                StepKind::Command(command) => Some(command.section),
                _ => None,
            },
            rerun: step.class == Class::Once { rerun: true },
            outcome: StepOutcome::Pending,
            exit_code: None,
            duration_ms: None,
            detail: None,
            last_lines: Vec::new(),
            started: false,
            written: Position::default(),
        });
        let state = State { slots: slots.collect(), warnings, finished: None };
        let converging = document.steps.iter().filter(|step| step.class == Class::Converge).cloned().collect();
        Self { hash, of_boot: false, converging, state: Mutex::new(state), version: watch::Sender::new(0) }
    }

    pub(super) fn of_boot(self) -> Self {
        Self { of_boot: true, ..self }
    }

    /// Nothing that panics happens under the lock, so a poisoned one still holds a good state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Whether it only brings back what a reboot has taken away.
    pub(super) fn is_of_boot(&self) -> bool {
        self.of_boot
    }

    /// Returns when the pass has ended; at once when it has.
    pub(super) async fn finished(&self) {
        let mut changes = self.version.subscribe();
        loop {
            changes.mark_unchanged();
            // The sender lives in `self`, so a change comes or nobody needs it any more.
            if self.lock().finished.is_some() || changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn converging(&self) -> &[Step] {
        &self.converging
    }

    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        self.lock().slots.clone()
    }

    /// Sets what an earlier process of the agent did of this pass.
    pub(super) fn restore(&self, index: usize, done: &Done, written: Position) {
        self.change(|state| {
            let slot = &mut state.slots[index];
            slot.outcome = if done.changed && !done.carried { StepOutcome::Done } else { StepOutcome::Unchanged };
            slot.duration_ms = Some(if done.carried { 0 } else { done.duration_ms });
            slot.detail.clone_from(&done.detail);
            slot.started = !done.carried;
            slot.written = written;
        });
    }

    pub(super) fn warn(&self, message: String) {
        self.change(|state| {
            if state.warnings.len() < WARNINGS_MAX {
                state.warnings.push(message);
            }
        });
    }

    pub(super) fn started(&self, index: usize) {
        self.change(|state| {
            let slot = &mut state.slots[index];
            slot.outcome = StepOutcome::Running;
            slot.started = true;
            slot.written = Position::default();
            (slot.exit_code, slot.duration_ms, slot.detail) = (None, None, None);
        });
    }

    pub(super) fn written(&self, index: usize, to: Position) {
        self.change(|state| state.slots[index].written = to);
    }

    pub(super) fn ended(&self, index: usize, outcome: StepOutcome, duration_ms: u64, detail: Option<String>) {
        self.change(|state| {
            let slot = &mut state.slots[index];
            slot.outcome = outcome;
            slot.duration_ms = Some(duration_ms);
            slot.detail = detail;
        });
    }

    pub(super) fn failed(&self, index: usize, duration_ms: u64, failure: Failure) {
        self.change(|state| {
            let slot = &mut state.slots[index];
            slot.outcome = StepOutcome::Failed;
            slot.duration_ms = Some(duration_ms);
            slot.exit_code = failure.exit_code;
            slot.detail = Some(failure.message);
            slot.last_lines = failure.last_lines;
        });
    }

    /// Whether this pass did a step.
    pub(super) fn was_done(&self, index: usize) -> bool {
        let slot = &self.lock().slots[index];
        slot.started && slot.outcome == StepOutcome::Done
    }

    /// How many steps this pass did.
    pub(super) fn changed(&self) -> usize {
        let done = |slot: &&Slot| slot.started && slot.outcome == StepOutcome::Done;
        self.lock().slots.iter().filter(done).count()
    }

    pub(super) fn finish(&self, phase: ConfigPhase) {
        let changed = self.changed();
        self.change(|state| state.finished = Some((phase, changed)));
    }

    pub(super) fn config_state(&self) -> ConfigState {
        let state = self.lock();
        let steps = state.slots.iter().map(|slot| StepState {
            id: slot.id.clone(),
            hash: slot.hash.clone(),
            outcome: slot.outcome,
            exit_code: slot.exit_code,
            duration_ms: slot.duration_ms,
            detail: slot.detail.clone(),
        });
        let phase = state.finished.map_or(ConfigPhase::Applying, |(phase, _)| phase);
        ConfigState { hash: self.hash.clone(), phase, steps: steps.collect() }
    }

    /// Streams this pass from its start to its end. What a client has not taken yet stays where it is: in the state
    /// and in the files of the logs.
    pub(super) fn follow(self: &Arc<Self>, logs: &Logs, supervisor: &Supervisor) -> mpsc::Receiver<ApplyEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let mut follower = Follower { run: Arc::clone(self), logs: logs.clone(), step: 0, begun: None, warnings: 0 };
        supervisor.spawn("apply stream", OnError::Log, async move { follower.stream(sender).await });
        receiver
    }

    fn log_end(&self, index: usize) -> LogEnd {
        let state = self.lock();
        let slot = &state.slots[index];
        match slot.outcome {
            StepOutcome::Running => LogEnd::At(slot.written),
            StepOutcome::Pending if state.finished.is_none() => LogEnd::Pending,
            _ => LogEnd::Whole,
        }
    }

    /// Sends the last lines of some steps, and what comes while they run.
    pub(super) async fn stream_logs(
        &self,
        logs: &Logs,
        steps: Vec<(usize, String)>,
        lines: usize,
        follow: bool,
        sender: &mpsc::Sender<LogLine>,
    ) -> std::io::Result<()> {
        let mut count: usize = 0;
        for (index, id) in &steps {
            let mut reader = logs.reader(id);
            while let Some(end) = self.log_end(*index).shown(follow)
                && reader.next(end)?.is_some()
            {
                count += 1;
                // A log can be long, and this thread does everything else too.
                tokio::task::consume_budget().await;
            }
        }
        let mut skip = count.saturating_sub(lines);
        let mut changes = self.version.subscribe();
        for (index, id) in steps {
            let mut reader = logs.reader(&id);
            loop {
                changes.mark_unchanged();
                let end = self.log_end(index);
                let line = match end.shown(follow) {
                    Some(end) => reader.next(end)?,
                    None => None,
                };
                let Some(line) = line else {
                    if !follow || matches!(end, LogEnd::Whole) {
                        break;
                    }
                    tokio::select! {
                        // Losing the wait for a change is safe: the client is gone, and nobody else is told by it.
                        changed = changes.changed() => if changed.is_err() { return Ok(()) },
                        // Losing the wait for the client's end is safe: it is waited for again.
                        () = sender.closed() => return Ok(()),
                    }
                    continue;
                };
                if skip > 0 {
                    skip -= 1;
                    tokio::task::consume_budget().await;
                    continue;
                }
                let line = LogLine { at: line.at, step: id.clone(), stream: line.stream, text: line.text };
                if sender.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

struct Follower {
    run: Arc<Run>,
    logs: Logs,
    step: usize,
    /// The log of the step that was told to have started.
    begun: Option<Reader>,
    warnings: usize,
}

enum Next {
    Event(ApplyEvent),
    Wait,
}

impl Follower {
    async fn stream(&mut self, sender: mpsc::Sender<ApplyEvent>) -> std::io::Result<()> {
        let mut changes = self.run.version.subscribe();
        loop {
            changes.mark_unchanged();
            match self.next()? {
                Next::Event(event) => {
                    let last = matches!(event, ApplyEvent::Finished { .. });
                    if sender.send(event).await.is_err() || last {
                        return Ok(());
                    }
                }
                Next::Wait => tokio::select! {
                    // Losing the wait for a change is safe: the client is gone, and nobody else is told by it.
                    changed = changes.changed() => if changed.is_err() { return Ok(()) },
                    // Losing the wait for the client's end is safe: it is waited for again.
                    () = sender.closed() => return Ok(()),
                },
            }
        }
    }

    /// What is to be told next.
    fn next(&mut self) -> std::io::Result<Next> {
        let state = self.run.lock();
        if let Some(message) = state.warnings.get(self.warnings) {
            self.warnings += 1;
            return Ok(Next::Event(ApplyEvent::Warning { message: message.clone() }));
        }
        let total = state.slots.len();
        let Some(slot) = state.slots.get(self.step).filter(|slot| slot.outcome != StepOutcome::Pending) else {
            return Ok(self.finished(state.finished, total));
        };
        let slot = slot.clone();
        drop(state);
        if slot.started && self.begun.is_none() {
            self.begun = Some(self.logs.reader(&slot.id));
            return Ok(Next::Event(ApplyEvent::Started { step: slot.id, index: self.step, total }));
        }
        if let Some(reader) = &mut self.begun
            && let Some(line) = reader.next(Some(slot.written))?
        {
            return Ok(Next::Event(ApplyEvent::Output { step: slot.id, stream: line.stream, text: line.text }));
        }
        if slot.outcome == StepOutcome::Running {
            return Ok(Next::Wait);
        }
        self.step += 1;
        self.begun = None;
        Ok(Next::Event(ended(slot)))
    }

    fn finished(&self, finished: Option<(ConfigPhase, usize)>, total: usize) -> Next {
        match finished {
            Some((phase, changed)) => {
                let hash = self.run.hash.clone();
                Next::Event(ApplyEvent::Finished { hash, phase, changed, total })
            }
            None => Next::Wait,
        }
    }
}

fn ended(slot: Slot) -> ApplyEvent {
    match slot.outcome {
        StepOutcome::Failed => ApplyEvent::Failed {
            step: slot.id,
            exit_code: slot.exit_code,
            message: slot.detail.unwrap_or_default(),
            log: slot.last_lines,
        },
        outcome => ApplyEvent::Done { step: slot.id, outcome, duration_ms: slot.duration_ms.unwrap_or(0) },
    }
}
