//! Connections: accepted, authenticated, and handed to the routes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use muster_pki::{Peer, certificate_validity, peer_identity};
use muster_stdx::OnError;
use muster_transport::watch_connection;
use muster_types::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::routes::{self, Shared};

/// Heads are small, and bodies are read in parts.
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks, and at which of our addresses.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Option<Peer>,
    /// When the certificate ends; the connection may outlive it.
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) local: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the socket cannot be set up: {0}")]
    Socket(#[source] io::Error),
    #[error("no TLS handshake in time")]
    HandshakeTime,
    #[error("newer connections took its place before its TLS handshake was over")]
    Overtaken,
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    #[error("too many connections are open")]
    Full,
    #[error("serving failed: {0}")]
    Serve(#[source] hyper::Error),
}

struct Listening {
    shared: Arc<Shared>,
    router: Router,
    operators: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// The connections whose handshake is not over, the oldest first. When all places are taken the oldest gives way: a
/// handshake takes milliseconds, so who has waited longest has nothing to say, and cannot keep an operator out.
struct Handshakes {
    begun: VecDeque<CancellationToken>,
    places: usize,
}

impl Handshakes {
    /// Cancelled by either side: when the handshake is over, or to end it.
    fn begin(&mut self) -> CancellationToken {
        self.begun.retain(|handshake| !handshake.is_cancelled());
        while self.begun.len() >= self.places.max(1)
            && let Some(oldest) = self.begun.pop_front()
        {
            oldest.cancel();
        }
        let handshake = CancellationToken::new();
        self.begun.push_back(handshake.clone());
        handshake
    }
}

/// Accepts for ever.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let limits = &shared.limits;
    let mut handshakes = Handshakes { begun: VecDeque::new(), places: limits.handshakes };
    let listening = Arc::new(Listening {
        router: routes::router(&shared),
        operators: Arc::new(Semaphore::new(limits.connections)),
        strangers: Arc::new(Semaphore::new(limits.strangers)),
        shared: Arc::clone(&shared),
    });
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let connection = Box::pin(connection(Arc::clone(&listening), tcp, handshakes.begin()));
                shared.supervisor.spawn("connection", OnError::Log, connection);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    listening: Arc<Listening>,
    tcp: TcpStream,
    handshake: CancellationToken,
) -> Result<(), ConnectionError> {
    let limits = &listening.shared.limits;
    watch_connection(&tcp).map_err(ConnectionError::Socket)?;
    let local = tcp.local_addr().map_err(ConnectionError::Socket)?;
    let acceptor = listening.shared.identity.tls().acceptor();
    // Its place is free again however the handshake ends.
    let place = handshake.clone().drop_guard();
    let tls = tokio::select! {
        // Losing the other arm ends the connection, or forgets that it could have been ended.
        accepted = timeout(limits.handshake, acceptor.accept(tcp)) => {
            accepted.map_err(|_| ConnectionError::HandshakeTime)?.map_err(ConnectionError::Handshake)?
        }
        () = handshake.cancelled() => return Err(ConnectionError::Overtaken),
    };
    drop(place);
    let caller = identify(&tls, local);
    let is_operator = matches!(caller.peer, Some(Peer::Operator { .. }));
    let places = if is_operator { &listening.operators } else { &listening.strangers };
    let _place = Arc::clone(places).try_acquire_owned().map_err(|_| ConnectionError::Full)?;
    let router = TowerToHyperService::new(listening.router.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        router.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(is_operator)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await
        .map_err(ConnectionError::Serve)
}

/// The chain was verified against the cluster's CA in the handshake; this says whose the certificate is.
fn identify(tls: &TlsStream<TcpStream>, local: SocketAddr) -> Caller {
    let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    Caller {
        peer: certificate.and_then(|certificate| peer_identity(certificate)),
        not_after: certificate.and_then(|der| certificate_validity(der)).map(|(_, not_after)| not_after),
        local,
    }
}
