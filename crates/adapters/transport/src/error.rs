//! What can go wrong between owner and agent.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use muster_api::ApiError;
use muster_types::NodeName;

/// PEM texts that make no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} cannot be used")]
    Pem { what: &'static str, source: rustls_pki_types::pem::Error },
    #[error("{what} cannot be used")]
    Tls { what: &'static str, source: rustls::Error },
    #[error("the CA cannot be used to verify certificates")]
    Verifier { source: rustls::server::VerifierBuilderError },
    #[error("{what} holds no certificate")]
    Empty { what: &'static str },
}

/// Why two ends did not come to trust each other.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailure {
    #[error("it ended early")]
    Io(#[source] io::Error),
    #[error("the node's certificate does not hold")]
    Certificate(#[source] rustls::Error),
    #[error("the node does not take this operator's certificate")]
    Rejected(#[source] rustls::Error),
    #[error("the node speaks another protocol")]
    Protocol(#[source] rustls::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the credentials cannot be used")]
    Credentials { source: TlsError },
    #[error("{node} cannot be reached at {address}")]
    Dial { node: NodeName, address: SocketAddr, source: io::Error },
    #[error("the TLS handshake with {node} failed")]
    Handshake { node: NodeName, source: HandshakeFailure },
    /// It shows a certificate of its own making: `enrol` is what it waits for.
    #[error("{node} is not enrolled yet")]
    NotEnrolled { node: NodeName },
    /// Only `renew` takes it.
    #[error("the certificate of {node} has expired")]
    Expired { node: NodeName },
    /// Somebody answers in the node's place, or the node was started with another bootstrap document. The token was not
    /// sent.
    #[error("what answers at {address} did not prove that it is {node}: {detail}")]
    Impostor { node: NodeName, address: SocketAddr, detail: &'static str },
    #[error("the certificate of {node} was not signed: {message}")]
    Sign { node: NodeName, message: String },
    #[error("{node} refused {operation}: {}", error.message)]
    Refused { node: NodeName, operation: &'static str, status: u16, error: ApiError },
    #[error("{node} closed the connection during {operation}")]
    Closed { node: NodeName, operation: &'static str, source: Option<Box<dyn std::error::Error + Send + Sync>> },
    #[error("{node} did not answer {operation} within {} s", limit.as_secs_f32())]
    Timeout { node: NodeName, operation: &'static str, limit: Duration },
    /// The agent is of another version, or is none.
    #[error("{node} answered {operation} in a way that makes no sense: {detail}")]
    Protocol { node: NodeName, operation: &'static str, detail: String },
    #[error("{operation} for {node} is too large: {bytes} bytes, {bytes_max} are taken")]
    TooLarge { node: NodeName, operation: &'static str, bytes: usize, bytes_max: usize },
}

impl TransportError {
    /// Whether trying again can help.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Dial { .. } | Self::Closed { .. } | Self::Timeout { .. } => true,
            Self::Handshake { source, .. } => matches!(source, HandshakeFailure::Io(_)),
            Self::Refused { status, .. } => matches!(status, 429 | 503),
            Self::Credentials { .. }
            | Self::NotEnrolled { .. }
            | Self::Expired { .. }
            | Self::Impostor { .. }
            | Self::Sign { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// The stable code of a refusal, such as `token_used`.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { error, .. } => Some(&error.code),
            _ => None,
        }
    }

    /// What the user can do; empty when there is nothing to say.
    pub fn hint(&self) -> &str {
        match self {
            Self::Credentials { .. } => "the files of the cluster's CA are damaged: put them back from a backup",
            Self::Dial { .. } => "see whether the machine runs and its network lets TCP port 7374 through",
            Self::Handshake { source, .. } => match source {
                HandshakeFailure::Io(_) => "the agent may be starting: try again",
                HandshakeFailure::Certificate(_) => {
                    "another machine may have this address now, or the node belongs to another cluster"
                }
                HandshakeFailure::Rejected(_) => {
                    "the node belongs to a cluster with another CA, or its clock is wrong: compare both"
                }
                HandshakeFailure::Protocol(_) => "something else than a muster agent listens on this port",
            },
            Self::NotEnrolled { .. } => "run `muster up` to enrol it",
            Self::Expired { .. } => "run `muster up` to renew it",
            Self::Impostor { .. } => "do not trust this address; if the machine is yours, replace the node",
            Self::Refused { error, .. } => &error.hint,
            Self::Closed { .. } | Self::Timeout { .. } => "look at the console of the node, then try again",
            Self::Protocol { .. } => "see whether the node's agent has the version of this program",
            Self::Sign { .. } => "",
            Self::TooLarge { .. } => "send less at once",
        }
    }
}
