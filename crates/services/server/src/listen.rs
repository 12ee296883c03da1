//! Connections: accepted, bounded, and handed to the routes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use muster_stdx::{OnError, Supervisor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const CONNECTIONS_MAX: usize = 256;
/// A client that says nothing for that long has gone.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are being made may take when the service ends.
const SHUTDOWN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen at {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A socket that takes connections.
pub struct Listening {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Listening {
    /// Port 0 takes a free one, which `address` then holds.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Serves until the token is cancelled, then ends what is being answered.
    pub async fn serve(self, router: Router, token: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let supervisor = Supervisor::new();
        loop {
            let accepted = tokio::select! {
                // A connection that was accepted just now is closed with the listener.
                () = token.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, _)), Ok(place)) => {
                    let (router, token) = (router.clone(), token.clone());
                    supervisor.spawn("connection", OnError::Log, async move {
                        let result = connection(stream, router, token).await;
                        drop(place);
                        result
                    });
                }
                (Ok(_), Err(_)) => tracing::warn!("too many connections are open"),
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Each connection closes behind the answer that it is at; then all places are free.
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(SHUTDOWN, places.acquire_many(all)).await.is_err() {
            tracing::warn!("answers were cut off");
        }
        supervisor.shutdown(Duration::ZERO).await;
    }
}

async fn connection(stream: TcpStream, router: Router, token: CancellationToken) -> Result<(), hyper::Error> {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    tokio::select! {
        result = connection.as_mut() => return result,
        // The connection goes on below.
        () = token.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
