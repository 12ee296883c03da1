//! The way to what happens on a fake machine: real TCP on the loopback, handed to a function of the test's.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use muster_stdx::{OnError, Supervisor};
use muster_types::Redacted;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::cloud::FakeCloud;
use super::fault::Operation;
use super::guest::Disk;
use super::life::Life;
use crate::{Dialer, Machine, MachineState};

/// Longest line of the line protocol.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Connections of strangers to the loopback port that are turned away before giving up.
const STRANGERS_MAX: usize = 100;

/// One connection to a machine, seen from the machine.
#[derive(Debug)]
pub struct Visit {
    pub machine: Machine,
    pub user_data: Redacted<String>,
    /// Counts the machine's boots from 1.
    pub boot: u32,
    pub disk: Disk,
    pub port: u16,
    pub stream: TcpStream,
}

pub(super) type Handler = Arc<dyn Fn(Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

pub(super) fn handler<F, Fut>(serve: F) -> Handler
where
    F: Fn(Visit) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |visit| Box::pin(serve(visit)))
}

pub(super) struct FakeDialer {
    pub(super) cloud: FakeCloud,
    pub(super) life: Arc<Life>,
}

/// What is needed of a machine to visit it.
struct Door {
    machine: Machine,
    user_data: Redacted<String>,
    boot: u32,
    disk: Disk,
    power: Supervisor,
    frozen: watch::Receiver<bool>,
    handler: Handler,
}

impl FakeDialer {
    async fn meet_faults(&self, operation: Operation, address: IpAddr) -> io::Result<()> {
        self.life.hang_if_dead().await;
        let met = {
            let mut state = self.cloud.lock();
            let name = state.at(address).map(|guest| guest.machine.name.clone());
            state.rules.take(operation, name.as_ref())
        };
        met.wait().await;
        self.life.hang_if_dead().await;
        if met.refuse.is_some() { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }

    fn door(&self, address: IpAddr) -> io::Result<Door> {
        let mut state = self.cloud.lock();
        let handler = Arc::clone(&state.handler);
        let up = |guest: &&mut super::guest::Guest| {
            let on = matches!(guest.machine.state, MachineState::Running | MachineState::Paused);
            on && !guest.cut_off
        };
        let guest = state.at(address).filter(up).ok_or(io::ErrorKind::HostUnreachable)?;
        Ok(Door {
            machine: guest.machine.clone(),
            user_data: guest.request.user_data.clone(),
            boot: guest.boot,
            disk: guest.disk.clone(),
            power: guest.power.clone(),
            frozen: guest.frozen.subscribe(),
            handler,
        })
    }
}

#[async_trait]
impl Dialer for FakeDialer {
    /// Every port of a running machine takes connections, also while it is paused, as a kernel would.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.meet_faults(Operation::Connect, address.ip()).await?;
        let door = self.door(address.ip())?;
        let (near, far) = loopback_pair().await?;
        let Door { machine, user_data, boot, disk, power, frozen, handler } = door;
        let visit = Visit { machine, user_data, boot, disk, port: address.port(), stream: far };
        power.spawn("fake-visit", OnError::Log, async move {
            thawed(handler(visit), frozen).await;
            Ok::<(), Infallible>(())
        });
        Ok(near)
    }

    /// A machine that is paused does not answer until it goes on.
    async fn ping(&self, address: IpAddr) -> io::Result<()> {
        self.meet_faults(Operation::Ping, address).await?;
        let mut frozen = self.door(address)?.frozen;
        frozen.wait_for(|frozen| !frozen).await.map(|_| ()).map_err(|_| io::ErrorKind::HostUnreachable.into())
    }
}

/// Runs a visit while its machine is not frozen.
async fn thawed(visit: Pin<Box<dyn Future<Output = ()> + Send>>, mut frozen: watch::Receiver<bool>) {
    let mut visit = visit;
    while frozen.wait_for(|frozen| !frozen).await.is_ok() {
        tokio::select! {
            biased;
            // Losing the visit's turn keeps the visit: it goes on when the machine does.
            froze = frozen.wait_for(|frozen| *frozen) => {
                if froze.is_err() {
                    return;
                }
            }
            // Losing the watch's turn loses nothing: the visit is over.
            () = &mut visit => return,
        }
    }
}

/// Two ends of one TCP connection. Whoever else finds the port in that moment is turned away.
async fn loopback_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    for _ in 0..STRANGERS_MAX {
        let (far, from) = listener.accept().await?;
        if from == near.local_addr()? {
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            return Ok((near, far));
        }
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// What machines do that no test gave anything else to do: `name`, `put TEXT` and `get`, a line each.
pub(super) async fn speak_lines(visit: Visit) {
    let Visit { machine, disk, mut stream, .. } = visit;
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    let mut line = String::new();
    // An error on either side ends the visit, as it ends a connection.
    while reader.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = match line.trim_end().split_once(' ') {
            Some(("put", text)) => {
                disk.put("kept", text);
                "kept".to_owned()
            }
            None if line.trim_end() == "get" => disk.get("kept").unwrap_or_default(),
            None if line.trim_end() == "name" => machine.name.to_string(),
            _ => "what?".to_owned(),
        };
        if writer.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
        line.clear();
        reader.get_mut().set_limit(LINE_BYTES_MAX);
    }
}

/// Speaks the fake machines' line protocol, for the contract suite and other tests.
#[derive(Debug, Clone, Copy)]
pub struct LineProbe;

impl LineProbe {
    /// Port that it asks; any would do.
    const PORT: u16 = 7374;

    /// Sends one line and reads one.
    pub async fn ask(self, dialer: &dyn Dialer, machine: &Machine, question: &str) -> io::Result<String> {
        let address = *machine.addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut stream = dialer.connect(SocketAddr::new(address, Self::PORT)).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer).await?;
        if answer.ends_with('\n') { Ok(answer.trim_end().to_owned()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(feature = "contract")]
#[async_trait]
impl crate::contract::Probe for LineProbe {
    async fn answers(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<()> {
        let name = self.ask(dialer, machine, "name").await?;
        if name == machine.name.as_str() { Ok(()) } else { Err(io::Error::other(format!("{name} answered"))) }
    }

    fn keeps_data(&self) -> bool {
        true
    }

    async fn put(&self, dialer: &dyn Dialer, machine: &Machine, text: &str) -> io::Result<()> {
        self.ask(dialer, machine, &format!("put {text}")).await.map(|_| ())
    }

    async fn get(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<String> {
        self.ask(dialer, machine, "get").await
    }
}
