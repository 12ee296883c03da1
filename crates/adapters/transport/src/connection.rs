//! One connection to an agent, and one request on it.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use muster_api::ApiError;
use muster_provider::Dialer;
use muster_stdx::{OnError, Supervisor};
use muster_types::NodeName;
use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::AgentEndpoint;
use crate::error::HandshakeFailure;
use crate::tls::{ClientTls, SelfSigned, Trust, server_name};
use crate::{Limits, TransportError, watch_connection};

/// Errors of the agent are short.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// What all connections of one owner to one cluster share.
pub(crate) struct Shared {
    pub(crate) tls: ClientTls,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) limits: Limits,
    pub(crate) supervisor: Supervisor,
}

/// What is asked. Every call but exec may be repeated: the agent joins or repeats what is going on.
pub(crate) struct Call {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// The protocol to change to.
    pub(crate) upgrade: Option<&'static str>,
}

impl Call {
    pub(crate) fn get(operation: &'static str, path: impl Into<String>) -> Self {
        Self { operation, method: Method::GET, path: path.into(), body: Bytes::new(), upgrade: None }
    }

    pub(crate) fn post<T: Serialize + ?Sized>(operation: &'static str, path: &str, body: &T) -> Self {
        // Wire types have string keys and no failing Serialize: only those can make this fail.
        let body = serde_json::to_vec(body).expect("wire types become JSON").into();
        Self { operation, method: Method::POST, path: path.to_owned(), body, upgrade: None }
    }

    fn request(&self, node: &NodeName) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(header::HOST, node.as_str())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(protocol) = self.upgrade {
            request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, protocol);
        }
        request.body(Full::new(self.body.clone())).expect("paths are made here, of characters that a URI takes")
    }
}

/// An open connection on which requests follow one another.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What the node showed in the handshake.
    pub(crate) certificate: CertificateDer<'static>,
}

/// Keeps one idle connection for the next call.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Option<Connection>>>);

impl Pool {
    pub(crate) fn put(&self, connection: Connection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    pub(crate) fn take(&self) -> Option<Connection> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.filter(|connection| !connection.sender.is_closed())
    }
}

impl Connection {
    pub(crate) async fn open(shared: &Shared, endpoint: &AgentEndpoint, trust: Trust) -> Result<Self, TransportError> {
        let node = &endpoint.node;
        let limits = &shared.limits;
        let dialled = timeout(limits.connect, shared.dialer.connect(endpoint.address)).await;
        let tcp = dialled
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
            .and_then(|tcp| watch_connection(&tcp).map(|()| tcp))
            .map_err(|source| TransportError::Dial { node: node.clone(), address: endpoint.address, source })?;
        let connector = TlsConnector::from(shared.tls.config(trust));
        let handshake = Box::pin(connector.connect(server_name(node), tcp));
        let operation = "the TLS handshake";
        let tls = timeout(limits.handshake, handshake)
            .await
            .map_err(|_| TransportError::Timeout { node: node.clone(), operation, limit: limits.handshake })?
            .map_err(|error| handshake_error(node, error))?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let certificate = certificate.ok_or_else(|| TransportError::Protocol {
            node: node.clone(),
            operation,
            detail: "it showed no certificate".to_owned(),
        })?;
        let handshake = http1::handshake(TokioIo::new(tls)).await;
        let (sender, connection) = handshake.map_err(|error| call_error(node, "connecting", error))?;
        shared.supervisor.spawn("agent-connection", OnError::Log, connection.with_upgrades());
        Ok(Self { sender, certificate })
    }

    /// Sends one request and waits for the head of its answer. An answer that is no success becomes an error.
    pub(crate) async fn send(
        &mut self,
        limits: &Limits,
        node: &NodeName,
        call: &Call,
    ) -> Result<Response<Incoming>, TransportError> {
        let operation = call.operation;
        let answered = timeout(limits.answer, async {
            self.sender.ready().await?;
            self.sender.send_request(call.request(node)).await
        });
        let response = answered
            .await
            .map_err(|_| TransportError::Timeout { node: node.clone(), operation, limit: limits.answer })?
            .map_err(|error| call_error(node, operation, error))?;
        let status = response.status();
        if status.is_success() || (call.upgrade.is_some() && status == StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(response);
        }
        let body = read(limits, node, operation, response.into_body(), ERROR_BYTES_MAX).await?;
        let error = serde_json::from_slice(&body).unwrap_or_else(|_| ApiError {
            code: "unknown".to_owned(),
            message: format!("it answered {status}"),
            hint: String::new(),
        });
        Err(TransportError::Refused { node: node.clone(), operation, status: status.as_u16(), error })
    }

    /// One request whose answer is one JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(
        &mut self,
        limits: &Limits,
        node: &NodeName,
        call: &Call,
    ) -> Result<T, TransportError> {
        let response = self.send(limits, node, call).await?;
        let body = read(limits, node, call.operation, response.into_body(), limits.reply_bytes).await?;
        serde_json::from_slice(&body).map_err(|error| TransportError::Protocol {
            node: node.clone(),
            operation: call.operation,
            detail: error.to_string(),
        })
    }
}

async fn read(
    limits: &Limits,
    node: &NodeName,
    operation: &'static str,
    body: Incoming,
    bytes_max: usize,
) -> Result<Bytes, TransportError> {
    let collected = timeout(limits.answer, Limited::new(body, bytes_max).collect()).await;
    let collected =
        collected.map_err(|_| TransportError::Timeout { node: node.clone(), operation, limit: limits.answer })?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let detail = format!("its answer is longer than {bytes_max} bytes");
            return TransportError::Protocol { node: node.clone(), operation, detail };
        }
        TransportError::Closed { node: node.clone(), operation, source: Some(error) }
    })
}

fn handshake_error(node: &NodeName, error: io::Error) -> TransportError {
    let node = node.clone();
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
    let Some(found) = found else { return TransportError::Handshake { node, source: HandshakeFailure::Io(error) } };
    match &found {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) if other.0.is::<SelfSigned>() => {
            TransportError::NotEnrolled { node }
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            TransportError::Expired { node }
        }
        rustls::Error::InvalidCertificate(_) => {
            TransportError::Handshake { node, source: HandshakeFailure::Certificate(found) }
        }
        _ => TransportError::Handshake { node, source: failure(found) },
    }
}

fn failure(error: rustls::Error) -> HandshakeFailure {
    match error {
        rustls::Error::AlertReceived(_) => HandshakeFailure::Rejected(error),
        _ => HandshakeFailure::Protocol(error),
    }
}

/// In TLS 1.3 the client is done before the server has judged its certificate: a refusal arrives with the first answer.
pub(crate) fn call_error(node: &NodeName, operation: &'static str, error: hyper::Error) -> TransportError {
    let node = node.clone();
    let mut cause = error.source();
    while let Some(found) = cause {
        let io = found.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = io.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return TransportError::Handshake { node, source: failure(tls.clone()) };
        }
        cause = found.source();
    }
    if error.is_parse() {
        return TransportError::Protocol { node, operation, detail: error.to_string() };
    }
    TransportError::Closed { node, operation, source: Some(Box::new(error)) }
}
