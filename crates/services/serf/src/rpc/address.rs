//! Where an agent's RPC is: `host:port` as Go dials it, or the path of a socket.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// As it was typed; looked up when it is dialled.
    Tcp(String),
    Unix(PathBuf),
}

/// Why nothing could be dialled, in Go's words, which scripts look for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("dial {network} {address}: connect: {}", reason(*.kind, .text))]
    Connect { network: &'static str, address: String, kind: io::ErrorKind, text: String },
    #[error("dial tcp: address {address}: {reason}")]
    Address { address: String, reason: &'static str },
    #[error("dial tcp: lookup {host}: no such host")]
    Lookup { host: String },
    #[error("dial tcp {address}: i/o timeout")]
    Timeout { address: String },
}

fn reason(kind: io::ErrorKind, text: &str) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => text.to_lowercase(),
    }
}

impl Address {
    /// A path, or one behind `unix:`, is a socket; everything else is for TCP.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            Some(path) => Self::Unix(path.into()),
            None if text.starts_with('/') => Self::Unix(text.into()),
            None => Self::Tcp(text.to_owned()),
        }
    }

    pub async fn dial(&self) -> Result<Connection, DialError> {
        match self {
            Self::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Connection::Unix(stream)),
                Err(error) => Err(refused("unix", path.display().to_string(), &error)),
            },
            Self::Tcp(text) => dial_tcp(text).await,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => formatter.write_str(text),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}

fn refused(network: &'static str, address: String, error: &io::Error) -> DialError {
    DialError::Connect { network, address, kind: error.kind(), text: error.to_string() }
}

/// The first address that answers; if none does, what happened with the first.
async fn dial_tcp(text: &str) -> Result<Connection, DialError> {
    let (host, port) = split(text)?;
    if host.is_empty() {
        let connected = TcpStream::connect(("localhost", port)).await;
        return connected.map(Connection::Tcp).map_err(|error| refused("tcp", format!(":{port}"), &error));
    }
    let no_host = || DialError::Lookup { host: host.to_owned() };
    let addresses = lookup_host((host, port)).await.map_err(|_| no_host())?;
    let mut first = None;
    for address in addresses.take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(Connection::Tcp(stream)),
            Err(error) => {
                first.get_or_insert_with(|| refused("tcp", address.to_string(), &error));
            }
        }
    }
    Err(first.unwrap_or_else(no_host))
}

/// Host and port, by Go's rules.
fn split(text: &str) -> Result<(&str, u16), DialError> {
    let wrong = |reason| DialError::Address { address: text.to_owned(), reason };
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("missing port in address"))?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| wrong("missing port in address"))?,
        None if host.contains(':') => return Err(wrong("too many colons in address")),
        None => host,
    };
    let invalid = || DialError::Address { address: port.to_owned(), reason: "invalid port" };
    Ok((host, port.parse().map_err(|_| invalid())?))
}

/// To an agent.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_go_does() {
        assert_eq!(split("127.0.0.1:7373"), Ok(("127.0.0.1", 7373)));
        assert_eq!(split("[::1]:7373"), Ok(("::1", 7373)));
        assert_eq!(split(":7373"), Ok(("", 7373)));
        for (text, message) in [
            ("foo", "dial tcp: address foo: missing port in address"),
            ("::1:80", "dial tcp: address ::1:80: too many colons in address"),
            ("127.0.0.1:99999", "dial tcp: address 99999: invalid port"),
        ] {
            assert_eq!(split(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn paths_are_sockets() {
        for text in ["/run/serf.sock", "unix:/run/serf.sock", "unix:///run/serf.sock"] {
            assert_eq!(Address::parse(text), Address::Unix("/run/serf.sock".into()));
        }
        assert_eq!(Address::parse("localhost:7373"), Address::Tcp("localhost:7373".into()));
    }
}
