//! A group that rolls back: when a node of it fails, what the run added to the group goes again, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use muster_plan::{Action, Plan, Policy, Verb};
use muster_spec::OnFailure;
use muster_types::{GroupName, NodeName, Phase};

use crate::engine::Prepared;
use crate::events::Emitter;
use crate::observe::Observation;
use crate::outcome::NodeOutcome;
use crate::up::Parts;
use crate::wishes::Wishes;

/// What a run adds to groups that roll back, and how things were before.
pub(crate) struct Added {
    groups: BTreeMap<GroupName, BTreeSet<NodeName>>,
    scaled_before: BTreeMap<GroupName, u32>,
}

/// What is undone, and because of whom.
pub(crate) struct Undone {
    nodes: BTreeSet<NodeName>,
    groups: BTreeSet<GroupName>,
    scaled_before: BTreeMap<GroupName, u32>,
    because: BTreeMap<GroupName, NodeName>,
}

impl Added {
    pub(crate) fn by(prepared: &Prepared) -> Self {
        let rolls_back = prepared.desired.iter().filter(|node| node.on_failure == OnFailure::Rollback);
        let rolls_back: BTreeSet<&GroupName> = rolls_back.map(|node| &node.group).collect();
        let mut groups: BTreeMap<GroupName, BTreeSet<NodeName>> = BTreeMap::new();
        let actions =
            prepared.plan.actions().iter().filter(|action| !action.extra && rolls_back.contains(&action.group));
        for action in actions.filter(|action| is_new(prepared, action)) {
            groups.entry(action.group.clone()).or_default().insert(action.node.clone());
        }
        let record = prepared.observation.cluster.as_ref();
        Self { groups, scaled_before: record.map(|record| record.scaled.clone()).unwrap_or_default() }
    }

    /// What the failures of the run make of it; `None` when nothing is undone.
    pub(crate) fn after(self, parts: &Parts) -> Option<Undone> {
        let failed = parts.nodes.iter().filter(|node| node.phase == Phase::Failed && node.verb != Verb::Remove);
        let mut because: BTreeMap<GroupName, NodeName> = BTreeMap::new();
        for node in failed.filter(|node| self.groups.contains_key(&node.group)) {
            because.entry(node.group.clone()).or_insert_with(|| node.name.clone());
        }
        let groups: BTreeSet<GroupName> = because.keys().cloned().collect();
        let nodes: BTreeSet<NodeName> =
            self.groups.into_iter().filter(|(group, _)| groups.contains(group)).flat_map(|(_, nodes)| nodes).collect();
        let begun = |node: &NodeOutcome| nodes.contains(&node.name) && node.phase != Phase::Planned;
        let is_any = parts.nodes.iter().any(begun);
        is_any.then_some(Undone { nodes, groups, scaled_before: self.scaled_before, because })
    }
}

/// Whether it was never a ready node of the cluster: an earlier run may have begun to make it.
fn is_new(prepared: &Prepared, action: &Action) -> bool {
    let record = prepared.observation.records.get(&action.node);
    match action.verb {
        Verb::Create => record.is_none_or(|record| record.document.is_none()),
        Verb::Configure | Verb::Start | Verb::Replace => record.is_some_and(|record| record.document.is_none()),
        Verb::Keep | Verb::Remove => false,
    }
}

impl Undone {
    pub(crate) async fn tell(&self, emitter: &Emitter) {
        for (group, node) in &self.because {
            let names: Vec<&str> = self.nodes.iter().map(NodeName::as_str).collect();
            let words = format!(
                "{node} failed, and group {group} rolls back: this run takes away what it added ({})",
                names.join(", ")
            );
            emitter.warn(Some(node), words).await;
        }
    }

    /// The groups have the numbers that they had before.
    pub(crate) fn take_back(&self, wishes: &mut Wishes) {
        wishes.scaled.retain(|group, _| !self.groups.contains(group));
        let before = self.scaled_before.iter().filter(|(group, _)| self.groups.contains(*group));
        wishes.scaled.extend(before.map(|(group, number)| (group.clone(), *number)));
    }

    /// Whether a node of the file is there and stays.
    pub(crate) fn leaves(&self, node: &NodeName, observation: &Observation) -> bool {
        !self.nodes.contains(node) && observation.machine(node).is_some()
    }

    /// Nothing is done but what the nodes' going needs.
    pub(crate) fn policy(&self) -> Policy {
        Policy { only: Some(self.nodes.clone()), ..Policy::default() }
    }

    /// Whether a plan destroys what the run added, and nothing else that was not agreed to.
    pub(crate) fn covers(&self, plan: &Plan, approved: &Plan) -> bool {
        plan.destroys_beyond(approved).iter().all(|action| self.nodes.contains(&action.node))
    }

    /// The account of the run: each node that was taken away says so, beside why it failed if it did.
    pub(crate) fn account(&self, first: Parts, second: Parts) -> Parts {
        let mut still: BTreeMap<NodeName, NodeOutcome> =
            second.nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        let mut nodes = Vec::new();
        for node in first.nodes {
            let left = still.remove(&node.name).filter(|node| node.verb != Verb::Keep);
            nodes.push(if self.nodes.contains(&node.name) { self.undone(node, left) } else { left.unwrap_or(node) });
        }
        let removed = second.removed.into_iter().filter(|node| !self.nodes.contains(node));
        Parts {
            nodes,
            removed: first.removed.into_iter().chain(removed).collect(),
            leftovers: first.leftovers.into_iter().chain(second.leftovers).collect(),
            interrupted: second.interrupted,
            has_moved: false,
        }
    }

    fn undone(&self, node: NodeOutcome, left: Option<NodeOutcome>) -> NodeOutcome {
        if let Some(left) = left {
            let reason = if node.reason.is_empty() { String::new() } else { format!("{}; ", node.reason) };
            return NodeOutcome { reason: format!("{reason}it was to be rolled back: {}", left.reason), ..left };
        }
        if node.phase == Phase::Failed {
            let reason = format!("{}; what this run added was rolled back", node.reason);
            let hint = "its machine is gone; correct the file, then run `muster up` again".to_owned();
            return NodeOutcome { reason, hint, machine: None, ..node };
        }
        let failed = self.because.get(&node.group).map(NodeName::as_str).unwrap_or_default();
        NodeOutcome {
            phase: Phase::Planned,
            reason: format!("rolled back, because {failed} failed"),
            hint: format!("put right what {failed} says, then run `muster up` again"),
            machine: None,
            addresses: Vec::new(),
            ..node
        }
    }
}
