//! What an agent starts with. It travels as user-data and holds no secret.

use muster_types::{ClusterName, NodeName};
use serde::{Deserialize, Serialize};

pub const BOOTSTRAP_VERSION: u32 = 1;

/// TCP port of the agent's API.
pub const AGENT_PORT: u16 = 7374;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    pub version: u32,
    pub cluster: ClusterName,
    pub node: NodeName,
    /// The cluster's CA certificate, PEM.
    pub ca: String,
    /// SHA-256 of the one-time enrolment token, lower-case hex.
    pub token_sha256: String,
    pub port: u16,
}
