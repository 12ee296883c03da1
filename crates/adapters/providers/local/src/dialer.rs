//! Connections into a cluster's network: one thread stands in the switch's namespace and makes sockets there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use async_trait::async_trait;
use muster_provider::Dialer;
use muster_sys::process;
use nix::sched::CloneFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::layout::Layout;
use crate::machine::watched;
use crate::protocol::Identity;

/// Requests that may wait for the thread; it answers each in microseconds.
const QUEUE_MAX: usize = 64;

enum Wanted {
    /// A stream socket whose connection was begun.
    Tcp(SocketAddr),
    /// A raw socket for ICMP.
    Icmp,
}

struct Order {
    wanted: Wanted,
    answer: oneshot::Sender<io::Result<Socket>>,
}

pub(crate) struct SwitchDialer {
    layout: Layout,
    /// Started with the first connection; ends when this is dropped.
    thread: Mutex<Option<SyncSender<Order>>>,
}

impl SwitchDialer {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, thread: Mutex::new(None) }
    }

    async fn socket(&self, wanted: Wanted) -> io::Result<Socket> {
        let (answer, socket) = oneshot::channel();
        let sender = self.sender()?;
        sender.send(Order { wanted, answer }).map_err(|_| gone())?;
        socket.await.map_err(|_| gone())?
    }

    fn sender(&self) -> io::Result<SyncSender<Order>> {
        let mut thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sender) = &*thread {
            return Ok(sender.clone());
        }
        let (sender, orders) = sync_channel(QUEUE_MAX);
        let layout = self.layout.clone();
        std::thread::Builder::new().name("dialer".to_owned()).spawn(move || stand(&layout, &orders))?;
        *thread = Some(sender.clone());
        Ok(sender)
    }
}

fn gone() -> io::Error {
    io::Error::other("the dialler's thread has ended")
}

/// The thread: follows the shepherd's namespace, also to a new shepherd's.
fn stand(layout: &Layout, orders: &Receiver<Order>) {
    let mut standing: Option<Identity> = None;
    while let Ok(order) = orders.recv() {
        let result = enter(layout, &mut standing).and_then(|()| make(&order.wanted));
        // Whoever asked may have given up.
        drop(order.answer.send(result));
    }
}

fn enter(layout: &Layout, standing: &mut Option<Identity>) -> io::Result<()> {
    let no_switch = |_| io::Error::new(io::ErrorKind::NetworkUnreachable, "the cluster's switch is not there");
    let text = fs_err::read(layout.identity()).map_err(no_switch)?;
    let identity: Identity = serde_json::from_slice(&text).map_err(io::Error::other)?;
    if standing.as_ref() == Some(&identity) {
        return Ok(());
    }
    let namespace = fs_err::File::open(format!("/proc/{}/ns/net", identity.pid)).map_err(no_switch)?;
    // Looked at after opening: from here on the file names that process's namespace, whoever has its id later.
    if !process::is_alive(identity.pid, identity.start_ticks) {
        return Err(io::Error::new(io::ErrorKind::NetworkUnreachable, "the cluster's shepherd has ended"));
    }
    nix::sched::setns(namespace.file(), CloneFlags::CLONE_NEWNET)?;
    *standing = Some(identity);
    Ok(())
}

/// A socket belongs to the namespace that it was made in, wherever it is used.
fn make(wanted: &Wanted) -> io::Result<Socket> {
    match wanted {
        Wanted::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            match socket.connect(&(*address).into()) {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
                Ok(()) => Ok(socket),
                Err(error) => Err(error),
            }
        }
        Wanted::Icmp => Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::ICMPV4)),
    }
}

#[async_trait]
impl Dialer for SwitchDialer {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(Wanted::Tcp(address)).await?;
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    async fn ping(&self, address: IpAddr) -> io::Result<()> {
        let socket = self.socket(Wanted::Icmp).await?;
        socket.connect(&SocketAddr::new(address, 0).into())?;
        let socket = watched(socket)?;
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
        let request = echo_request(identifier);
        socket.async_io(tokio::io::Interest::WRITABLE, |socket| socket.send(&request)).await?;
        let mut buffer = [0u8; 128];
        loop {
            let mut read = |mut socket: &Socket| io::Read::read(&mut socket, &mut buffer);
            let length = socket.async_io(tokio::io::Interest::READABLE, |socket| read(socket)).await?;
            if is_echo_reply(&buffer[..length], identifier) {
                return Ok(());
            }
        }
    }
}

/// RFC 792: type 8, code 0, checksum, identifier, sequence 1.
fn echo_request(identifier: u16) -> [u8; 8] {
    let [high, low] = identifier.to_be_bytes();
    let mut packet = [8, 0, 0, 0, high, low, 0, 1];
    let words = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(folded & 0xffff).unwrap_or_default();
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Raw sockets hand over the IP header too; its length stands in its first byte.
fn is_echo_reply(packet: &[u8], identifier: u16) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(icmp) = packet.get(header..header + 8) else { return false };
    icmp[0] == 0 && icmp[4..6] == identifier.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_requests_carry_a_valid_checksum() {
        for identifier in [0, 1, 0x1234, 0xffff] {
            let packet = echo_request(identifier);
            let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{identifier}");
        }
    }

    #[test]
    fn only_the_own_reply_counts() {
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 0, 0, 0x12, 0x34, 0, 1]);
        assert!(is_echo_reply(&packet, 0x1234));
        assert!(!is_echo_reply(&packet, 0x1235));
        assert!(!is_echo_reply(&packet[..20], 0x1234));
        packet[20] = 8;
        assert!(!is_echo_reply(&packet, 0x1234));
    }
}
