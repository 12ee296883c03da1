//! A small driver of a member over real sockets on the loopback device, as an adapter will be one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use muster_gossip::{Config, Event, Gossip, Output, StreamId, Warning};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Long enough for everything that is waited for, even on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

type Command = Box<dyn FnOnce(&mut Gossip, Duration) + Send>;

/// What came over the wire, for checks of the codec against real bytes.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Packet(Vec<u8>),
    Stream(StreamId, Vec<u8>),
}

/// A member that runs. It ends with this handle.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    pub(crate) warnings: mpsc::Receiver<Warning>,
    pub(crate) seen: mpsc::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

impl Running {
    /// With its own address on the loopback device; `change` sets what the test is about.
    pub(crate) async fn start(name: &str, seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().expect("the loopback device works");
        let mut config = Config::new(name, address);
        change(&mut config);
        let gossip = Gossip::new(config, Box::new(StdRng::seed_from_u64(seed)), Duration::ZERO)
            .expect("the loopback device works");
        let (commands, orders) = mpsc::channel(64);
        let (events_in, events) = mpsc::channel(10_000);
        let (warnings_in, warnings) = mpsc::channel(10_000);
        let (seen_in, seen) = mpsc::channel(10_000);
        let (inbox_in, inbox) = mpsc::channel(1000);
        let driver = Driver {
            gossip,
            udp,
            tcp,
            start: Instant::now(),
            streams: JoinSet::new(),
            writers: BTreeMap::new(),
            inbox,
            inbox_in,
            events: events_in,
            warnings: warnings_in,
            seen: seen_in,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run(orders));
        Self { name: name.to_owned(), address, commands, events, warnings, seen, _tasks: tasks }
    }

    /// Does something to the member, and gives back what it says.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Gossip, Duration) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command: Command = Box::new(move |gossip, now| {
            answer.send(act(gossip, now)).ok();
        });
        assert!(self.commands.send(command).await.is_ok(), "{} runs", self.name);
        answered.await.expect("the member answers")
    }

    /// Waits until the member is so, looking after each of its events and each tenth of a second.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Gossip) -> bool + Clone + Send + 'static) {
        let waiting = tokio::time::timeout(PATIENCE, async {
            loop {
                let so = so.clone();
                if self.with(move |gossip, _| so(gossip)).await {
                    return;
                }
                tokio::time::timeout(Duration::from_millis(100), self.events.recv()).await.ok();
            }
        });
        assert!(waiting.await.is_ok(), "{}: never {what}", self.name);
    }

    /// The first event that the function makes something of; those before it are passed over.
    pub(crate) async fn event<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut passed = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the member runs");
                match pick(&event) {
                    Some(found) => return found,
                    None => passed.push(event),
                }
            }
        });
        let Ok(found) = found.await else { panic!("{}: no {what}; instead {passed:#?}", self.name) };
        found
    }
}

struct Driver {
    gossip: Gossip,
    udp: UdpSocket,
    tcp: TcpListener,
    start: Instant,
    streams: JoinSet<()>,
    writers: BTreeMap<StreamId, mpsc::Sender<Vec<u8>>>,
    inbox: mpsc::Receiver<(StreamId, Input)>,
    inbox_in: mpsc::Sender<(StreamId, Input)>,
    events: mpsc::Sender<Event>,
    warnings: mpsc::Sender<Warning>,
    seen: mpsc::Sender<Seen>,
}

enum Input {
    Data(Vec<u8>),
    Ended(String),
}

impl Driver {
    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        let mut packet = vec![0; 65_536];
        loop {
            self.outputs().await;
            let next = self.gossip.next_tick().unwrap_or(Duration::MAX);
            let tick = tokio::time::sleep_until(self.start + next.min(self.start.elapsed() + Duration::from_hours(1)));
            // Losing an arm loses nothing: sockets and channels keep what was not taken.
            tokio::select! {
                () = tick => {
                    let now = self.start.elapsed();
                    self.gossip.tick(now);
                }
                received = self.udp.recv_from(&mut packet) => {
                    if let Ok((len, from)) = received {
                        self.seen.try_send(Seen::Packet(packet[..len].to_vec())).ok();
                        self.gossip.packet(self.start.elapsed(), from, &packet[..len]);
                    }
                }
                accepted = self.tcp.accept() => {
                    if let Ok((stream, peer)) = accepted
                        && let Some(id) = self.gossip.stream_accepted(self.start.elapsed(), peer)
                    {
                        self.serve(id, async { Ok(stream) }, Vec::new());
                    }
                }
                Some((id, input)) = self.inbox.recv() => {
                    let now = self.start.elapsed();
                    match input {
                        Input::Data(bytes) => {
                            self.seen.try_send(Seen::Stream(id, bytes.clone())).ok();
                            self.gossip.stream_data(now, id, &bytes);
                        }
                        Input::Ended(reason) => self.gossip.stream_ended(now, id, &reason),
                    }
                }
                order = orders.recv() => match order {
                    Some(order) => order(&mut self.gossip, self.start.elapsed()),
                    None => return,
                },
            }
            while self.streams.try_join_next().is_some() {}
        }
    }

    async fn outputs(&mut self) {
        while let Some(output) = self.gossip.poll() {
            match output {
                Output::Packet { to, bytes } => {
                    if let Err(error) = self.udp.send_to(&bytes, to).await
                        && error.kind() == std::io::ErrorKind::ConnectionRefused
                    {
                        self.gossip.refused(self.start.elapsed(), to);
                    }
                }
                Output::Connect { stream, to, bytes } => self.serve(stream, TcpStream::connect(to), bytes),
                Output::Write { stream, bytes } => {
                    if let Some(writer) = self.writers.get(&stream) {
                        writer.try_send(bytes).ok();
                    }
                }
                Output::Close { stream } => {
                    self.writers.remove(&stream);
                }
                Output::Event(event) => {
                    self.events.try_send(event).expect("the test takes its events");
                }
                Output::Changed { .. } => {}
                Output::Warning(warning) => {
                    self.warnings.try_send(warning).ok();
                }
            }
        }
    }

    fn serve<C>(&mut self, id: StreamId, connect: C, bytes: Vec<u8>)
    where
        C: Future<Output = std::io::Result<TcpStream>> + Send + 'static,
    {
        let (writer, writes) = mpsc::channel(4);
        self.writers.insert(id, writer);
        let inbox = self.inbox_in.clone();
        self.streams.spawn(async move {
            let ended = match connect.await {
                Ok(stream) => talk(id, stream, bytes, writes, &inbox).await,
                Err(error) => Err(error),
            };
            let reason = ended.map_or_else(|error| error.to_string(), |()| "EOF".to_owned());
            inbox.send((id, Input::Ended(reason))).await.ok();
        });
    }
}

async fn talk(
    id: StreamId,
    mut stream: TcpStream,
    first: Vec<u8>,
    mut writes: mpsc::Receiver<Vec<u8>>,
    inbox: &mpsc::Sender<(StreamId, Input)>,
) -> std::io::Result<()> {
    stream.write_all(&first).await?;
    let mut buffer = vec![0; 16_384];
    loop {
        // A read that is cancelled has read nothing.
        tokio::select! {
            read = stream.read(&mut buffer) => match read? {
                0 => return Ok(()),
                len => {
                    inbox.send((id, Input::Data(buffer[..len].to_vec()))).await.ok();
                }
            },
            write = writes.recv() => match write {
                Some(bytes) => stream.write_all(&bytes).await?,
                None => return stream.shutdown().await,
            },
        }
    }
}

/// Both kinds on one port, which Serf needs.
async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("the loopback device works");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("the loopback device works")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}
