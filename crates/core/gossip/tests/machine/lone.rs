//! A member whose every output is looked at, and others of whom only the words exist.

use std::net::SocketAddr;
use std::time::Duration;

use muster_gossip::wire::message::{Alive, Message, NodeState};
use muster_gossip::wire::packet;
use muster_gossip::wire::serf::{PushPullState, SerfMessage, encode_tags};
use muster_gossip::wire::stream::{Decoder, PushPull, StreamMessage};
use muster_gossip::{Config, Event, Gossip, JoinOptions, MemberEvent, Output, Status, StreamId, Warning};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub(crate) const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 5];

pub(crate) struct Lone {
    pub(crate) gossip: Gossip,
    pub(crate) now: Duration,
    pub(crate) sent: Vec<(SocketAddr, Message)>,
    pub(crate) connects: Vec<(StreamId, SocketAddr, StreamMessage)>,
    pub(crate) writes: Vec<(StreamId, StreamMessage)>,
    pub(crate) events: Vec<Event>,
    pub(crate) warnings: Vec<Warning>,
}

pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7946))
}

impl Lone {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("own", address(1));
        config.compress = false;
        change(&mut config);
        let gossip = Gossip::new(config, Box::new(StdRng::seed_from_u64(1)), Duration::ZERO).expect("it is valid");
        let mut lone = Self {
            gossip,
            now: Duration::ZERO,
            sent: Vec::new(),
            connects: Vec::new(),
            writes: Vec::new(),
            events: Vec::new(),
            warnings: Vec::new(),
        };
        lone.settle();
        lone
    }

    /// With others, `node-2` and so on, that are alive.
    pub(crate) fn with_others(count: u8, change: impl FnOnce(&mut Config)) -> Self {
        let mut lone = Self::new(change);
        for number in 2..2 + count {
            lone.hear(number, &Message::Alive(alive(number, 1)));
        }
        lone.run_for(Duration::from_millis(100));
        lone.clear();
        lone
    }

    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.connects.clear();
        self.writes.clear();
        self.events.clear();
        self.warnings.clear();
    }

    pub(crate) fn hear(&mut self, from: u8, message: &Message) {
        self.gossip.packet(self.now, address(from), &message.encode());
        self.settle();
    }

    pub(crate) fn hear_serf(&mut self, from: u8, message: &SerfMessage) {
        self.hear(from, &Message::User(message.encode()));
    }

    pub(crate) fn act<T>(&mut self, act: impl FnOnce(&mut Gossip, Duration) -> T) -> T {
        let result = act(&mut self.gossip, self.now);
        self.settle();
        result
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.gossip.next_tick().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.gossip.tick(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Runs until it is so; whether it was, within the time.
    pub(crate) fn run_until(&mut self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !so(self) {
            let Some(next) = self.gossip.next_tick().filter(|next| *next <= end) else { return false };
            self.now = self.now.max(next);
            self.gossip.tick(self.now);
            self.settle();
        }
        true
    }

    fn settle(&mut self) {
        while let Some(output) = self.gossip.poll() {
            match output {
                Output::Packet { to, bytes } => {
                    let opened = packet::open(&bytes, None);
                    assert_eq!(opened.faults, []);
                    self.sent.extend(opened.messages.into_iter().map(|message| (to, message)));
                }
                Output::Connect { stream, to, bytes } => self.connects.push((stream, to, decoded(&bytes))),
                Output::Write { stream, bytes } => self.writes.push((stream, decoded(&bytes))),
                Output::Close { .. } | Output::Changed { .. } => {}
                Output::Event(event) => self.events.push(event),
                Output::Warning(warning) => self.warnings.push(warning),
            }
        }
    }

    /// What Serf's messages were sent.
    pub(crate) fn serf_sent(&self) -> Vec<SerfMessage> {
        let user = |message: &Message| match message {
            Message::User(bytes) => SerfMessage::decode(bytes).ok(),
            _ => None,
        };
        self.sent.iter().filter_map(|(_, message)| user(message)).collect()
    }

    /// The sequence of the ping under way, answered or not, and whom it is for.
    pub(crate) fn ping(&self) -> Option<(SocketAddr, u32)> {
        self.sent.iter().find_map(|(to, message)| match message {
            Message::Ping(ping) => Some((*to, ping.sequence)),
            _ => None,
        })
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        self.gossip.member(name).map(|member| member.status)
    }

    pub(crate) fn member_events(&self) -> Vec<(MemberEvent, String)> {
        let mut found = Vec::new();
        for event in &self.events {
            if let Event::Members { kind, members } = event {
                found.extend(members.iter().map(|member| (*kind, member.name.to_string())));
            }
        }
        found
    }

    /// Joins a member that answers with this state.
    pub(crate) fn join(&mut self, options: JoinOptions, nodes: Vec<NodeState>, serf: PushPullState) {
        self.act(|gossip, now| gossip.join(now, &[address(2)], options));
        let (stream, ..) = *self.connects.last().expect("it connects");
        let user_state = SerfMessage::PushPull(serf).encode();
        self.receive(stream, &StreamMessage::PushPull(PushPull { join: true, nodes, user_state }));
    }

    pub(crate) fn receive(&mut self, stream: StreamId, message: &StreamMessage) {
        let bytes = message.seal(true, None, &mut StdRng::seed_from_u64(2));
        self.gossip.stream_data(self.now, stream, &bytes);
        self.settle();
    }

    pub(crate) fn accept(&mut self, message: &StreamMessage) -> StreamId {
        let stream = self.gossip.stream_accepted(self.now, address(2)).expect("there is room");
        self.receive(stream, message);
        stream
    }
}

fn decoded(bytes: &[u8]) -> StreamMessage {
    Decoder::default().push(bytes, None).expect("it is valid").expect("it is whole")
}

pub(crate) fn name(number: u8) -> String {
    format!("node-{number}")
}

pub(crate) fn alive(number: u8, incarnation: u32) -> Alive {
    Alive {
        address: vec![10, 0, 0, number],
        incarnation,
        meta: encode_tags(&[("role".to_owned(), "web".to_owned())].into()),
        node: name(number),
        port: 7946,
        versions: VERSIONS.to_vec(),
    }
}

pub(crate) fn node_state(number: u8, state: i64) -> NodeState {
    let Alive { address, incarnation, meta, node, port, versions } = alive(number, 1);
    NodeState { address, incarnation, meta, name: node, port, state, versions }
}
