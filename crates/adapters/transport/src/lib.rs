//! How owner and agent talk: mutual TLS from the cluster's own CA, HTTP/1.1, one JSON document a line, exec frames.

mod client;
mod connection;
mod enrol;
mod error;
mod exec;
mod keepalive;
mod limits;
mod proof;
mod server;
mod stream;
mod tls;
mod url;

pub use client::{AgentClient, AgentClients, AgentEndpoint, Credentials};
pub use error::{HandshakeFailure, TlsError, TransportError};
pub use exec::{ExecReceiver, ExecSender, ExecStream};
pub use keepalive::watch_connection;
pub use limits::Limits;
pub use server::{ServerCertificate, ServerTls};
pub use stream::EventStream;
pub use url::{UrlError, http_get, http_head, resolve_and_connect};
