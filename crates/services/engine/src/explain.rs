//! Why one node is as it is: what it waits for, the evidence, the likely cause, what to do.

use muster_api::{ConfigPhase, EventBody, StatusReply, StepOutcome};
use muster_provider::{Machine, MachineState};
use muster_store::NodeRecord;
use muster_types::{ClusterName, NodeName, Phase, Timestamp};
use serde::Serialize;

use crate::facts::{ask_agents, running};
use crate::link::LinkError;
use crate::observe::observe;
use crate::redact::Redactor;
use crate::{Engine, EngineError};

/// Version of the JSON form.
pub const EXPLANATION_VERSION: u32 = 1;
/// Events that are searched for what happened to the node.
const EVENTS_SEARCHED: usize = 5_000;
const EVENTS_SHOWN_MAX: usize = 5;
const CONSOLE_LINES: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub version: u32,
    pub cluster: ClusterName,
    pub node: NodeName,
    pub phase: Phase,
    pub since: Timestamp,
    /// Empty when it waits for nothing.
    pub waiting_for: String,
    /// What was seen, the newest last.
    pub evidence: Vec<String>,
    pub cause: String,
    pub remedy: String,
}

impl Engine {
    /// `None` where neither a record nor a machine of the node is there. Changes nothing.
    pub async fn explain(&self, cluster: &ClusterName, node: &NodeName) -> Result<Option<Explanation>, EngineError> {
        let status = self.status(cluster).await?;
        let Some(seen) = status.nodes.iter().find(|seen| seen.name == *node) else { return Ok(None) };
        let observation = observe(&self.config, cluster).await?;
        let (record, machine) = (observation.records.get(node), observation.machine(node));
        let asked = running(&observation).into_iter().filter(|(name, _)| name == node).collect();
        let reply = ask_agents(&self.config, asked).await.remove(node);
        let mut evidence = vec![match machine {
            Some(machine) => {
                let detail = machine.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                format!("the provider lists machine {} as {:?}{detail}", machine.id, machine.state).to_lowercase()
            }
            None => "the provider lists no machine of it".to_owned(),
        }];
        evidence.extend(reply.as_ref().map(said));
        let silent = machine.is_some() && !matches!(reply, Some(Ok(_)));
        if let Some(machine) = machine.filter(|_| silent) {
            let console = self.config.provider.console(&machine.id, CONSOLE_LINES).await.unwrap_or_default();
            evidence.extend(console.into_iter().map(|line| format!("console: {line}")));
        }
        let events = self.config.store.events(cluster, EVENTS_SEARCHED).await;
        let events = events.map_err(EngineError::store("read what happened"))?;
        let told: Vec<String> =
            events.iter().filter_map(|event| Some((event.at, words(&event.body, node)?))).map(line).collect();
        evidence.extend(told.into_iter().rev().take(EVENTS_SHOWN_MAX).rev());
        let redactor = Redactor::new(self.config.redact.clone());
        for text in &mut evidence {
            redactor.clean(text);
        }
        let (cause, remedy) = judge(node, (seen.phase, &seen.reason), (record, machine, reply.as_ref()));
        Ok(Some(Explanation {
            version: EXPLANATION_VERSION,
            cluster: cluster.clone(),
            node: node.clone(),
            phase: seen.phase,
            since: seen.since,
            waiting_for: seen.waiting_for.clone(),
            evidence,
            cause,
            remedy,
        }))
    }
}

fn line((at, words): (Timestamp, String)) -> String {
    format!("{} {words}", at.strftime("%Y-%m-%d %H:%M:%S"))
}

/// What tells of a node's troubles.
fn words(body: &EventBody, of: &NodeName) -> Option<String> {
    match body {
        EventBody::Failed { node: Some(node), message, .. } if node == of => Some(format!("failed: {message}")),
        EventBody::Warning { node: Some(node), message } if node == of => Some(message.clone()),
        EventBody::Called { order, node: Some(node), error: Some(error), .. } if node == of => {
            Some(format!("{order}: {error}"))
        }
        EventBody::Phase { node, phase: Phase::Ready, .. } if node == of => Some("it was ready".to_owned()),
        _ => None,
    }
}

fn said(reply: &Result<StatusReply, LinkError>) -> String {
    let status = match reply {
        Ok(status) => status,
        Err(error) => return format!("its agent: {error}"),
    };
    let Some(config) = &status.config else { return "its agent answers, and nothing was applied yet".to_owned() };
    let done = config.steps.iter().filter(|step| matches!(step.outcome, StepOutcome::Done | StepOutcome::Unchanged));
    let (done, all) = (done.count(), config.steps.len());
    let at = config.steps.iter().find(|step| matches!(step.outcome, StepOutcome::Running | StepOutcome::Failed));
    let at = at.map(|step| {
        let detail = step.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("; {} is {:?}{detail}", step.id, step.outcome).to_lowercase()
    });
    format!("its agent answers: {done} of {all} steps are done{}", at.unwrap_or_default())
}

