//! Many members in one process, with a network between them that loses, delays and parts, all from one seed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use muster_gossip::{Config, Event, Gossip, JoinOptions, MemberEvent, Output, Status, StreamId, Time};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const PORT: u16 = 7946;

/// What the network does to packets. Streams are delayed, but they repeat what is lost.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) loss: f64,
    pub(crate) delay: Range<Duration>,
}

impl Default for Network {
    fn default() -> Self {
        Self { loss: 0.0, delay: Duration::from_micros(200)..Duration::from_millis(2) }
    }
}

#[derive(Debug)]
enum Happening {
    Tick { node: usize },
    Packet { node: usize, from: SocketAddr, bytes: Vec<u8> },
    Connect { node: usize, from: (usize, StreamId), bytes: Vec<u8> },
    Data { node: usize, stream: StreamId, bytes: Vec<u8> },
    Ended { node: usize, stream: StreamId, reason: &'static str },
}

impl Happening {
    fn node(&self) -> usize {
        match self {
            Self::Tick { node }
            | Self::Packet { node, .. }
            | Self::Connect { node, .. }
            | Self::Data { node, .. }
            | Self::Ended { node, .. } => *node,
        }
    }
}

struct Node {
    config: Config,
    /// `None` while it is off.
    gossip: Option<Gossip>,
    /// When it was started last; a restart forgets what was under way to it.
    life: u64,
    tick_at: Time,
    paused_until: Time,
    island: u8,
    /// The other ends of its streams.
    ends: BTreeMap<StreamId, (usize, StreamId)>,
}

/// Something that a member told, with its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// Of the member with this number.
    Member(MemberEvent, usize),
    User(String),
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) network: Network,
    pub(crate) rng: StdRng,
    nodes: Vec<Node>,
    happenings: BTreeMap<(Time, u64), (u64, Happening)>,
    count: u64,
    /// Who told what, since the last look.
    pub(crate) told: Vec<(Time, usize, Told)>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            network: Network::default(),
            rng: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            happenings: BTreeMap::new(),
            count: 0,
            told: Vec::new(),
            packets: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn add(&mut self, change: impl Fn(&mut Config)) -> usize {
        let number = self.nodes.len();
        let mut config = Config::new(name(number), address(number));
        // It costs much and changes little here.
        config.compress = false;
        change(&mut config);
        self.nodes.push(Node {
            config,
            gossip: None,
            life: 0,
            tick_at: Time::MAX,
            paused_until: Time::ZERO,
            island: 0,
            ends: BTreeMap::new(),
        });
        self.start(number);
        number
    }

    pub(crate) fn start(&mut self, number: usize) {
        let rng = StdRng::seed_from_u64(self.rng.random());
        let node = &mut self.nodes[number];
        node.life += 1;
        node.tick_at = Time::MAX;
        node.ends.clear();
        node.gossip =
            Some(Gossip::new(node.config.clone(), Box::new(rng), self.now).expect("it is a simulated member"));
        self.settle(number);
    }

    /// Without a word, as a machine that lost its power. Those who connect are refused or not, as the network pleases.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].gossip = None;
        for (_, (other, stream)) in std::mem::take(&mut self.nodes[number].ends) {
            self.nodes[other].ends.remove(&stream);
        }
    }

    pub(crate) fn pause(&mut self, number: usize, time: Duration) {
        self.nodes[number].paused_until = self.now + time;
    }

    pub(crate) fn is_up(&self, number: usize) -> bool {
        self.nodes[number].gossip.is_some()
    }

    /// Members of different islands do not reach each other.
    pub(crate) fn set_island(&mut self, number: usize, island: u8) {
        self.nodes[number].island = island;
    }

    pub(crate) fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Gossip, Time) -> T) -> T {
        let now = self.now;
        let result = act(self.nodes[number].gossip.as_mut().expect("it is up"), now);
        self.settle(number);
        result
    }

    pub(crate) fn gossip(&self, number: usize) -> &Gossip {
        self.nodes[number].gossip.as_ref().expect("it is up")
    }

    pub(crate) fn join(&mut self, number: usize, to: usize) {
        self.with(number, |gossip, now| gossip.join(now, &[address(to)], JoinOptions::default()));
    }

    /// How many others this one takes for alive.
    pub(crate) fn alive_seen(&self, number: usize) -> usize {
        self.gossip(number).members().filter(|member| member.status == Status::Alive).count()
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until it is so, looking each millisecond; how long it took, or `None` if it was not so within the limit.
    pub(crate) fn run_until(&mut self, limit: Duration, mut so: impl FnMut(&mut Self) -> bool) -> Option<Duration> {
        let begin = self.now;
        while self.now < begin + limit {
            if so(self) {
                return Some(self.now.saturating_sub(begin));
            }
            self.run_for(Duration::from_millis(5));
        }
        None
    }

    /// The next thing that happens until then.
    fn step(&mut self, end: Time) -> bool {
        let Some(entry) = self.happenings.first_entry() else { return false };
        let at = entry.key().0;
        if at > end {
            return false;
        }
        let (life, happening) = entry.remove();
        self.now = self.now.max(at);
        let number = happening.node();
        let node = &self.nodes[number];
        if node.life != life && !matches!(happening, Happening::Packet { .. } | Happening::Connect { .. }) {
            return true;
        }
        if node.paused_until > self.now {
            let until = node.paused_until;
            self.schedule(until, happening);
            return true;
        }
        self.happen(number, happening);
        true
    }

    fn happen(&mut self, number: usize, happening: Happening) {
        let now = self.now;
        let node = &mut self.nodes[number];
        let Some(gossip) = &mut node.gossip else {
            if let Happening::Connect { from: (other, stream), .. } = happening {
                self.end(other, stream, "connection refused");
            }
            return;
        };
        match happening {
            Happening::Tick { .. } => {
                if node.tick_at <= now {
                    node.tick_at = Time::MAX;
                    gossip.tick(now);
                }
            }
            Happening::Packet { from, bytes, .. } => gossip.packet(now, from, &bytes),
            Happening::Connect { from: (other, theirs), bytes, .. } => {
                match gossip.stream_accepted(now, address(other)) {
                    Some(stream) => {
                        node.ends.insert(stream, (other, theirs));
                        gossip.stream_data(now, stream, &bytes);
                        self.nodes[other].ends.insert(theirs, (number, stream));
                    }
                    None => self.end(other, theirs, "EOF"),
                }
            }
            Happening::Data { stream, bytes, .. } => gossip.stream_data(now, stream, &bytes),
            Happening::Ended { stream, reason, .. } => {
                node.ends.remove(&stream);
                gossip.stream_ended(now, stream, reason);
            }
        }
        self.settle(number);
    }

    /// Takes out what a member wants and tells, and arms its next tick.
    fn settle(&mut self, number: usize) {
        while let Some(output) = self.nodes[number].gossip.as_mut().and_then(Gossip::poll) {
            self.output(number, output);
        }
        let Some(gossip) = &self.nodes[number].gossip else { return };
        let Some(next) = gossip.next_tick() else { return };
        let next = next.max(self.now);
        if next < self.nodes[number].tick_at {
            self.nodes[number].tick_at = next;
            self.schedule(next, Happening::Tick { node: number });
        }
    }

    fn output(&mut self, number: usize, output: Output) {
        let delay = self.delay();
        match output {
            Output::Packet { to, bytes } => {
                self.packets += 1;
                self.bytes += bytes.len() as u64;
                let lost = self.network.loss > 0.0 && self.rng.random_bool(self.network.loss);
                if let Some(node) = self.reached(number, to)
                    && !lost
                {
                    self.schedule(self.now + delay, Happening::Packet { node, from: address(number), bytes });
                }
            }
            Output::Connect { stream, to, bytes } => {
                if let Some(node) = self.reached(number, to) {
                    let from = (number, stream);
                    self.schedule(self.now + 3 * delay, Happening::Connect { node, from, bytes });
                }
            }
            Output::Write { stream, bytes } => {
                if let Some((node, stream)) = self.nodes[number].ends.get(&stream).copied()
                    && self.nodes[node].island == self.nodes[number].island
                {
                    self.schedule(self.now + self.network.delay.end, Happening::Data { node, stream, bytes });
                }
            }
            Output::Close { stream } => {
                if let Some((other, stream)) = self.nodes[number].ends.remove(&stream) {
                    self.end(other, stream, "EOF");
                }
            }
            Output::Event(event) => self.event(number, event),
            Output::Warning(_) | Output::Changed { .. } => {}
        }
    }

    fn event(&mut self, number: usize, event: Event) {
        match event {
            Event::Members { kind, members } => {
                for member in members {
                    let subject = number_of(member.address);
                    self.told.push((self.now, number, Told::Member(kind, subject)));
                }
            }
            Event::User { name, .. } => self.told.push((self.now, number, Told::User(name))),
            _ => {}
        }
    }

    fn end(&mut self, node: usize, stream: StreamId, reason: &'static str) {
        // After what was written before.
        self.schedule(self.now + self.network.delay.end, Happening::Ended { node, stream, reason });
    }

    fn reached(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let to = number_of(to);
        (self.nodes.get(to)?.island == self.nodes[from].island).then_some(to)
    }

    fn delay(&mut self) -> Duration {
        self.rng.random_range(self.network.delay.clone())
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        let life = self.nodes[happening.node()].life;
        self.happenings.insert((at, self.count), (life, happening));
        self.count += 1;
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("node-{number}")
}

fn address(number: usize) -> SocketAddr {
    let number = u32::try_from(number).expect("it is a simulated member");
    SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + number), PORT))
}

fn number_of(address: SocketAddr) -> usize {
    let std::net::IpAddr::V4(ip) = address.ip() else { unreachable!("all are of version 4") };
    usize::try_from(u32::from(ip) - 0x0a00_0001).expect("it is a simulated member")
}
