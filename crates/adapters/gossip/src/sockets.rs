//! The two sockets of a member: UDP and TCP on one port.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, UdpSocket};

/// What memberlist asks for; the kernel gives what it allows.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// For a port that the kernel chooses, and that may be taken for UDP.
const TRIES_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("Failed to start TCP listener on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("Failed to start UDP listener on {address}")]
    Udp { address: SocketAddr, source: io::Error },
}

#[derive(Debug)]
pub struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    address: SocketAddr,
}

impl Sockets {
    /// With port 0 the kernel chooses one that is free for both.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let mut tries = if address.port() == 0 { TRIES_MAX } else { 1 };
        loop {
            tries -= 1;
            match Self::try_bind(address).await {
                Err(BindError::Udp { .. }) if tries > 0 => {}
                result => return result,
            }
        }
    }

    async fn try_bind(address: SocketAddr) -> Result<Self, BindError> {
        let tcp = TcpListener::bind(address).await.map_err(|source| BindError::Tcp { address, source })?;
        let address = tcp.local_addr().map_err(|source| BindError::Tcp { address, source })?;
        let udp = UdpSocket::bind(address).await.map_err(|source| BindError::Udp { address, source })?;
        // Neither is needed to work: more room for bursts, and being told of refusals.
        socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER).ok();
        crate::refusals::ask_for(&udp, address).ok();
        Ok(Self { udp, tcp, address })
    }

    /// With the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
