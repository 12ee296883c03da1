//! A way to an agent that can be closed: what partitions are made of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Of several proxies at once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(crate) fn close(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Passes packets and connections on to one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) fn gate() -> Gate {
        Gate(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) async fn start(to: SocketAddr, gate: Gate) -> Self {
        let (udp, tcp) = sockets().await;
        let address = tcp.local_addr().expect("the loopback device works");
        let mut tasks = JoinSet::new();
        tasks.spawn(packets(udp, to, gate.clone()));
        tasks.spawn(connections(tcp, to, gate));
        Self { address, _tasks: tasks }
    }
}

async fn packets(udp: UdpSocket, to: SocketAddr, gate: Gate) {
    let mut packet = vec![0; 65_536];
    loop {
        if let Ok((len, _)) = udp.recv_from(&mut packet).await
            && gate.is_open()
        {
            udp.send_to(&packet[..len], to).await.ok();
        }
    }
}

async fn connections(tcp: TcpListener, to: SocketAddr, gate: Gate) {
    let mut tasks = JoinSet::new();
    while let Ok((mut near, _)) = tcp.accept().await {
        if !gate.is_open() {
            continue;
        }
        tasks.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(to).await {
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            }
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("the loopback device works");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("the loopback device works")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}
