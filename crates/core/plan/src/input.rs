//! What a plan is made from. Small types of its own: the plan knows neither providers nor the store.

use std::collections::{BTreeMap, BTreeSet};

use muster_types::{ClientToken, ClusterName, GroupName, MachineId, NodeName, Phase, Timestamp};

/// Everything a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    pub cluster: ClusterName,
    pub provider: String,
    /// In the order in which people should read the plan.
    pub desired: Vec<Desired>,
    pub observed: Vec<Observed>,
    pub recorded: Vec<Recorded>,
    pub begun: Vec<Begun>,
    /// What was found out about nodes whose machine runs. A node without facts counts as not asked.
    pub facts: BTreeMap<NodeName, Facts>,
    /// Images that are not there yet, in words, by the nodes that would start from them.
    pub unbaked: BTreeMap<NodeName, String>,
    pub policy: Policy,
}

/// A node that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub name: NodeName,
    pub group: GroupName,
    /// Groups that are ready before this node is touched.
    pub needs: Vec<GroupName>,
    /// Hash of what its machine is made from; another one than recorded means replacement.
    pub machine_hash: String,
    /// The group's failure policy asks for a new machine where one has failed.
    pub replace_failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineState {
    Creating,
    Running,
    Paused,
    Stopped,
    Failed,
    Removing,
}

/// A machine that the provider lists under this cluster's ownership tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub id: MachineId,
    /// The node that it was made for.
    pub name: NodeName,
    pub token: ClientToken,
    pub state: MachineState,
    pub created_at: Timestamp,
    /// Why it is in this state, where the provider knows.
    pub detail: Option<String>,
}

/// A node that the store remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub name: NodeName,
    pub group: GroupName,
    pub machine: Option<MachineId>,
    pub token: ClientToken,
    pub machine_hash: String,
    pub phase: Phase,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BegunAction {
    Create,
    Start,
    Configure,
    Remove,
}

/// An intent that was written down and whose end was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub node: NodeName,
    pub action: BegunAction,
    pub machine: Option<MachineId>,
    /// The client token that a create was begun with.
    pub token: ClientToken,
}

/// What the rendered configuration means to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    None,
    /// Steps that will run; empty when they are not known before.
    Apply {
        steps: Vec<String>,
        reason: String,
    },
    /// Steps that cannot be run on a machine that has run others before.
    Replace {
        steps: Vec<String>,
        reason: String,
    },
    /// Nothing now. Its files speak of nodes that will come, go or change; it is configured again when they have.
    Later {
        nodes: BTreeMap<NodeName, Fate>,
    },
    /// The configuration needs addresses that are not there yet.
    Unknown {
        waits_for: BTreeSet<NodeName>,
    },
}

/// What becomes of a node that others speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Comes,
    /// It has a machine.
    Joins,
    /// It gets another machine.
    Moves,
    Leaves,
}

/// What a node's agent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Answers,
    /// It answers, and was not enrolled yet.
    NotJoined,
    Silent {
        reason: String,
    },
    Unasked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub change: Change,
    pub health: Health,
}

/// What the caller asks for beyond the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Nodes that get a new machine whatever their state.
    pub replace: BTreeSet<NodeName>,
    /// Nodes that the run is about; the others stay as they are, but for files that speak of these. `None`: all.
    pub only: Option<BTreeSet<NodeName>>,
}

impl Policy {
    /// Whether the run is about this node.
    pub fn asks_for(&self, node: &NodeName) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(node))
    }
}
