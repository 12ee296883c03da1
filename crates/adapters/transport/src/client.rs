//! The owner's side of the agent's API.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use muster_api::{
    ApplyEvent, ApplyRequest, Check, CheckEvent, EnrolOffer, ExecRequest, FRAME_BYTES_MAX, Frame, FrameKind, LogLine,
    RenewOffer, StatusReply,
};
use muster_provider::Dialer;
use muster_stdx::Supervisor;
use muster_types::{NodeName, Redacted};
use serde::de::DeserializeOwned;

use crate::connection::{Call, Connection, Pool, Shared};
use crate::tls::{ClientTls, Trust};
use crate::{EventStream, ExecStream, Limits, TransportError, enrol};

/// Where an agent listens, and whose it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEndpoint {
    pub node: NodeName,
    pub address: SocketAddr,
}

/// What an owner shows and trusts.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: Redacted<String>,
}

/// Made once per cluster: what all its connections share. Cheap to clone.
#[derive(Clone)]
pub struct AgentClients {
    shared: Arc<Shared>,
}

/// One node's agent. Clones share the one connection that is kept for the next call.
#[derive(Clone)]
pub struct AgentClient {
    shared: Arc<Shared>,
    endpoint: AgentEndpoint,
    pool: Pool,
}

impl AgentClients {
    pub fn new(credentials: &Credentials, dialer: Arc<dyn Dialer>) -> Result<Self, TransportError> {
        Self::with_limits(credentials, dialer, Limits::default())
    }

    pub fn with_limits(
        credentials: &Credentials,
        dialer: Arc<dyn Dialer>,
        limits: Limits,
    ) -> Result<Self, TransportError> {
        let tls = ClientTls::new(credentials).map_err(|source| TransportError::Credentials { source })?;
        Ok(Self { shared: Arc::new(Shared { tls, dialer, limits, supervisor: Supervisor::new() }) })
    }

    pub fn node(&self, endpoint: AgentEndpoint) -> AgentClient {
        AgentClient { shared: Arc::clone(&self.shared), endpoint, pool: Pool::default() }
    }
}

impl AgentClient {
    pub fn endpoint(&self) -> &AgentEndpoint {
        &self.endpoint
    }

    pub async fn status(&self) -> Result<StatusReply, TransportError> {
        self.ask_status(Call::get("status", "/v1/status")).await
    }

    /// Its status, after it has compared what was configured with what is there.
    pub async fn look(&self) -> Result<StatusReply, TransportError> {
        self.ask_status(Call::get("status", "/v1/status?drift=true")).await
    }

    async fn ask_status(&self, call: Call) -> Result<StatusReply, TransportError> {
        let limits = &self.shared.limits;
        if let Some(mut connection) = self.pool.take() {
            match connection.json(limits, &self.endpoint.node, &call).await {
                Err(error) if may_be_stale(&error) => {}
                result => return self.keep_after(connection, result),
            }
        }
        let mut connection = self.open().await?;
        let result = connection.json(limits, &self.endpoint.node, &call).await;
        self.keep_after(connection, result)
    }

    /// Enrols a node that shows a certificate of its own making. `sign` gets the offer once it is proven and returns the
    /// certificate. A node that is enrolled already is left as it is: an owner who lost the reply may repeat.
    ///
    /// The token is only sent to who has proven, over the certificate seen in this very handshake, that it knows the
    /// token's hash.
    pub async fn enrol(
        &self,
        token: &Redacted<String>,
        sign: impl FnOnce(&EnrolOffer) -> Result<String, String> + Send,
    ) -> Result<(), TransportError> {
        Box::pin(enrol::enrol(&self.shared, &self.endpoint, token, sign)).await
    }

    /// Gives the node a fresh certificate for a fresh key; also one whose certificate expired less than a year ago.
    pub async fn renew(
        &self,
        sign: impl FnOnce(&RenewOffer) -> Result<String, String> + Send,
    ) -> Result<(), TransportError> {
        Box::pin(enrol::renew(&self.shared, &self.endpoint, sign)).await
    }

