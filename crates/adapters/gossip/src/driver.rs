//! Gives the state machine its clock, packets and connections, and carries out what it asks for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_gossip::{
    Config, ConfigError, Event, Gossip, Member as GossipMember, MemberEvent, Output, StreamId, Warning,
};
use muster_stdx::Supervisor;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::handle::{Handle, Member, Order};
use crate::metrics::Metrics;
use crate::refusals;
use crate::snapshot::SnapshotFile;
use crate::sockets::Sockets;
use crate::streams::{Input, Streams};

const ORDERS_MAX: usize = 64;
/// What is told and not taken; the real agent holds about as many before it drops.
const NOTICES_MAX: usize = 4096;
const PACKET_MAX: usize = 65_536;
/// Packets that are taken before anything else has its turn.
const PACKETS_AT_ONCE: usize = 64;
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(500);
const STREAMS_END: Duration = Duration::from_secs(1);
/// Longer waits are cut into such pieces.
const TICK_MAX: Duration = Duration::from_hours(1);

/// What happens, for whoever runs the member.
#[derive(Debug)]
pub enum Notice {
    /// A member as it is now, before events are held back.
    Changed {
        kind: MemberEvent,
        member: GossipMember,
    },
    Event(Event),
    Warning(Warning),
    /// The snapshot could not be written; it is tried again.
    Snapshot(io::Error),
}

/// A member that does not run yet. What it is to do is asked for through the handle; what happens comes as notices.
pub fn build(
    mut config: Config,
    sockets: Sockets,
    snapshot: Option<SnapshotFile>,
) -> Result<(Service, Handle, mpsc::Receiver<Notice>), ConfigError> {
    if config.address.port() == 0 {
        config.address.set_port(sockets.address().port());
    }
    if let Some(file) = &snapshot {
        config.resume = file.snapshot().resume();
    }
    let start = Instant::now();
    let gossip = Gossip::new(config, Box::new(rand::make_rng::<StdRng>()), Duration::ZERO)?;
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (notices, noticed) = mpsc::channel(NOTICES_MAX);
    let supervisor = Supervisor::new();
    let (streams, inputs) = Streams::new(supervisor.clone());
    let metrics = Arc::new(Metrics::default());
    let handle = Handle { orders, metrics: metrics.clone() };
    let service = Service {
        member: Member::new(gossip),
        sockets,
        start,
        streams,
        inputs,
        ordered,
        notices,
        snapshot,
        snapshot_at: start,
        metrics,
        supervisor,
    };
    Ok((service, handle, noticed))
}

pub struct Service {
    member: Member,
    sockets: Sockets,
    start: Instant,
    streams: Streams,
    inputs: mpsc::Receiver<(StreamId, Input)>,
    ordered: mpsc::Receiver<Order>,
    notices: mpsc::Sender<Notice>,
    snapshot: Option<SnapshotFile>,
    snapshot_at: Instant,
    metrics: Arc<Metrics>,
    supervisor: Supervisor,
}

impl Service {
    /// Until the token is cancelled. A leave that is wanted comes before.
    pub async fn run(mut self, token: CancellationToken) {
        let mut packet = vec![0; PACKET_MAX];
        loop {
            self.outputs().await;
            self.flush_snapshot();
            let tick = sleep_until(self.next_wake());
            // Losing an arm loses nothing: sockets and channels keep what was not taken.
            tokio::select! {
                () = token.cancelled() => break,
                () = tick => {
                    let now = self.start.elapsed();
                    self.member.gossip.tick(now);
                }
                received = self.sockets.udp.recv_from(&mut packet) => self.received(received, &mut packet),
                accepted = self.sockets.tcp.accept() => {
                    if let Ok((stream, peer)) = accepted
                        && let Some(id) = self.member.gossip.stream_accepted(self.start.elapsed(), peer)
                    {
                        self.streams.accepted(id, stream);
                    }
                }
                Some((id, input)) = self.inputs.recv() => {
                    let now = self.start.elapsed();
                    match input {
                        Input::Data(bytes) => self.member.gossip.stream_data(now, id, &bytes),
                        Input::Ended(reason) => {
                            self.streams.close(id);
                            self.member.gossip.stream_ended(now, id, &reason);
                        }
                    }
                }
                Some(order) = self.ordered.recv() => order(&mut self.member, self.start.elapsed()),
            }
        }
        self.snapshot_at = self.start;
        self.flush_snapshot();
        self.supervisor.shutdown(STREAMS_END).await;
    }

