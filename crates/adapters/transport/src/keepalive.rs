//! Having the kernel notice a peer that is gone.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

const IDLE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 4;
/// How long sent data may stay without acknowledgement; the same time as for the probes of an idle connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Sends small messages at once, and ends a connection whose other end has been silent for half a minute: streams that
/// wait for something may wait for long, but not for a machine that is off.
pub fn watch_connection(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(RETRIES))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}
