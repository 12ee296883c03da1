//! A node that leaves is drained first: a hook of its recipe ends when nothing needs the node any more. One that stays
//! after all is resumed.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_api::{EventBody, StepOutcome};
use muster_stdx::Backoff;
use muster_store::Drained;
use muster_types::{NodeName, Phase, Timestamp};
use tokio::time::Instant;

use crate::EngineError;
use crate::compile::{Hook, Hooks, Members, RenderFault};
use crate::configure::some;
use crate::fault::{Fault, LOG_LINES_MAX, Stop};
use crate::link::{LinkError, RunEvent};
use crate::node::NodeRun;

/// Whether nodes that leave are drained, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drain {
    /// As their recipes say.
    #[default]
    AsDeclared,
    Within(Duration),
    /// They go at once, also when somebody still speaks of them.
    Skip,
}

/// A hook on its way.
struct Running<'h> {
    step: &'static str,
    hook: &'h Hook,
    limit: Duration,
    deadline: Instant,
    log: VecDeque<String>,
}

impl NodeRun<'_> {
    /// Runs the drain hook of a node that others have been told of. What is written down before and after lets a later
    /// run go on, or take the node back.
    pub(crate) async fn drain(&mut self) -> Result<(), Stop> {
        let policy = self.run.config.drain;
        if policy == Drain::Skip || !self.run.board.is_leaving(self.name()) {
            return Ok(());
        }
        let Some(hook) = self.hooks()?.drain else { return Ok(()) };
        self.leaving = true;
        self.note_leaving(Phase::Draining, "").await?;
        self.enter(Phase::Draining, "").await;
        let limit = if let Drain::Within(limit) = policy { limit } else { hook.timeout };
        if let Err(stop) = self.run_hook("drain", &hook, limit).await {
            if let Stop::Node(fault) = &stop {
                self.note_leaving(Phase::Draining, &fault.reason).await?;
            }
            return Err(stop);
        }
        Ok(self.note_leaving(Phase::Removing, "").await?)
    }

    /// Undoes what was begun when the node was to leave.
    pub(crate) async fn resume(&mut self) -> Result<(), Stop> {
        if !std::mem::take(&mut self.leaving) || self.record.drained == Some(Drained::Asked) {
            return Ok(());
        }
        // Until the hook has ended the node is one that was to leave.
        self.leaving = true;
        if let Some(hook) = self.hooks()?.resume {
            self.run_hook("resume", &hook, hook.timeout).await?;
        }
        self.leaving = false;
        self.record.drained = None;
        Ok(())
    }

    /// Runs the drain hook of a node that stays. False where its recipe has none, or nobody wants it run.
    pub(crate) async fn withdraw(&mut self, why: Drained) -> Result<bool, Stop> {
        let policy = self.run.config.drain;
        let Some(hook) = self.hooks()?.drain.filter(|_| policy != Drain::Skip) else { return Ok(false) };
        // What an operator asked for outlives a stop.
        if self.record.drained != Some(Drained::Asked) {
            self.record.drained = Some(why);
        }
        self.save().await?;
        self.run.emitter.phase(self.name(), Phase::Draining, "", "").await;
        let limit = if let Drain::Within(limit) = policy { limit } else { hook.timeout };
        self.run_hook("drain", &hook, limit).await?;
        Ok(true)
    }

    async fn note_leaving(&mut self, phase: Phase, reason: &str) -> Result<(), EngineError> {
        self.record.phase = phase;
        self.record.reason = self.run.emitter.redactor.cleaned(reason);
        self.record.since = Timestamp::now();
        self.save().await
    }

    fn hooks(&self) -> Result<Hooks, Stop> {
        let hooks = |members: &Members| self.run.blueprint.hooks(self.name(), members);
        let found = self.run.board.with_leaving(hooks).unwrap_or_else(|| self.run.board.with_members(hooks));
        found.map_err(|fault| match fault {
            RenderFault::Waiting(nodes) => {
                let words = format!("its hooks need what is not known yet of {}", some(&nodes));
                Fault::new(words, "run the command again when those nodes are there").into()
            }
            RenderFault::Bad(diagnostics) => {
                let words: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
                let hint = diagnostics.first().map(|d| d.hint.clone()).unwrap_or_default();
                Fault::new(format!("its hooks cannot be rendered: {}", words.join("; ")), hint).into()
            }
        })
    }

    /// Has the first node that answers run it, again if the connection breaks: a hook may be repeated.
    async fn run_hook(&mut self, step: &'static str, hook: &Hook, limit: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + limit;
        let mut running = Running { step, hook, limit, deadline, log: VecDeque::new() };
        self.tell_hook(step, StepOutcome::Running).await;
        let result = self.run_hook_somewhere(&mut running).await;
        self.tell_hook(step, if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed }).await;
        result
    }

    async fn run_hook_somewhere(&mut self, running: &mut Running<'_>) -> Result<(), Stop> {
        let limits = &self.run.config.limits;
        let mut backoff = Backoff::new(limits.pause_first, limits.pause_longest);
        let unreached = Instant::now() + limits.reach;
        let mut silent = "there is no node to run it on".to_owned();
        loop {
            for node in &running.hook.on {
                self.run.hold.check()?;
                let Some(address) = self.run.board.address_of(node) else { continue };
                let link = self.run.config.links.node(node, address);
                let deadline = running.deadline;
                let work = self.run_hook_on(&*link, running);
                match tokio::time::timeout_at(deadline, work).await {
                    Ok(Ok(0)) => return Ok(()),
                    Ok(Ok(code)) => return Err(running.failed(node, code).into()),
                    // The command has ended with its connection.
                    Err(_) => return Err(running.out_of_time(node).into()),
                    Ok(Err(error)) => silent = format!("{node}: {error}"),
                }
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= running.deadline.min(unreached) {
                let words = format!("no node can run its {} hook: {silent}", running.step);
                return Err(Fault::new(words, running.hint("see `muster status`; then run the command again")).into());
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn run_hook_on(&self, link: &dyn crate::AgentLink, running: &mut Running<'_>) -> Result<i32, LinkError> {
        let mut events = link.run(&running.hook.command).await?;
        while let Some(event) = events.next().await {
            match event? {
                RunEvent::Output { stream, text } => {
                    if running.log.len() == LOG_LINES_MAX {
                        running.log.pop_front();
                    }
                    running.log.push_back(text.clone());
                    let (node, step) = (self.name().clone(), running.step.to_owned());
                    self.run.emitter.emit(EventBody::Output { node, step, stream, text }).await;
                }
                RunEvent::Ended { code } => return Ok(code),
            }
        }
        Err(LinkError::Unreachable { reason: "the connection ended before the command did".to_owned() })
    }

    async fn tell_hook(&self, step: &str, outcome: StepOutcome) {
        let (node, step) = (self.name().clone(), step.to_owned());
        self.run.emitter.emit(EventBody::Step { node, step, outcome, index: 0, total: 1 }).await;
    }
}

impl Running<'_> {
    fn failed(&self, node: &NodeName, code: i32) -> Fault {
        let words = format!("its {} hook on {node} failed (exit code {code}){}", self.step, self.last_line());
        self.fault(Fault::new(words, self.hint("put right what its last lines say, then run the command again")))
    }

    fn out_of_time(&self, node: &NodeName) -> Fault {
        let seconds = self.limit.as_secs_f32();
        let words = format!("its {} hook on {node} did not end within {seconds} s{}", self.step, self.last_line());
        let hint = "run the command again when it can; give it longer with `--drain-timeout 1h`";
        self.fault(Fault::timeout(words, self.hint(hint)))
    }

    fn fault(&self, fault: Fault) -> Fault {
        Fault { step: Some(self.step.to_owned()), log: self.log.iter().cloned().collect(), ..fault }
    }

    fn last_line(&self) -> String {
        self.log.iter().rev().find(|line| !line.trim().is_empty()).map(|line| format!(": {line}")).unwrap_or_default()
    }

    fn hint(&self, first: &str) -> String {
        if self.step == "drain" { format!("{first}, or let it go at once with `--no-drain`") } else { first.to_owned() }
    }
}