    fn next_wake(&self) -> Instant {
        let longest = Instant::now() + TICK_MAX;
        let tick = self.member.gossip.next_tick().map_or(longest, |next| (self.start + next).min(longest));
        if self.snapshot.is_some() { tick.min(self.snapshot_at) } else { tick }
    }

    /// One packet, and those that wait behind it.
    fn received(&mut self, first: io::Result<(usize, SocketAddr)>, packet: &mut [u8]) {
        let mut received = first;
        for _ in 0..PACKETS_AT_ONCE {
            match received {
                Ok((len, from)) => self.member.gossip.packet(self.start.elapsed(), from, &packet[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.take_refusals(),
            }
            received = self.sockets.udp.try_recv_from(packet);
        }
    }

    fn take_refusals(&mut self) {
        for to in refusals::take(&self.sockets.udp) {
            self.member.gossip.refused(self.start.elapsed(), to);
        }
    }

    async fn outputs(&mut self) {
        while let Some(output) = self.member.gossip.poll() {
            match output {
                Output::Packet { to, bytes } => self.send(to, &bytes).await,
                Output::Connect { stream, to, bytes } => self.streams.connect(stream, to, bytes),
                Output::Write { stream, bytes } => self.streams.write(stream, bytes),
                Output::Close { stream } => self.streams.close(stream),
                Output::Event(event) => self.event(event),
                Output::Changed { kind, member } => self.changed(kind, member),
                Output::Warning(warning) => {
                    self.metrics.warned(&warning, self.start.elapsed());
                    self.notice(Notice::Warning(warning));
                }
            }
        }
    }

    async fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.metrics.sent_bytes.inc_by(bytes.len() as u64);
        // What is refused is a packet of before, and this one has not been sent.
        if self.sockets.udp.send_to(bytes, to).await.is_err() {
            self.take_refusals();
            // Packets get lost; what matters is sent again by the protocol.
            self.sockets.udp.send_to(bytes, to).await.ok();
        }
    }

    fn changed(&mut self, kind: MemberEvent, member: GossipMember) {
        if let Some(file) = &mut self.snapshot {
            file.changed(kind, &member);
        }
        self.metrics.changed(kind, &member.name, self.start.elapsed());
        self.notice(Notice::Changed { kind, member });
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::User { .. } => {
                self.metrics.events.inc();
            }
            Event::Query { .. } => {
                self.metrics.queries.inc();
            }
            Event::Left => {
                let clocks = self.member.gossip.clocks();
                if let Some(Err(error)) = self.snapshot.as_mut().map(|file| file.left(clocks)) {
                    self.notice(Notice::Snapshot(error));
                }
                // Nothing is to follow the line that says so.
                self.snapshot = None;
            }
            _ => {}
        }
        if let Some(event) = self.member.tell(event) {
            self.notice(Notice::Event(event));
        }
    }

    /// Nobody may hold up the gossip.
    fn notice(&mut self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            self.metrics.lost.inc();
        }
    }

    fn flush_snapshot(&mut self) {
        let Some(file) = &mut self.snapshot else { return };
        if self.snapshot_at > Instant::now() {
            return;
        }
        self.snapshot_at = Instant::now() + SNAPSHOT_INTERVAL;
        if let Err(error) = file.flush(self.member.gossip.clocks()) {
            self.notice(Notice::Snapshot(error));
        }
    }
}
