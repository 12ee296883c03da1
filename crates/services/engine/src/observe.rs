//! What is: the store's memory and the provider's list, which is the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use muster_plan::{Assignment, MachineState as Planned, Observed, Recorded};
use muster_provider::{Machine, MachineState, Status, Tags};
use muster_stdx::Backoff;
use muster_store::{ClusterRecord, Drained, Intent, IntentAction, NodeRecord};
use muster_types::{ClusterName, GroupName, MachineId, NodeName, Phase};
use sha2::{Digest as _, Sha256};

use crate::{EngineConfig, EngineError};

/// The ownership tag; its value is the cluster record's `owner_tag`.
pub const CLUSTER_TAG: &str = "muster.cluster";
/// The node that a machine was made for.
pub const NODE_TAG: &str = "muster.node";
/// The group of that node.
pub const GROUP_TAG: &str = "muster.group";

/// How often a list is asked again when a machine that should be in it is not: lists may lag behind.
const LISTS_FOR_THE_MISSING: u32 = 3;

pub(crate) struct Observation {
    pub(crate) cluster: Option<ClusterRecord>,
    pub(crate) owner_tag: String,
    pub(crate) records: BTreeMap<NodeName, NodeRecord>,
    pub(crate) machines: BTreeMap<MachineId, Machine>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) assignment: Assignment,
}

/// The value of a cluster's ownership tag. It follows from the CA, which lives as long as the cluster does, so that
/// machines are still known as ours when the store was lost.
pub(crate) fn owner_tag(cluster: &ClusterName, ca_pem: &str) -> String {
    let mut tag = format!("{cluster}-");
    for byte in &Sha256::digest(ca_pem.trim())[..8] {
        write!(tag, "{byte:02x}").expect("a String takes everything");
    }
    tag
}

/// Looks once; where a recorded machine is missing, a few times more.
pub(crate) async fn observe(config: &EngineConfig, name: &ClusterName) -> Result<Observation, EngineError> {
    let store = &config.store;
    let cluster = store.cluster(name).await.map_err(EngineError::store("read the cluster"))?;
    let nodes = store.nodes(name).await.map_err(EngineError::store("read the cluster's nodes"))?;
    let intents = store.open_intents(name).await.map_err(EngineError::store("read what was begun"))?;
    if let Some(record) = &cluster
        && record.provider != config.provider_name
    {
        let (found, asked) = (record.provider.clone(), config.provider_name.clone());
        return Err(EngineError::OtherProvider { cluster: name.clone(), found, asked });
    }
    let owner_tag = cluster.as_ref().map_or_else(|| owner_tag(name, &config.ca_pem), |c| c.owner_tag.clone());
    let expected = expected(&nodes, &intents);
    let machines = list_with(config, &owner_tag, &expected).await?;
    let records: BTreeMap<NodeName, NodeRecord> = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
    let mut observation =
        Observation { cluster, owner_tag, records, machines, intents, assignment: Assignment::default() };
    observation.assignment = muster_plan::assign(&observation.observed(), &observation.recorded());
    Ok(observation)
}

/// Machines that a list should hold: recorded, and not about to be removed.
fn expected<'a>(nodes: &'a [NodeRecord], intents: &'a [Intent]) -> BTreeSet<&'a MachineId> {
    let leaving = intents.iter().filter(|intent| intent.action == IntentAction::Remove);
    let leaving: BTreeSet<&MachineId> = leaving.filter_map(|intent| intent.machine.as_ref()).collect();
    nodes.iter().filter_map(|node| node.machine.as_ref()).filter(|id| !leaving.contains(id)).collect()
}

