//! The state machine of one member. Inputs change it; what is to be done is taken out with `poll`.

mod broadcast;
mod conflict;
mod events;
mod intents;
mod keys;
mod leave;
mod merge;
mod packets;
mod probe;
mod queries;
mod streams;
mod swim;
mod timers;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::{Rng, RngExt as _};

pub use events::EventError;
pub use keys::KeyOperation;
pub use leave::RemoveError;
pub use queries::{QueryError, QueryRequest, RespondError};
pub use streams::JoinOptions;

use crate::Time;
use crate::coalesce::Coalescer;
use crate::config::{Config, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::coordinate::{Coordinate, Coordinates};
use crate::lamport::LamportClock;
use crate::members::{Member, Members, Status};
use crate::output::{Event, Operation, Output, StreamId, Warning};
use crate::peers::{Peer, PeerState, Peers, own_versions};
use crate::queue::Queue;
use crate::suspicion::Awareness;
use crate::wire::keyring::Keyring;
use crate::wire::limits;
use crate::wire::serf::encode_tags;
use broadcast::{Rounds, Token};
use events::EventRing;
use probe::{Probing, Relayed};
use queries::Queries;
use streams::{JoinRun, Stream};
use timers::{LeaveStep, Timer, Timers};

const NAME_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("a member's name has 1 to {NAME_MAX} bytes, and `{0}` has not")]
    Name(String),
    #[error("protocol version {0} is not known: it is {PROTOCOL_MIN} to {PROTOCOL_MAX}")]
    Protocol(u8),
    #[error("Encoded length of tags exceeds limit of {} bytes", limits::META_MAX)]
    Tags,
    #[error("{0} is no address that others could reach")]
    Address(SocketAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Running,
    Leaving,
    Left,
}

/// Counts, for statistics and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub members: usize,
    pub failed: usize,
    pub left: usize,
    /// 0 if all is well.
    pub health_score: u32,
    pub member_time: u64,
    pub event_time: u64,
    pub query_time: u64,
    pub broadcast_queue: usize,
    pub intent_queue: usize,
    pub event_queue: usize,
    pub query_queue: usize,
    pub coordinate_resets: u64,
    pub packets_sent: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub streams: usize,
    pub encrypted: bool,
}

pub struct Gossip {
    config: Config,
    own: Arc<str>,
    rng: Box<dyn Rng + Send>,
    now: Time,
    phase: Phase,
    /// How far the leave has come.
    left_step: Option<LeaveStep>,
    outputs: VecDeque<Output>,
    timers: Timers,
    operations: u64,
    /// Operations whose broadcasts are on their way.
    telling: BTreeSet<Operation>,

    // Of memberlist.
    keyring: Option<Keyring>,
    incarnation: u32,
    sequence: u32,
    peers: Peers,
    awareness: Awareness,
    probing: Probing,
    relayed: BTreeMap<u32, Relayed>,
    broadcasts: Queue<Token>,
    rounds: Rounds,
    streams: BTreeMap<StreamId, Stream>,
    streams_opened: u64,
    joins: BTreeMap<Operation, JoinRun>,

    // Of Serf.
    clock: LamportClock,
    event_clock: LamportClock,
    query_clock: LamportClock,
    members: Members,
    intents: Queue<Token>,
    queries: Queue<Token>,
    events: Queue<Token>,
    event_ring: EventRing,
    asked: Queries,
    coordinates: Coordinates,
    coalescer: Coalescer,
    resolving_name: bool,
    stats: Stats,
}

