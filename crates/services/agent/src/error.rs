//! Why an agent cannot start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use muster_pki::PkiError;
use muster_transport::TlsError;

use crate::apply::ApplyError;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the bootstrap document has version {found}, this agent reads {known}")]
    Bootstrap { found: u32, known: u32 },
    #[error("the agent cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the state folder {} cannot be used", path.display())]
    StateDir { path: PathBuf, source: io::Error },
    #[error("the identity of this node in {} cannot be read", path.display())]
    IdentityRead { path: PathBuf, source: io::Error },
    #[error("the identity of this node in {} is damaged", path.display())]
    IdentityDamaged { path: PathBuf, source: serde_json::Error },
    #[error("the key of this node cannot be used")]
    Key { source: PkiError },
    #[error("TLS cannot be set up")]
    Tls { source: TlsError },
    #[error("what this node has applied cannot be read")]
    Applier { source: ApplyError },
    #[error("the start of this machine cannot be told")]
    Boot { source: io::Error },
    #[error("a task that the agent cannot do without has failed")]
    Task,
}

impl AgentError {
    /// What the user can do; empty when there is nothing to say.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bootstrap { .. } => "start the node with the version of muster that made it",
            Self::Listen { .. } => "another program uses the port, or the address is not of this machine",
            Self::StateDir { .. } | Self::IdentityRead { .. } => {
                "check that the disk of the node is writable and has room"
            }
            Self::IdentityDamaged { .. } | Self::Key { .. } | Self::Applier { .. } => "replace the node",
            Self::Tls { .. } | Self::Boot { .. } | Self::Task => "",
        }
    }
}