async fn list_with(
    config: &EngineConfig,
    owner_tag: &str,
    expected: &BTreeSet<&MachineId>,
) -> Result<BTreeMap<MachineId, Machine>, EngineError> {
    let mut backoff = Backoff::new(config.limits.pause_first, config.limits.pause_longest);
    let mut lists = 0;
    let deadline = tokio::time::Instant::now() + config.limits.list;
    loop {
        let listed = list(config, owner_tag).await;
        lists += 1;
        let may_go_on = |status, lists| match status {
            Status::Throttled => tokio::time::Instant::now() < deadline,
            Status::Temporary | Status::Permanent => lists < config.limits.provider_tries_max,
        };
        let missing = listed.as_ref().map(|machines| expected.iter().any(|id| !machines.contains_key(id)));
        match missing {
            Ok(true) if lists < LISTS_FOR_THE_MISSING => tokio::time::sleep(backoff.pause()).await,
            Err(EngineError::Provider { source, .. }) if source.is_temporary() && may_go_on(source.status, lists) => {
                tokio::time::sleep(backoff.pause()).await;
            }
            _ => return listed,
        }
    }
}

async fn list(config: &EngineConfig, owner_tag: &str) -> Result<BTreeMap<MachineId, Machine>, EngineError> {
    let tags = Tags::from([(CLUSTER_TAG.to_owned(), owner_tag.to_owned())]);
    let listed = tokio::time::timeout(config.limits.list, config.provider.list(&tags)).await;
    let listed =
        listed.unwrap_or_else(|_| Err(muster_provider::ProviderError::temporary("list", "it gave no answer in time")));
    let machines = listed.map_err(|source| EngineError::Provider {
        provider: config.provider_name.clone(),
        operation: "list the cluster's machines",
        source: Box::new(source),
    })?;
    Ok(machines.into_iter().map(|machine| (machine.id.clone(), machine)).collect())
}

impl Observation {
    /// The machine that is a node's.
    pub(crate) fn machine(&self, node: &NodeName) -> Option<&Machine> {
        self.machines.get(&self.assignment.machines.get(node)?.machine)
    }

    /// Whether anything of the node is there: a record or a machine.
    pub(crate) fn is_known(&self, node: &NodeName) -> bool {
        self.records.contains_key(node) || self.assignment.machines.contains_key(node)
    }

    /// The names that are there, by group: recorded or listed.
    pub(crate) fn existing(&self) -> BTreeMap<GroupName, BTreeSet<NodeName>> {
        let mut existing: BTreeMap<GroupName, BTreeSet<NodeName>> = BTreeMap::new();
        for record in self.records.values() {
            existing.entry(record.group.clone()).or_default().insert(record.name.clone());
        }
        for machine in self.machines.values() {
            let node = node_of(machine);
            if let (false, Some(group)) = (self.records.contains_key(&node), group_of(machine)) {
                existing.entry(group).or_default().insert(node);
            }
        }
        existing
    }

    pub(crate) fn observed(&self) -> Vec<Observed> {
        let observed = |machine: &Machine| Observed {
            id: machine.id.clone(),
            name: node_of(machine),
            token: machine.token.clone(),
            state: match machine.state {
                MachineState::Creating => Planned::Creating,
                MachineState::Running => Planned::Running,
                MachineState::Paused => Planned::Paused,
                MachineState::Stopped => Planned::Stopped,
                MachineState::Failed => Planned::Failed,
                MachineState::Removing => Planned::Removing,
            },
            created_at: machine.created_at,
            detail: machine.detail.clone(),
        };
        self.machines.values().map(observed).collect()
    }

    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        let recorded = |node: &NodeRecord| Recorded {
            name: node.name.clone(),
            group: node.group.clone(),
            machine: node.machine.clone(),
            token: node.token.clone(),
            machine_hash: node.machine_hash.clone(),
            // Drained to be stopped, and not stopped: it is to be taken back.
            phase: match (node.drained, node.phase) {
                (Some(Drained::Stopped), Phase::Ready) => Phase::Draining,
                (_, phase) => phase,
            },
            reason: node.reason.clone(),
        };
        self.records.values().map(recorded).collect()
    }
}

/// The node that a machine was made for: its tag says so, else its name.
pub(crate) fn node_of(machine: &Machine) -> NodeName {
    let tagged = machine.tags.get(NODE_TAG).and_then(|name| NodeName::new(name.clone()).ok());
    tagged.unwrap_or_else(|| machine.name.clone())
}

fn group_of(machine: &Machine) -> Option<GroupName> {
    GroupName::new(machine.tags.get(GROUP_TAG)?.clone()).ok()
}
