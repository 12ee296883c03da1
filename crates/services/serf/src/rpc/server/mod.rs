//! The RPC of an agent: connections that come by TCP or through a Unix socket.

mod connection;
mod convert;
mod requests;
mod subscriptions;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_stdx::{OnError, Supervisor};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::agent::{Handle, Level};

/// More wait to be taken.
const CONNECTIONS_MAX: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("connections to the RPC cannot be taken any more")]
    Accept(#[source] io::Error),
}

pub(crate) async fn serve_tcp(listener: TcpListener, agent: Handle, supervisor: Supervisor) -> Result<(), ServeError> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => match passing(error) {
                Some(error) => return Err(ServeError::Accept(error)),
                None => continue,
            },
        };
        // Answers are short, and somebody waits for each.
        stream.set_nodelay(true).ok();
        agent.log().line(Level::Info, format!("agent.ipc: Accepted client: {peer}"));
        let (agent, tasks) = (agent.clone(), supervisor.clone());
        supervisor.spawn("rpc connection", OnError::Log, async move {
            let ended = connection::run(stream, agent, tasks).await;
            drop(place);
            ended
        });
    }
}

pub(crate) async fn serve_unix(
    listener: UnixListener,
    path: SocketPath,
    agent: Handle,
    supervisor: Supervisor,
) -> Result<(), ServeError> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => match passing(error) {
                Some(error) => return Err(ServeError::Accept(error)),
                None => continue,
            },
        };
        agent.log().line(Level::Info, format!("agent.ipc: Accepted client: {}", path.0.display()));
        let (agent, tasks) = (agent.clone(), supervisor.clone());
        supervisor.spawn("rpc connection", OnError::Log, async move {
            let ended = connection::run(stream, agent, tasks).await;
            drop(place);
            ended
        });
    }
}

/// A client that went away again, or a machine that has no more files for a moment.
fn passing(error: io::Error) -> Option<io::Error> {
    let kinds = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
    if kinds.contains(&error.kind()) { None } else { Some(error) }
}

/// Removed with its listener.
#[derive(Debug)]
pub(crate) struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        fs_err::remove_file(&self.0).ok();
    }
}

/// A socket that nobody listens at is left over from a crash, and is replaced.
pub(crate) async fn bind_socket(path: &Path) -> io::Result<(UnixListener, SocketPath)> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(path).await.is_err() => {
            fs_err::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let named = |error: io::Error| io::Error::new(error.kind(), format!("listen unix {}: {error}", path.display()));
    Ok((listener.map_err(named)?, SocketPath(path.to_owned())))
}
