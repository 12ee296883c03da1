//! What has moved away from the file, without the file's doing: machines, what was configured, membership, health.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use muster_api::{Check, CheckEvent, CheckKind, CheckState, StatusReply};
use muster_plan::{Change, Facts, Health, Verb};
use muster_store::NodeRecord;
use muster_types::{ClusterName, MachineId, NodeName, Phase};
use serde::Serialize;

use crate::blueprint::Blueprint;
use crate::engine::Prepared;
use crate::link::LinkError;
use crate::{Engine, EngineConfig, EngineError};

/// Version of the JSON form.
pub const DRIFT_VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Machines,
    Configuration,
    Membership,
    Health,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Configuration => "configuration",
            Self::Membership => "membership",
            Self::Health => "health",
        }
    }
}

/// One thing that is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub node: NodeName,
    pub level: Level,
    pub machine: Option<MachineId>,
    /// In words.
    pub what: String,
    /// The configuration steps that it is about.
    pub steps: Vec<String>,
    /// What puts it right.
    pub remedy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriftReport {
    pub version: u32,
    pub cluster: ClusterName,
    pub provider: String,
    /// Nodes that were looked at.
    pub nodes: usize,
    /// By node, then by level.
    pub findings: Vec<Finding>,
}

impl DriftReport {
    /// How many findings there are of each level.
    pub fn counts(&self) -> BTreeMap<Level, usize> {
        let levels = [Level::Machines, Level::Configuration, Level::Membership, Level::Health];
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        levels.into_iter().map(|level| (level, count(level))).collect()
    }
}

impl Engine {
    /// Compares what is with what should be, on all levels at once. Changes nothing and needs no lease.
    pub async fn drift(&self, blueprint: &dyn Blueprint) -> Result<DriftReport, EngineError> {
        let prepared = self.prepare(blueprint).await?;
        let mut findings = machines(&prepared);
        for node in &prepared.desired {
            let record = prepared.observation.records.get(&node.name);
            let reply = prepared.replies.get(&node.name);
            if let Some(facts) = prepared.facts.get(&node.name) {
                findings.extend(configuration(&node.name, facts, reply.and_then(|reply| reply.as_ref().ok())));
                findings.extend(membership(&node.name, facts, (record, reply)));
            }
        }
        findings.extend(self.health(blueprint, &prepared).await);
        findings.sort();
        Ok(DriftReport {
            version: DRIFT_VERSION,
            cluster: blueprint.cluster().clone(),
            provider: self.config.provider_name.clone(),
            nodes: prepared.desired.len(),
            findings,
        })
    }

    /// Each check of each node that should pass them, once.
    async fn health(&self, blueprint: &dyn Blueprint, prepared: &Prepared) -> Vec<Finding> {
        let is_ready = |node: &NodeName| {
            let records = &prepared.observation.records;
            records.get(node).is_some_and(|record| record.phase == Phase::Ready)
                && matches!(prepared.replies.get(node), Some(Ok(_)))
        };
        let asked = prepared.desired.iter().filter(|node| is_ready(&node.name)).filter_map(|node| {
            let rendered = blueprint.render(&node.name, &prepared.known.members).ok()?;
            let address = *prepared.observation.machine(&node.name)?.addresses.first()?;
            Some((&node.name, address, rendered.checks))
        });
        let checks = asked.map(|(node, address, checks)| async move {
            let failed = check_once(&self.config, (node, address), checks).await;
            failed.into_iter().map(move |what| Finding {
                node: node.clone(),
                level: Level::Health,
                machine: None,
                remedy: format!("look at it with `muster logs {node}` and `muster exec {node}`; a reboot is `muster node reboot {node}`"),
                steps: Vec::new(),
                what,
            })
        });
        let checked = stream::iter(checks).buffer_unordered(self.config.limits.agents_max);
        checked.flat_map(stream::iter).collect().await
    }
}

fn finding(node: &NodeName, level: Level, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { node: node.clone(), level, machine: None, what: what.into(), steps: Vec::new(), remedy: remedy.into() }
}

/// What the provider's list says against the records.
fn machines(prepared: &Prepared) -> Vec<Finding> {
    let records = &prepared.observation.records;
    let had_machine = |node: &NodeName| records.get(node).is_some_and(|record| record.machine.is_some());
    let mut findings = Vec::new();
    for action in prepared.plan.actions() {
        let remedy = match action.verb {
            Verb::Create if had_machine(&action.node) => "`muster up` makes another one under the same name",
            Verb::Start if records.get(&action.node).is_some_and(|record| record.phase == Phase::Stopped) => continue,
            Verb::Start => "`muster up` starts it",
            Verb::Remove if action.extra || !records.contains_key(&action.node) => {
                "`muster up` removes it, after asking"
            }
            Verb::Replace if is_of_machine(prepared, &action.node) => "`muster up` replaces it, after asking",
            _ => continue,
        };
        let machine = action.machine.clone();
        findings.push(Finding { machine, ..finding(&action.node, Level::Machines, &action.reason, remedy) });
    }
    findings
}

