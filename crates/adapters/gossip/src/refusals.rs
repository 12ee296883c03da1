//! What the network says about packets that were not taken: that nothing listens at an address.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use tokio::net::UdpSocket;

/// Refusals taken at once; the kernel keeps the others.
const AT_ONCE_MAX: usize = 64;

/// Without this an unconnected socket is not told.
pub(crate) fn ask_for(udp: &UdpSocket, address: SocketAddr) -> nix::Result<()> {
    match address.ip() {
        IpAddr::V4(_) => setsockopt(udp, sockopt::Ipv4RecvErr, &true),
        IpAddr::V6(_) => setsockopt(udp, sockopt::Ipv6RecvErr, &true),
    }
}

/// Where the packets went that came back.
pub(crate) fn take(udp: &UdpSocket) -> Vec<SocketAddr> {
    let mut refused = Vec::new();
    for _ in 0..AT_ONCE_MAX {
        let mut byte = [0; 1];
        let mut data = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let Ok(message) = recvmsg::<SockaddrStorage>(udp.as_raw_fd(), &mut data, None, flags) else { break };
        let Some(address) = message.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
        let v6 = address.as_sockaddr_in6().map(|address| SocketAddr::from((address.ip(), address.port())));
        refused.extend(v4.or(v6));
    }
    refused
}
