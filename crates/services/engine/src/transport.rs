//! The real way to agents: mutual TLS through the provider's dialer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use muster_api::{AGENT_PORT, ApplyEvent, ApplyRequest, Check, CheckEvent, StatusReply};
use muster_pki::Authority;
use muster_provider::Dialer;
use muster_stdx::chain;
use muster_transport::{AgentClient, AgentClients, AgentEndpoint, Credentials, EventStream, TransportError};
use muster_types::{NodeName, Redacted};

use crate::EngineError;
use crate::link::{AgentLink, AgentLinks, LinkError, LinkStream};

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

    async fn ping(&self) -> Result<(), LinkError> {
        let address = self.client.endpoint().address.ip();
        self.dialer.ping(address).await.map_err(|error| LinkError::Unreachable { reason: error.to_string() })
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
