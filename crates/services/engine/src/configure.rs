//! Rendering a node's configuration once the addresses it speaks of are there, and having the agent apply it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt as _;
use muster_api::{ApplyEvent, ApplyRequest, ConfigPhase, EventBody, StepOutcome};
use muster_stdx::Backoff;
use muster_types::{Phase, Redacted};
use tokio::time::Instant;

use crate::board::Blocked;
use crate::compile::{Members, RenderFault, Rendered};
use crate::fault::{Fault, LOG_LINES_MAX, Stop};
use crate::link::{AgentLink, LinkError};
use crate::node::NodeRun;
use crate::tide::Version;

const NAMES_SHOWN_MAX: usize = 5;

/// What is known of the work on the node, over all connections that it took.
#[derive(Default)]
struct Progress {
    /// Steps whose end was told; a stream that is joined again begins at its start.
    told: BTreeSet<String>,
    warned: BTreeSet<String>,
    step: Option<String>,
    index: usize,
    total: usize,
    log: VecDeque<String>,
    failed: Option<Fault>,
}

impl NodeRun<'_> {
    /// Applies the configuration and runs the checks.
    pub(crate) async fn configure(&mut self) -> Result<(), Stop> {
        let (version, rendered) = self.render().await?;
        let _slot = self.run.agent_slots.acquire().await;
        self.enter(Phase::Configuring, "").await;
        let link = self.link()?;
        self.apply(&link, &rendered).await?;
        self.applied += 1;
        self.record.document = Some(Redacted::new(rendered.document));
        self.record.document_hash = Some(rendered.hash);
        self.check(&link, (&rendered.checks, rendered.outside.as_ref())).await?;
        if rendered.follows {
            self.run.board.took_in(self.name(), version, rendered.left_out);
        }
        Ok(())
    }

    /// What it is given now, and the version of the members that it was made from.
    pub(crate) async fn render(&mut self) -> Result<(Version, Rendered), Stop> {
        loop {
            let version = self.run.board.version();
            let render = |members: &Members| self.run.blueprint.render(self.name(), members);
            let mut rendered = self.run.board.with_members(render);
            if rendered.as_ref().is_ok_and(|rendered| rendered.follows) {
                rendered = self.run.board.with_leaving(render).unwrap_or(rendered);
            }
            let wanted = match rendered {
                Ok(rendered) => return Ok((version, rendered)),
                Err(RenderFault::Waiting(wanted)) => wanted,
                Err(RenderFault::Bad(diagnostics)) => {
                    let words: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
                    let reason = format!("its configuration cannot be rendered: {}", words.join("; "));
                    let hint = diagnostics.first().map(|d| d.hint.clone()).unwrap_or_default();
                    return Err(Fault::new(reason, hint).into());
                }
            };
            let blocked = |blocked: Blocked| {
                let hint = "let the template do without that address, or change what the groups need";
                Stop::from(Fault::new(blocked.reason, hint))
            };
            self.run.board.check_wanted(&wanted).map_err(blocked)?;
            self.enter(Phase::Configuring, &format!("the address of {}", some(&wanted))).await;
            self.run.board.addresses(self.name(), &wanted).await.map_err(blocked)?;
        }
    }

    /// Goes on over connections that break: a configuration may reboot its node.
    pub(crate) async fn apply(&mut self, link: &Arc<dyn AgentLink>, rendered: &Rendered) -> Result<(), Stop> {
        let limit = self.desired.map(|desired| desired.timeout).unwrap_or_default();
        let deadline = Instant::now() + limit;
        let limits = &self.run.config.limits;
        let mut backoff = Backoff::new(limits.pause_first, limits.pause_longest);
        let mut progress = Progress::default();
        let mut told = String::new();
        loop {
            let generation = self.run.hold.check()?;
            let request = ApplyRequest { generation, hash: rendered.hash.clone(), document: rendered.document.clone() };
            let applied = tokio::time::timeout_at(deadline, self.apply_once(link, &request, &mut progress)).await;
            let error = match applied {
                Ok(Ok(())) => return progress.failed.take().map_or(Ok(()), |fault| Err(fault.into())),
                Ok(Err(error)) if !error.is_temporary() => return Err(refused(&error).into()),
                Ok(Err(error)) => error,
                Err(_) => return Err(progress.out_of_time(limit.as_secs()).into()),
            };
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(progress.out_of_time(limit.as_secs()).into());
            }
            if told != error.to_string() {
                told = error.to_string();
                self.enter(Phase::Configuring, &format!("its agent: {told}")).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection: `Ok` when the document is done or has failed.
    async fn apply_once(
        &mut self,
        link: &Arc<dyn AgentLink>,
        request: &ApplyRequest,
        progress: &mut Progress,
    ) -> Result<(), LinkError> {
        let mut events = link.apply(request).await?;
        while let Some(event) = events.next().await {
            match event? {
                ApplyEvent::Finished { phase, changed, .. } => {
                    self.changed = self.changed.max(changed);
                    if phase == ConfigPhase::Failed && progress.failed.is_none() {
                        progress.failed = Some(Fault::new("its configuration failed", self.logs_hint()));
                    }
                    return Ok(());
                }
                event => self.tell(event, progress).await,
            }
        }
        Err(LinkError::Unreachable { reason: "the connection ended in the middle of the configuration".to_owned() })
    }

    async fn tell(&self, event: ApplyEvent, progress: &mut Progress) {
        let node = self.name().clone();
        match event {
            ApplyEvent::Warning { message } => {
                if progress.warned.insert(message.clone()) {
                    self.run.emitter.warn(Some(&node), message).await;
                }
            }
            ApplyEvent::Started { step, index, total } => {
                (progress.index, progress.total) = (index, total);
                if !progress.told.contains(&step) && progress.step.as_ref() != Some(&step) {
                    self.tell_step(&step, StepOutcome::Running, progress).await;
                }
                progress.step = Some(step);
                progress.log.clear();
            }
            ApplyEvent::Output { step, stream, text } => {
                progress.keep(&text);
                if !progress.told.contains(&step) {
                    self.run.emitter.emit(EventBody::Output { node, step, stream, text }).await;
                }
            }
            ApplyEvent::Done { step, outcome, .. } => {
                if !progress.told.contains(&step) {
                    self.tell_step(&step, outcome, progress).await;
                    progress.told.insert(step);
                }
            }
            ApplyEvent::Failed { step, exit_code, message, log } => {
                self.tell_step(&step, StepOutcome::Failed, progress).await;
                let code = exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
                let log = if log.is_empty() { progress.log.iter().cloned().collect() } else { log };
                let reason = format!("{step} failed: {message}{code}");
                let fault = Fault::new(reason, self.logs_hint());
                progress.failed = Some(Fault { step: Some(step), log: last_lines(log), ..fault });
            }
            ApplyEvent::Finished { .. } => {}
        }
    }

    async fn tell_step(&self, step: &str, outcome: StepOutcome, progress: &Progress) {
        let body = EventBody::Step {
            node: self.name().clone(),
            step: step.to_owned(),
            outcome,
            index: progress.index,
            total: progress.total,
        };
        self.run.emitter.emit(body).await;
    }

    fn logs_hint(&self) -> String {
        let name = self.name();
        format!("read all of it with `muster logs {name}`, correct the file, then run `muster up` again")
    }
}

impl Progress {
    fn keep(&mut self, text: &str) {
        for line in text.lines() {
            if self.log.len() == LOG_LINES_MAX {
                self.log.pop_front();
            }
            self.log.push_back(line.to_owned());
        }
    }

    fn out_of_time(&self, seconds: u64) -> Fault {
        let at = self.step.as_ref().map(|step| format!(", in {step}")).unwrap_or_default();
        let hint = "the node goes on with it; raise the group's `timeout`, then run `muster up` again";
        Fault {
            step: self.step.clone(),
            log: self.log.iter().cloned().collect(),
            ..Fault::timeout(format!("its configuration took longer than {seconds} s{at}"), hint)
        }
    }
}

/// Names, as many as fit into a line.
pub(crate) fn some(names: &BTreeSet<impl std::fmt::Display>) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN_MAX).map(ToString::to_string).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn last_lines(mut log: Vec<String>) -> Vec<String> {
    log.split_off(log.len().saturating_sub(LOG_LINES_MAX))
}

fn refused(error: &LinkError) -> Fault {
    let hint = match error {
        LinkError::Refused { hint, .. } if !hint.is_empty() => hint.clone(),
        _ => "look at the node with `muster status`, then run `muster up` again".to_owned(),
    };
    Fault::new(format!("its agent does not take the configuration: {error}"), hint)
}