impl Gossip {
    /// A member that knows nobody yet. Time counts from any start; randomness should be of cryptographic quality, as it
    /// makes the nonces of encryption.
    pub fn new(config: Config, mut rng: Box<dyn Rng + Send>, now: Time) -> Result<Self, ConfigError> {
        if config.name.is_empty() || config.name.len() > NAME_MAX {
            return Err(ConfigError::Name(config.name));
        }
        if config.address.ip().is_unspecified() || config.address.port() == 0 {
            return Err(ConfigError::Address(config.address));
        }
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&config.protocol) {
            return Err(ConfigError::Protocol(config.protocol));
        }
        let meta = encode_tags(&config.tags);
        if meta.len() > limits::META_MAX {
            return Err(ConfigError::Tags);
        }
        let resume = config.resume;
        let mut gossip = Self {
            own: config.name.as_str().into(),
            now,
            phase: Phase::Running,
            left_step: None,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            operations: 0,
            telling: BTreeSet::new(),
            keyring: config.keyring.clone(),
            incarnation: 0,
            sequence: rng.random_range(0..u32::MAX / 2),
            peers: Peers::default(),
            awareness: Awareness::new(config.timing.awareness_max),
            probing: Probing::default(),
            relayed: BTreeMap::new(),
            broadcasts: Queue::new(),
            rounds: Rounds::default(),
            streams: BTreeMap::new(),
            streams_opened: 0,
            joins: BTreeMap::new(),
            clock: LamportClock::after(resume.clock),
            event_clock: LamportClock::after(resume.event_clock),
            query_clock: LamportClock::after(resume.query_clock),
            members: Members::default(),
            intents: Queue::new(),
            queries: Queue::new(),
            events: Queue::new(),
            event_ring: EventRing::new(config.serf.ring, resume.event_clock),
            asked: Queries::new(config.serf.ring, resume.query_clock),
            coordinates: Coordinates::new(),
            coalescer: Coalescer::new(config.coalesce),
            resolving_name: false,
            stats: Stats::default(),
            rng,
            config,
        };
        gossip.begin(meta);
        Ok(gossip)
    }

    fn begin(&mut self, meta: Vec<u8>) {
        self.rounds.phase = self.random_share(self.config.timing.gossip_interval);
        self.incarnation = 1;
        let own = Peer {
            name: self.own.clone(),
            address: self.config.address,
            meta,
            versions: own_versions(self.config.protocol),
            incarnation: self.incarnation,
            state: PeerState::Alive,
            changed: self.now,
            suspicion: None,
        };
        self.tell_alive(&own, None);
        self.peers.insert(own.clone(), &mut *self.rng);
        self.member_joined(&own);
        let timing = self.config.timing;
        let probe = self.random_share(timing.probe_interval);
        self.timers.arm(self.now + probe, Timer::Probe);
        let push_pull = self.random_share(timing.push_pull_interval);
        self.timers.arm(self.now + push_pull, Timer::PushPull);
        self.timers.arm(self.now + self.config.serf.reap_interval, Timer::Reap);
        self.timers.arm(self.now + self.config.serf.reconnect_interval, Timer::Reconnect);
        self.timers.arm(self.now + self.config.serf.queue_check_interval, Timer::QueueCheck);
    }

    /// A random part of a duration, so that members do not act all at once.
    fn random_share(&mut self, of: std::time::Duration) -> std::time::Duration {
        of.mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// What to do next, in this order. To be called after each input until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `tick` is to be called, if no other input comes before.
    pub fn next_tick(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
        while let Some(timer) = self.timers.due(self.now) {
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Probe => self.probe_tick(),
            Timer::ProbeTimeout(sequence) => self.probe_indirectly(sequence),
            Timer::ProbeEnd(sequence) => self.probe_ended(sequence),
            Timer::Relayed(sequence) => self.relayed_ping_ended(sequence),
            Timer::Suspicion(name) => self.suspicion_ended(&name),
            Timer::Gossip => self.gossip_round(),
            Timer::Fresh => self.fresh_round(),
            Timer::PushPull => self.push_pull_tick(),
            Timer::SecondSync => self.second_sync(),
            Timer::Stream(stream) => self.stream_late(stream),
            Timer::Reap => self.reap(),
            Timer::Reconnect => self.reconnect(),
            Timer::QueueCheck => self.check_queues(),
            Timer::Query(query) => self.query_ended(query, false),
            Timer::Answering(query) => self.answering_ended(query),
            Timer::Told(operation) => self.told(operation, false),
            Timer::Leave(step) => self.leave_step(step),
            Timer::Coalesce => self.flush_coalesced(),
        }
    }

    /// Time never goes back.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn warn(&mut self, warning: Warning) {
        self.outputs.push_back(Output::Warning(warning));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Events that may be held back to be told together.
    fn emit(&mut self, event: Event) {
        match self.coalescer.take(event, self.now) {
            Some(event) => self.tell(event),
            None => {
                if let Some(at) = self.coalescer.next() {
                    self.timers.arm(at, Timer::Coalesce);
                }
            }
        }
    }

    fn flush_coalesced(&mut self) {
        for event in self.coalescer.due(self.now) {
            self.tell(event);
        }
        if let Some(at) = self.coalescer.next() {
            self.timers.arm(at, Timer::Coalesce);
        }
    }

    fn operation(&mut self) -> Operation {
        self.operations += 1;
        Operation(self.operations)
    }

    pub fn name(&self) -> &str {
        &self.own
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// In the order of their names; also those who left or failed.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// The view of memberlist, which knows who is suspected by whom.
    pub fn peer(&self, name: &str) -> Option<&Peer> {
        self.peers.get(name)
    }

    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    pub fn coordinate(&self, name: &str) -> Option<&Coordinate> {
        if name == &*self.own { Some(self.coordinates.own()) } else { self.coordinates.of(name) }
    }

    pub fn stats(&self) -> Stats {
        Stats {
            members: self.members.len(),
            failed: self.members.count(Status::Failed),
            left: self.members.count(Status::Left),
            health_score: self.awareness.score(),
            member_time: self.clock.now(),
            event_time: self.event_clock.now(),
            query_time: self.query_clock.now(),
            broadcast_queue: self.broadcasts.len(),
            intent_queue: self.intents.len(),
            event_queue: self.events.len(),
            query_queue: self.queries.len(),
            coordinate_resets: self.coordinates.resets(),
            streams: self.streams.len(),
            encrypted: self.keyring.is_some(),
            ..self.stats
        }
    }

    /// The Lamport times, for a snapshot: of intents, events and queries.
    pub fn clocks(&self) -> crate::config::Resume {
        crate::config::Resume {
            clock: self.clock.now() - 1,
            event_clock: self.event_clock.now() - 1,
            query_clock: self.query_clock.now() - 1,
        }
    }
}
