//! How a cluster is, as far as provider, store and agents tell within a bounded time.

use muster_api::{ConfigPhase, NodeStatus, STATUS_VERSION, StatusDocument};
use muster_provider::{Machine, MachineState};
use muster_store::{Drained, NodeRecord};
use muster_types::{ClusterName, NodeName, Phase};

use crate::down::group_of;
use crate::facts::{Replies, ask_agents, running};
use crate::observe::{Observation, node_of, observe};
use crate::{Engine, EngineError};

impl Engine {
    /// Every node that is recorded or listed. A node is ready only if its agent says so now.
    pub async fn status(&self, cluster: &ClusterName) -> Result<StatusDocument, EngineError> {
        let observation = observe(&self.config, cluster).await?;
        let replies = ask_agents(&self.config, running(&observation)).await;
        let mut nodes: Vec<NodeStatus> =
            observation.records.values().map(|record| recorded(&observation, record, &replies)).collect();
        let known = |machine: &&Machine| {
            observation
                .assignment
                .machines
                .iter()
                .any(|(name, assigned)| assigned.machine == machine.id && observation.records.contains_key(name))
        };
        nodes.extend(observation.machines.values().filter(|machine| !known(machine)).map(unrecorded));
        nodes.sort_by(|a, b| {
            (&a.group, a.name.index(), &a.name, &a.id).cmp(&(&b.group, b.name.index(), &b.name, &b.id))
        });
        Ok(StatusDocument {
            version: STATUS_VERSION,
            cluster: cluster.clone(),
            provider: self.config.provider_name.clone(),
            nodes,
        })
    }
}

/// What is to be said of a node besides its names.
struct View {
    phase: Phase,
    waiting_for: String,
    reason: String,
}

impl View {
    fn new(phase: Phase, reason: impl Into<String>) -> Self {
        Self { phase, waiting_for: String::new(), reason: reason.into() }
    }
}

fn recorded(observation: &Observation, record: &NodeRecord, replies: &Replies) -> NodeStatus {
    let machine = observation.machine(&record.name);
    let is_removing = observation.cluster.as_ref().is_some_and(|cluster| cluster.removing);
    let view = match machine {
        _ if is_removing && record.phase != Phase::Failed => View::new(Phase::Removing, record.reason.clone()),
        None => absent(record),
        Some(machine) => match machine.state {
            MachineState::Running => running_view(record, &record.name, replies),
            _ => not_running(machine),
        },
    };
    let id = machine.map(|machine| &machine.id).or(record.machine.as_ref());
    NodeStatus {
        name: record.name.clone(),
        group: record.group.clone(),
        phase: view.phase,
        addresses: addresses(machine, record),
        id: id.map(ToString::to_string).unwrap_or_default(),
        since: record.since,
        waiting_for: view.waiting_for,
        reason: view.reason,
    }
}

fn addresses(machine: Option<&Machine>, record: &NodeRecord) -> Vec<String> {
    let addresses = machine.map_or(&record.addresses, |machine| &machine.addresses);
    addresses.iter().map(ToString::to_string).collect()
}

fn absent(record: &NodeRecord) -> View {
    match (&record.machine, record.phase) {
        (Some(machine), _) => View::new(Phase::Failed, format!("its machine {machine} is gone")),
        (None, phase) => View::new(phase, record.reason.clone()),
    }
}

fn not_running(machine: &Machine) -> View {
    let detail = machine.detail.clone().unwrap_or_default();
    match machine.state {
        MachineState::Creating | MachineState::Running => View::new(Phase::Booting, detail),
        MachineState::Paused if detail.is_empty() => View::new(Phase::Stopped, "its machine is paused"),
        MachineState::Stopped | MachineState::Paused => View::new(Phase::Stopped, detail),
        MachineState::Failed if detail.is_empty() => View::new(Phase::Failed, "its machine has failed"),
        MachineState::Failed => View::new(Phase::Failed, detail),
        MachineState::Removing => View::new(Phase::Removing, detail),
    }
}

fn running_view(record: &NodeRecord, node: &NodeName, replies: &Replies) -> View {
    let status = match replies.get(node) {
        Some(Ok(status)) => status,
        Some(Err(error)) if record.phase == Phase::Ready => {
            return View::new(Phase::Failed, format!("its agent does not answer: {error}"));
        }
        Some(Err(error)) if record.phase != Phase::Failed => {
            let waiting_for = format!("its agent: {error}");
            return View { waiting_for, ..View::new(Phase::Joining, record.reason.clone()) };
        }
        Some(Err(_)) | None => return View::new(record.phase, record.reason.clone()),
    };
    if record.drained.is_some() && record.phase == Phase::Ready {
        let taken_back = match &record.drained {
            Some(Drained::Asked) => format!("drained on request; `muster node resume {node}` takes it back"),
            _ => "drained to be stopped; `muster up` takes it back".to_owned(),
        };
        return View::new(Phase::Draining, taken_back);
    }
    let phase = status.config.as_ref().map(|config| config.phase);
    match (record.phase, phase) {
        (_, Some(ConfigPhase::Applying)) => View::new(Phase::Configuring, ""),
        (Phase::Ready, Some(ConfigPhase::Failed)) => View::new(Phase::Failed, "its last configuration failed"),
        (Phase::Ready | Phase::Failed | Phase::Draining | Phase::Removing, _) => {
            View::new(record.phase, record.reason.clone())
        }
        // A run is on its way with it, or was interrupted.
        (_, Some(ConfigPhase::Done)) => View::new(Phase::Checking, record.reason.clone()),
        (_, Some(ConfigPhase::Failed)) => View::new(Phase::Configuring, "its last configuration failed"),
        (_, None) => View::new(Phase::Configuring, record.reason.clone()),
    }
}

fn unrecorded(machine: &Machine) -> NodeStatus {
    let name = node_of(machine);
    NodeStatus {
        group: group_of(&name),
        name,
        phase: Phase::Failed,
        addresses: machine.addresses.iter().map(ToString::to_string).collect(),
        id: machine.id.to_string(),
        since: machine.created_at,
        waiting_for: String::new(),
        reason: "nobody recorded this machine; the next `muster up` adopts or removes it".to_owned(),
    }
}
