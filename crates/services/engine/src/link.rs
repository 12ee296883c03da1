//! How the engine speaks with agents: a trait, so that engine and agents can be tested apart.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::Stream;
use muster_api::{ApplyEvent, ApplyRequest, Check, CheckEvent, LogStream, StatusReply};
use muster_types::{NodeName, Redacted};

/// Why an agent could not be asked or said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Temporary: the machine may be starting, or its network away.
    #[error("{reason}")]
    Unreachable { reason: String },
    /// It answers with a certificate of its own making.
    #[error("it has not joined yet")]
    NotEnrolled,
    /// It answers, and its certificate has expired; only a renewal goes on.
    #[error("its certificate has expired")]
    Expired,
    #[error("{message}")]
    Refused { code: String, message: String, hint: String, temporary: bool },
    /// It cannot be who it should be, or speaks another language. Trying again does not help.
    #[error("{reason}")]
    Untrusted { reason: String },
}

impl LinkError {
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { temporary, .. } => *temporary,
            Self::NotEnrolled | Self::Expired | Self::Untrusted { .. } => false,
        }
    }

    /// Whether the agent refused with this code.
    pub fn is_refused(&self, expected: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected)
    }
}

/// What a command on a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// One line, without its end.
    Output {
        stream: LogStream,
        text: String,
    },
    Ended {
        code: i32,
    },
}

/// Ends with `None`; an error is the last item.
pub type LinkStream<T> = Pin<Box<dyn Stream<Item = Result<T, LinkError>> + Send>>;

/// The agent of one node at one address.
#[async_trait]
pub trait AgentLink: Send + Sync {
    async fn status(&self) -> Result<StatusReply, LinkError>;

    /// The same, after a comparison of what was configured with what is there.
    async fn look(&self) -> Result<StatusReply, LinkError> {
        self.status().await
    }

    /// Verifies the node's proof, signs its key, hands the certificate over. Repeating it after a lost reply succeeds.
    async fn enrol(&self, token: &Redacted<String>) -> Result<(), LinkError>;

    /// Gives the node a certificate with a fresh life.
    async fn renew(&self) -> Result<(), LinkError>;

    async fn apply(&self, request: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError>;

    async fn checks(&self, checks: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError>;

    /// Runs a command by the node's shell; its end is the last item. Dropping the stream ends it and all it started.
    async fn run(&self, command: &str) -> Result<LinkStream<RunEvent>, LinkError>;

    /// One ICMP echo; the caller sets the time limit.
    async fn ping(&self) -> Result<(), LinkError>;
}

/// Finds the agents of a cluster.
pub trait AgentLinks: Send + Sync {
    fn node(&self, name: &NodeName, address: IpAddr) -> Arc<dyn AgentLink>;
}
