//! The document of `muster status --json`.

use muster_types::{ClusterName, GroupName, NodeName, Phase, Timestamp};
use serde::{Deserialize, Serialize};

pub const STATUS_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDocument {
    pub version: u32,
    pub cluster: ClusterName,
    pub provider: String,
    pub nodes: Vec<NodeStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: NodeName,
    pub group: GroupName,
    pub phase: Phase,
    pub addresses: Vec<String>,
    /// The provider's id of the machine; empty until there is one.
    pub id: String,
    pub since: Timestamp,
    pub waiting_for: String,
    pub reason: String,
}
