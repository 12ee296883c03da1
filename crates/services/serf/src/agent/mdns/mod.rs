//! Finding others on the same network by multicast DNS, as the real agent does: it answers whoever asks for the cluster's
//! name, asks itself now and then, and joins each agent that it has not tried yet.

mod dns;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use muster_stdx::{OnError, Supervisor};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::addresses;
use super::handle::Handle;
use super::log::Level;
use super::settings::Settings;
use dns::Instance;

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
const POLL: Duration = Duration::from_mins(1);
/// Answers come within this time.
const WINDOW: Duration = Duration::from_secs(1);
const PACKET_MAX: usize = 9000;
/// Agents that were tried are remembered; a network with more has something wrong.
const TRIED_MAX: usize = 4096;

/// Does nothing unless the configuration names a cluster to discover.
pub(crate) fn start(supervisor: &Supervisor, handle: &Handle, settings: &Settings) {
    let Some(cluster) = &settings.config.discover else { return };
    let IpAddr::V4(ip) = settings.advertise.ip() else {
        return handle.log().line(Level::Warn, "agent.mdns: only addresses of IPv4 are announced, so nothing is");
    };
    if settings.config.mdns.disable_ipv4 {
        return handle.log().line(Level::Warn, "agent.mdns: only IPv4 is spoken, and it is disabled");
    }
    let interface = settings.config.mdns.interface.as_deref().or(settings.config.interface.as_deref());
    let interface = interface.and_then(|name| addresses::of_interface(name).ok());
    let interface = interface.and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
    let host =
        nix::unistd::gethostname().map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into_owned());
    let instance = Instance {
        service: format!("_serf_{cluster}._tcp.local."),
        name: settings.name.clone(),
        host: format!("{host}."),
        text: format!("Serf '{cluster}' cluster"),
        ip,
        port: settings.advertise.port(),
    };
    let (answering, asking) = (instance.clone(), handle.clone());
    let replay = settings.config.replay_on_join;
    let told = handle.clone();
    supervisor.spawn("mdns answers", OnError::Log, async move {
        answer(answering, interface).await.inspect_err(|error| {
            told.log().line(Level::Err, format!("agent.mdns: others cannot be answered: {error}"));
        })
    });
    supervisor.spawn("mdns questions", OnError::Log, async move {
        ask(&asking, &instance, interface, replay).await.inspect_err(|error| {
            asking.log().line(Level::Err, format!("agent.mdns: others cannot be asked: {error}"));
        })
    });
}

/// One that several programs on the machine may have at once.
fn socket(interface: Option<Ipv4Addr>, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if port != 0 {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.join_multicast_v4(&GROUP, &interface.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
    }
    if let Some(interface) = interface {
        socket.set_multicast_if_v4(&interface)?;
    }
    socket.set_multicast_loop_v4(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

async fn answer(instance: Instance, interface: Option<Ipv4Addr>) -> io::Result<()> {
    let socket = socket(interface, PORT)?;
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let (len, from) = socket.recv_from(&mut packet).await?;
        let Some(id) = dns::asks_for(&packet[..len], &instance.service) else { continue };
        // The real agent answers directly; who asks from the port of all is answered before all.
        let to = if from.port() == PORT { SocketAddr::from((GROUP, PORT)) } else { from };
        // Who is not answered asks again.
        socket.send_to(&dns::answer(id, &instance), to).await.ok();
    }
}

async fn ask(agent: &Handle, own: &Instance, interface: Option<Ipv4Addr>, replay: bool) -> io::Result<()> {
    let mut tried = BTreeSet::from([SocketAddr::from((own.ip, own.port))]);
    loop {
        let round = Instant::now();
        let found = ask_once(own, interface).await?;
        let new: Vec<String> =
            found.iter().filter(|address| !tried.contains(address)).map(ToString::to_string).collect();
        tried.extend(found.into_iter().take(TRIED_MAX.saturating_sub(tried.len())));
        // An error stands in the log already.
        if !new.is_empty()
            && let Ok(joined) = agent.join(&new, replay).await
        {
            agent.log().line(Level::Info, format!("agent.mdns: Joined {joined} hosts"));
        }
        tokio::time::sleep_until(round + POLL).await;
    }
}

async fn ask_once(own: &Instance, interface: Option<Ipv4Addr>) -> io::Result<BTreeSet<SocketAddr>> {
    let socket = socket(interface, 0)?;
    socket.send_to(&dns::question(&own.service), SocketAddr::from((GROUP, PORT))).await?;
    let (end, mut found, mut packet) = (Instant::now() + WINDOW, BTreeSet::new(), vec![0; PACKET_MAX]);
    while let Ok(received) = timeout_at(end, socket.recv_from(&mut packet)).await {
        let (len, _) = received?;
        if found.len() < TRIED_MAX {
            found.extend(dns::found(&packet[..len], &own.service));
        }
    }
    Ok(found)
}
