//! The real way to agents: mutual TLS through the provider's dialer.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use muster_api::{
    AGENT_PORT, ApplyEvent, ApplyRequest, Check, CheckEvent, ExecExit, ExecRequest, Frame, FrameKind, LogStream,
    StatusReply,
};
use muster_pki::Authority;
use muster_provider::Dialer;
use muster_stdx::chain;
use muster_transport::{
    AgentClient, AgentClients, AgentEndpoint, Credentials, EventStream, ExecStream, TransportError,
};
use muster_types::{NodeName, Redacted};

use crate::EngineError;
use crate::link::{AgentLink, AgentLinks, LinkError, LinkStream, RunEvent};

/// A longer line of a command becomes several.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Dials agents as the cluster's operator, and signs for them as its CA.
pub struct TransportLinks {
    clients: AgentClients,
    authority: Arc<Authority>,
    dialer: Arc<dyn Dialer>,
}

impl TransportLinks {
    pub fn new(authority: Arc<Authority>, dialer: Arc<dyn Dialer>) -> Result<Self, EngineError> {
        let identity = authority.operator().map_err(|source| EngineError::Identity { source: Box::new(source) })?;
        let credentials = Credentials {
            ca_pem: authority.ca_pem().to_owned(),
            certificate_pem: identity.certificate_pem,
            key_pem: identity.key_pem,
        };
        let clients = AgentClients::new(&credentials, Arc::clone(&dialer));
        let clients = clients.map_err(|source| EngineError::Credentials { source: Box::new(source) })?;
        Ok(Self { clients, authority, dialer })
    }

    /// For commands that speak with agents outside a run.
    pub fn clients(&self) -> &AgentClients {
        &self.clients
    }
}

impl AgentLinks for TransportLinks {
    fn node(&self, name: &NodeName, address: IpAddr) -> Arc<dyn AgentLink> {
        let endpoint = AgentEndpoint { node: name.clone(), address: SocketAddr::new(address, AGENT_PORT) };
        Arc::new(TransportLink {
            client: self.clients.node(endpoint),
            authority: Arc::clone(&self.authority),
            dialer: Arc::clone(&self.dialer),
        })
    }
}

struct TransportLink {
    client: AgentClient,
    authority: Arc<Authority>,
    dialer: Arc<dyn Dialer>,
}

impl TransportLink {
    fn sign(&self, request_pem: &str) -> Result<String, String> {
        let signed = self.authority.sign_node(request_pem, &self.client.endpoint().node);
        signed.map_err(|error| chain(&error))
    }
}

#[async_trait]
impl AgentLink for TransportLink {
    async fn status(&self) -> Result<StatusReply, LinkError> {
        self.client.status().await.map_err(LinkError::from)
    }

    async fn look(&self) -> Result<StatusReply, LinkError> {
        self.client.look().await.map_err(LinkError::from)
    }

    async fn enrol(&self, token: &Redacted<String>) -> Result<(), LinkError> {
        self.client.enrol(token, |offer| self.sign(&offer.csr)).await.map_err(LinkError::from)
    }

    async fn renew(&self) -> Result<(), LinkError> {
        self.client.renew(|offer| self.sign(&offer.csr)).await.map_err(LinkError::from)
    }

    async fn apply(&self, request: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError> {
        Ok(items(self.client.apply(request).await?))
    }

    async fn checks(&self, checks: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError> {
        Ok(items(self.client.checks(checks).await?))
    }

    async fn run(&self, command: &str) -> Result<LinkStream<RunEvent>, LinkError> {
        let request = ExecRequest {
            command: ["/bin/sh", "-c", command].map(str::to_owned).into(),
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            tty: None,
        };
        let mut stream = self.client.exec(&request).await?;
        stream.send(Frame::new(FrameKind::StdinClosed, "")).await?;
        Ok(Box::pin(stream::unfold(Some(Command::new(stream)), |command| async {
            let mut command = command?;
            match command.next().await {
                Ok(RunEvent::Ended { code }) => Some((Ok(RunEvent::Ended { code }), None)),
                Ok(event) => Some((Ok(event), Some(command))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    async fn ping(&self) -> Result<(), LinkError> {
        let address = self.client.endpoint().address.ip();
        self.dialer.ping(address).await.map_err(|error| LinkError::Unreachable { reason: error.to_string() })
    }
}

/// A command on a node, read line by line.
struct Command {
    stream: ExecStream,
    out: Vec<u8>,
    err: Vec<u8>,
    ready: VecDeque<RunEvent>,
}

impl Command {
    fn new(stream: ExecStream) -> Self {
        Self { stream, out: Vec::new(), err: Vec::new(), ready: VecDeque::new() }
    }

    async fn next(&mut self) -> Result<RunEvent, LinkError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let ended = || LinkError::Unreachable { reason: "the connection ended before the command did".to_owned() };
            let frame = self.stream.recv().await?.ok_or_else(ended)?;
            match frame.kind {
                FrameKind::Stdout => lines(&mut self.out, &frame.payload, LogStream::Stdout, &mut self.ready),
                FrameKind::Stderr => lines(&mut self.err, &frame.payload, LogStream::Stderr, &mut self.ready),
                FrameKind::Exit => {
                    // A last line without an end is a line too.
                    for (rest, stream) in [(&mut self.out, LogStream::Stdout), (&mut self.err, LogStream::Stderr)] {
                        if !rest.is_empty() {
                            lines(rest, b"\n", stream, &mut self.ready);
                        }
                    }
                    let exit: ExecExit = serde_json::from_slice(&frame.payload).map_err(|error| {
                        LinkError::Untrusted { reason: format!("its exit cannot be read: {error}") }
                    })?;
                    if let Some(text) = exit.error {
                        self.ready.push_back(RunEvent::Output { stream: LogStream::Stderr, text });
                    }
                    self.ready.push_back(RunEvent::Ended { code: exit.code });
                }
                _ => {}
            }
        }
    }
}

/// Takes whole lines out; one that is too long is cut.
fn lines(rest: &mut Vec<u8>, more: &[u8], stream: LogStream, ready: &mut VecDeque<RunEvent>) {
    for part in more.split_inclusive(|byte| *byte == b'\n') {
        rest.extend_from_slice(part);
        if rest.ends_with(b"\n") || rest.len() >= LINE_BYTES_MAX {
            let text = String::from_utf8_lossy(rest).trim_end_matches('\n').to_owned();
            rest.clear();
            ready.push_back(RunEvent::Output { stream, text });
        }
    }
}

fn items<T: serde::de::DeserializeOwned + Send + 'static>(events: EventStream<T>) -> LinkStream<T> {
    Box::pin(stream::unfold(Some(events), |events| async {
        let mut events = events?;
        match events.next().await {
            Ok(Some(item)) => Some((Ok(item), Some(events))),
            Ok(None) => None,
            Err(error) => Some((Err(LinkError::from(error)), None)),
        }
    }))
}

impl From<TransportError> for LinkError {
    fn from(error: TransportError) -> Self {
        let temporary = error.is_temporary();
        match error {
            TransportError::NotEnrolled { .. } => Self::NotEnrolled,
            TransportError::Expired { .. } => Self::Expired,
            TransportError::Refused { error, .. } => {
                Self::Refused { code: error.code, message: error.message, hint: error.hint, temporary }
            }
            error if temporary => Self::Unreachable { reason: chain(&error) },
            error => Self::Untrusted { reason: chain(&error) },
        }
    }
}