/// Whether a node is to be replaced for its machine, and not for its configuration.
fn is_of_machine(prepared: &Prepared, node: &NodeName) -> bool {
    !matches!(prepared.facts.get(node), Some(Facts { change: Change::Replace { .. }, .. }))
}

fn configuration(node: &NodeName, facts: &Facts, reply: Option<&StatusReply>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let drifted = reply.map(|reply| reply.drifted.clone()).unwrap_or_default();
    if !drifted.is_empty() {
        let what = format!("changed on the node since it was configured: {}", drifted.join(", "));
        let found = finding(node, Level::Configuration, what, "`muster up` puts back just these");
        findings.push(Finding { steps: drifted.clone(), ..found });
    }
    let found = match &facts.change {
        Change::Apply { steps, reason } if drifted.is_empty() => Some((steps, reason, "`muster up` applies it")),
        Change::Replace { steps, reason } => Some((steps, reason, "`muster up` replaces the node, after asking")),
        _ => None,
    };
    if let Some((steps, reason, remedy)) = found {
        let found = finding(node, Level::Configuration, reason, remedy);
        findings.push(Finding { steps: steps.clone(), ..found });
    }
    findings
}

/// What agents report of themselves.
fn membership(
    node: &NodeName,
    facts: &Facts,
    (record, reply): (Option<&NodeRecord>, Option<&Result<StatusReply, LinkError>>),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tell = |what: String, remedy: &str| findings.push(finding(node, Level::Membership, what, remedy));
    match &facts.health {
        Health::Silent { reason } => {
            tell(format!("its agent does not answer: {reason}"), "`muster up` goes on with it; see its console");
        }
        Health::NotJoined => tell("it has not joined".to_owned(), "`muster up` enrols it"),
        Health::Answers | Health::Unasked => {}
    }
    let (Some(record), Some(Ok(reply))) = (record, reply) else { return findings };
    if reply.token_reuses > 0 {
        let words = format!("its enrolment token was used again {} times by somebody else", reply.token_reuses);
        tell(words, "find out who knows the node's user-data; `muster node replace` gives it another token");
    }
    if let Some(said) = record.facts.as_ref().filter(|said| **said != reply.facts) {
        let (before, now) = (said, &reply.facts);
        let parts = [
            (before.cpus != now.cpus).then(|| format!("{} processors in place of {}", now.cpus, before.cpus)),
            (before.memory_bytes != now.memory_bytes)
                .then(|| format!("{} bytes of memory in place of {}", now.memory_bytes, before.memory_bytes)),
            (before.kernel != now.kernel).then(|| format!("kernel {} in place of {}", now.kernel, before.kernel)),
            (before.os != now.os).then(|| format!("{} in place of {}", now.os, before.os)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        tell(format!("it says of itself: {}", parts.join(", ")), "`muster up` tells those whose files speak of it");
    }
    findings
}

/// Why checks do not pass now.
async fn check_once(
    config: &EngineConfig,
    (node, address): (&NodeName, std::net::IpAddr),
    checks: Vec<Check>,
) -> Vec<String> {
    let link = config.links.node(node, address);
    let limit = config.limits.ask;
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut failed = Vec::new();
    if checks.iter().any(|check| check.kind == CheckKind::Ping) {
        match tokio::time::timeout(limit, link.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("ping: {error}")),
            Err(_) => failed.push("ping: no answer".to_owned()),
        }
    }
    let asked = checks.into_iter().filter(|check| !matches!(check.kind, CheckKind::Ping | CheckKind::Agent));
    // One at a time: the first that fails ends a stream.
    for check in asked.map(|check| Check { timeout_ms: check.timeout_ms.min(limit_ms), ..check }) {
        let asking = async {
            let mut events = link.checks(std::slice::from_ref(&check)).await?;
            while let Some(event) = events.next().await {
                let CheckEvent { check, state, reason, .. } = event?;
                if state == CheckState::Failed {
                    return Ok(Some(format!("{check}: {}", reason.unwrap_or_default())));
                }
            }
            Ok::<_, LinkError>(None)
        };
        match tokio::time::timeout(limit + Duration::from_secs(1), asking).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(words))) => failed.push(words),
            Ok(Err(error)) => failed.push(format!("its checks could not be asked for: {error}")),
            Err(_) => failed.push("a check gave no answer".to_owned()),
        }
    }
    failed
}