    /// Applies a document, or joins while the same one is applied. Dropping the stream does not end the work.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<EventStream<ApplyEvent>, TransportError> {
        self.stream(Call::post("the configuration", "/v1/config", request)).await
    }

    /// Runs health checks on the node. Dropping the stream ends them.
    pub async fn checks(&self, checks: &[Check]) -> Result<EventStream<CheckEvent>, TransportError> {
        self.stream(Call::post("the health checks", "/v1/checks", checks)).await
    }

    /// The last `lines` lines that the configuration printed, of one step or of all; then what comes, if `follow`.
    pub async fn logs(
        &self,
        lines: usize,
        step: Option<&str>,
        follow: bool,
    ) -> Result<EventStream<LogLine>, TransportError> {
        let step = step.map(|step| format!("&step={}", percent_encode(step))).unwrap_or_default();
        self.stream(Call::get("the logs", format!("/v1/logs?lines={lines}&follow={follow}{step}"))).await
    }

    /// Runs a command. Dropping the stream ends it.
    pub async fn exec(&self, request: &ExecRequest) -> Result<ExecStream, TransportError> {
        let node = &self.endpoint.node;
        let operation = "exec";
        let payload = serde_json::to_vec(request).expect("wire types become JSON");
        if payload.len() > FRAME_BYTES_MAX {
            let (bytes, bytes_max) = (payload.len(), FRAME_BYTES_MAX);
            return Err(TransportError::TooLarge { node: node.clone(), operation, bytes, bytes_max });
        }
        let call = Call {
            operation,
            method: Method::POST,
            path: "/v1/exec".to_owned(),
            body: Bytes::new(),
            upgrade: Some("muster-exec"),
        };
        // A command may not be repeated, so it gets a connection that nobody can have closed meanwhile.
        let mut connection = self.open().await?;
        let response = connection.send(&self.shared.limits, node, &call).await?;
        let mut stream = ExecStream::open(node, response).await?;
        stream.send(Frame::new(FrameKind::Request, payload)).await?;
        Ok(stream)
    }

    async fn stream<T: DeserializeOwned>(&self, call: Call) -> Result<EventStream<T>, TransportError> {
        let limits = &self.shared.limits;
        if let Some(mut connection) = self.pool.take() {
            match connection.send(limits, &self.endpoint.node, &call).await {
                Err(error) if may_be_stale(&error) => {}
                result => return Ok(self.events(result?, connection, call.operation)),
            }
        }
        let mut connection = self.open().await?;
        let response = connection.send(limits, &self.endpoint.node, &call).await?;
        Ok(self.events(response, connection, call.operation))
    }

    fn events<T>(
        &self,
        response: hyper::Response<hyper::body::Incoming>,
        connection: Connection,
        operation: &'static str,
    ) -> EventStream<T> {
        EventStream::new(&self.endpoint.node, operation, &self.shared.limits, response.into_body())
            .returning(self.pool.clone(), connection)
    }

    async fn open(&self) -> Result<Connection, TransportError> {
        Box::pin(Connection::open(&self.shared, &self.endpoint, Trust::Verified)).await
    }

    fn keep_after<T>(&self, connection: Connection, result: Result<T, TransportError>) -> Result<T, TransportError> {
        if result.is_ok() {
            self.pool.put(connection);
        }
        result
    }
}

/// A kept connection that the agent has closed meanwhile, or that ended with the machine.
fn may_be_stale(error: &TransportError) -> bool {
    matches!(error, TransportError::Closed { .. } | TransportError::Timeout { .. })
}

fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_encoded_for_a_query() {
        assert_eq!(percent_encode("write_files[/etc/a b]&ä"), "write_files%5B%2Fetc%2Fa%20b%5D%26%C3%A4");
    }
}