/// The likely cause, and what to do about it.
fn judge(
    node: &NodeName,
    (phase, reason): (Phase, &str),
    (record, machine, reply): (Option<&NodeRecord>, Option<&Machine>, Option<&Result<StatusReply, LinkError>>),
) -> (String, String) {
    let tell = |cause: &str, remedy: String| (cause.to_owned(), remedy);
    let because = |cause: &str| if reason.is_empty() { cause.to_owned() } else { format!("{cause}: {reason}") };
    let Some(record) = record else {
        return tell(
            "nobody recorded this machine: the state was lost, or another program made it",
            "adopt or remove it: `muster up`".to_owned(),
        );
    };
    let Some(machine) = machine else {
        return match &record.machine {
            Some(_) => {
                tell("its machine was removed by other means than muster", "`muster up` makes another one".to_owned())
            }
            None => {
                (because("no machine was made for it yet"), "put right what it names, then run `muster up`".to_owned())
            }
        };
    };
    match machine.state {
        MachineState::Running => {}
        MachineState::Stopped if record.phase == Phase::Stopped => {
            return tell("it was stopped on request", format!("start it: `muster node start {node}`"));
        }
        MachineState::Stopped | MachineState::Failed => {
            let remedy = format!("read `muster logs {node} --console`, then start it: `muster node start {node}`");
            return tell("its machine went down by itself, or the machine under it did", remedy);
        }
        MachineState::Paused => return tell("its machine is paused", "`muster up` lets it go on".to_owned()),
        MachineState::Creating => {
            return tell("the provider is still making its machine", "wait; a run waits for it too".to_owned());
        }
        MachineState::Removing => {
            return tell("the provider is removing its machine", "`muster up` makes another one".to_owned());
        }
    }
    of_agent(node, (phase, reason), reply)
}

/// The same for a node whose machine runs.
fn of_agent(
    node: &NodeName,
    (phase, reason): (Phase, &str),
    reply: Option<&Result<StatusReply, LinkError>>,
) -> (String, String) {
    let tell = |cause: &str, remedy: String| (cause.to_owned(), remedy);
    let because = |cause: &str| if reason.is_empty() { cause.to_owned() } else { format!("{cause}: {reason}") };
    let status = match reply {
        Some(Ok(status)) => status,
        Some(Err(LinkError::NotEnrolled)) => {
            return tell(
                "it has started and nobody has enrolled it: a run was cut off",
                "`muster up` goes on with it".to_owned(),
            );
        }
        Some(Err(error)) if error.is_temporary() => {
            let remedy = format!(
                "read `muster logs {node} --console`; then `muster node reboot {node}`, or `muster node replace {node}`"
            );
            return tell("its agent or its network has failed", remedy);
        }
        Some(Err(_)) | None => {
            let remedy = format!("give it another machine: `muster node replace {node}`");
            return tell("what answers at its address is not the node that was enrolled", remedy);
        }
    };
    let logs = format!("`muster logs {node}`");
    match (status.config.as_ref().map(|config| config.phase), phase) {
        (Some(ConfigPhase::Applying), _) => {
            tell("its configuration is on its way", format!("watch it: `muster logs {node} --follow`"))
        }
        (Some(ConfigPhase::Failed), _) => (
            because("a step of its configuration failed"),
            format!("read {logs}, correct the file, then run `muster up`"),
        ),
        (None, _) => tell("a run was cut off before it was configured", "`muster up` goes on with it".to_owned()),
        _ if !status.drifted.is_empty() => {
            let cause = format!("somebody changed on it what was configured: {}", status.drifted.join(", "));
            (cause, "`muster up` puts back just these".to_owned())
        }
        (_, Phase::Draining) => (
            because("it is drained"),
            format!("take it back with `muster node resume {node}`, or go on with what drained it"),
        ),
        (_, Phase::Failed) => (
            because("it is configured, and a check does not pass"),
            format!("look at what it runs: `muster exec {node}`, {logs}; then `muster up`"),
        ),
        (_, Phase::Ready) => tell("nothing is wrong with it", "none is needed".to_owned()),
        _ => (because("a run with it is on its way, or was cut off"), "`muster up` goes on with it".to_owned()),
    }
}
