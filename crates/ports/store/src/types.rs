//! Rows of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use muster_api::NodeFacts;
use muster_types::{ClientToken, ClusterName, Generation, GroupName, MachineId, NodeName, Phase, Redacted, Timestamp};
use serde::{Deserialize, Serialize};

/// Grows with every write of a record; 0 means that there is none yet.
pub type Revision = u64;

/// Names an intent; its client token serves.
pub type IntentId = ClientToken;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub name: ClusterName,
    pub revision: Revision,
    /// The provider that its machines are from.
    pub provider: String,
    /// The provider's block of the cluster file as YAML (`muster_doc::emit`): what opens the provider again without the
    /// file. The engine writes it at every `up`.
    #[serde(default)]
    pub settings: Option<String>,
    /// The value of the ownership tag: unique for this life of the cluster.
    pub owner_tag: String,
    /// Where the file was, for messages and for commands that need it again.
    pub file: String,
    #[serde(default)]
    pub reading: Reading,
    pub created_at: Timestamp,
    /// `down` was begun; only `down` goes on from here.
    pub removing: bool,
    /// How many nodes groups were scaled to; a file's range bounds it.
    #[serde(default)]
    pub scaled: BTreeMap<GroupName, u32>,
    /// Nodes that were chosen to leave when a group was scaled, and may still be there.
    #[serde(default)]
    pub leaving: BTreeSet<NodeName>,
}

/// What was said beside the file and is needed to read it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The file of node definitions of an Occopus infrastructure, if it was named.
    #[serde(default)]
    pub definitions: Option<String>,
    /// The image that nodes start from, in place of what the file says.
    #[serde(default)]
    pub image: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub cluster: ClusterName,
    pub name: NodeName,
    pub group: GroupName,
    pub revision: Revision,
    pub machine: Option<MachineId>,
    pub token: ClientToken,
    /// Hash of what the machine was made from (image, size, provider settings); another one means replacement.
    pub machine_hash: String,
    pub addresses: Vec<IpAddr>,
    pub phase: Phase,
    pub since: Timestamp,
    pub reason: String,
    /// The one-time token, until it was used.
    pub enrol_token: Option<Redacted<String>>,
    /// The last document that was applied whole, and its SHA-256.
    pub document: Option<Redacted<String>>,
    pub document_hash: Option<String>,
    /// What the node last said of itself.
    #[serde(default)]
    pub facts: Option<NodeFacts>,
    /// It takes no new work.
    #[serde(default)]
    pub drained: Option<Drained>,
}

/// Why a node takes no new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drained {
    /// An operator wants it so, until an operator takes it back.
    Asked,
    /// For as long as it does not run.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentAction {
    Create,
    Start,
    Configure,
    Remove,
    Stop,
    Reboot,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: IntentId,
    pub cluster: ClusterName,
    pub node: NodeName,
    pub action: IntentAction,
    /// The one machine that a removal or start is about.
    pub machine: Option<MachineId>,
    pub begun_at: Timestamp,
}

/// Who holds a lease, in words that find the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    /// Start time of the process, in clock ticks since boot: a process id alone may be somebody else's by now.
    pub start_ticks: u64,
    pub command: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub cluster: ClusterName,
    pub generation: Generation,
    pub holder: LeaseHolder,
    pub acquired_at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the state at {path}")]
    Open {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the state at {path} was written by a newer version ({found}; this one knows {known})")]
    Newer { path: String, found: u32, known: u32 },
    #[error("cannot {operation} in the state")]
    Io {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{what} was changed by somebody else (revision {found}, not {expected})")]
    Conflict { what: String, expected: Revision, found: Revision },
    #[error("the lease of cluster {cluster} was lost (generation {held} is no longer the newest)")]
    Fenced { cluster: ClusterName, held: Generation },
    #[error("cluster {} is being changed by process {} on {} ({}) since {}", lease.cluster, lease.holder.pid, lease.holder.host, lease.holder.command, lease.acquired_at)]
    Leased { lease: Box<Lease> },
    #[error("the store was closed")]
    Closed,
}
