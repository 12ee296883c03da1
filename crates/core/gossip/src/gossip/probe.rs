//! Probes: one member after the other is asked whether it is there; if it does not answer, others ask for us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Gossip, Phase, Timer};
use crate::Time;
use crate::coordinate::Coordinate;
use crate::output::{Evidence, StreamId, Warning};
use crate::peers::{Peer, PeerState};
use crate::wire::message::{Ack, IndirectPing, Message, Nack, Ping, Suspect, address_bytes, socket_address};
use crate::wire::packet;

#[derive(Debug, Default)]
pub(super) struct Probing {
    current: Option<Probe>,
    /// A tick came while a probe was under way; the next one begins when this one ends.
    missed: bool,
}

#[derive(Debug)]
struct Probe {
    target: Arc<str>,
    address: SocketAddr,
    sequence: u32,
    sent: Time,
    deadline: Time,
    indirect: bool,
    nacks_expected: u32,
    nacks: u32,
    /// Some helper says nothing when it gets no answer, so one has to wait for it.
    mute_helpers: bool,
    stream: StreamPing,
    /// Why the ping by a stream failed.
    stream_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamPing {
    Not,
    Waiting(StreamId),
    Failed,
}

/// A ping that this member sends for another.
#[derive(Debug)]
pub(super) struct Relayed {
    to: SocketAddr,
    sequence: u32,
    nack: bool,
}

/// Pings for others under way at once; more are not answered.
const RELAYED_MAX: usize = 4096;

impl Gossip {
    pub(super) fn probe_tick(&mut self) {
        self.timers.arm(self.now + self.config.timing.probe_interval, Timer::Probe);
        if self.probing.current.is_some() {
            self.probing.missed = true;
        } else {
            self.probe_next();
        }
    }

    fn probe_next(&mut self) {
        if self.phase == Phase::Left {
            return;
        }
        let purge_before = self.now.checked_sub(self.config.timing.gossip_to_the_dead);
        let own = self.own.clone();
        let Some(name) = self.peers.next_to_probe(&own, purge_before, &mut *self.rng) else { return };
        let Some(peer) = self.peers.get(&name).cloned() else { return };
        let sequence = self.next_sequence();
        let deadline = self.now + self.awareness.scale(self.config.timing.probe_interval);
        self.probing.current = Some(Probe {
            target: name,
            address: peer.address,
            sequence,
            sent: self.now,
            deadline,
            indirect: false,
            nacks_expected: 0,
            nacks: 0,
            mute_helpers: false,
            stream: StreamPing::Not,
            stream_reason: None,
        });
        self.timers.arm(self.now + self.config.timing.probe_timeout, Timer::ProbeTimeout(sequence));
        self.timers.arm(deadline, Timer::ProbeEnd(sequence));
        let ping = Message::Ping(self.ping(sequence, &peer.name));
        if peer.state == PeerState::Alive {
            return self.send(peer.address, &ping);
        }
        // Tell it that it is suspected, so that it can object at once.
        let suspect = self.suspicion_of(&peer);
        let both = packet::compound(&[ping.encode(), Message::Suspect(suspect).encode()]);
        self.send_raw(peer.address, both, peer.takes_checksums());
    }

    fn suspicion_of(&self, peer: &Peer) -> Suspect {
        Suspect { from: self.own.to_string(), incarnation: peer.incarnation, node: peer.name.to_string() }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn ping(&self, sequence: u32, node: &str) -> Ping {
        let address = self.config.address;
        Ping {
            node: node.to_owned(),
            sequence,
            source_address: address_bytes(address.ip()),
            source_node: self.own.to_string(),
            source_port: address.port(),
        }
    }

    fn probe_of(&mut self, sequence: u32) -> Option<&mut Probe> {
        self.probing.current.as_mut().filter(|probe| probe.sequence == sequence)
    }

    /// The direct answer did not come in time, or cannot come.
    pub(super) fn probe_indirectly(&mut self, sequence: u32) {
        let Some(probe) = self.probe_of(sequence) else { return };
        if std::mem::replace(&mut probe.indirect, true) {
            return;
        }
        let (target, address, deadline) = (probe.target.clone(), probe.address, probe.deadline);
        let (own, count) = (self.own.clone(), self.config.timing.indirect_checks);
        let helps = |peer: &Peer| peer.state == PeerState::Alive && peer.name != own && peer.name != target;
        let helpers = self.peers.pick(count, &mut *self.rng, helps);
        let ping = self.ping(sequence, &target);
        let (mut nacks_expected, mut mute_helpers) = (0, false);
        for helper in helpers {
            let Some((to, nack)) = self.peers.get(&helper).map(|peer| (peer.address, peer.takes_nacks())) else {
                continue;
            };
            nacks_expected += u32::from(nack);
            mute_helpers |= !nack;
            let request = IndirectPing {
                nack,
                node: target.to_string(),
                port: address.port(),
                sequence,
                source_address: ping.source_address.clone(),
                source_node: ping.source_node.clone(),
                source_port: ping.source_port,
                target: address_bytes(address.ip()),
            };
            self.send(to, &Message::IndirectPing(request));
        }
        let by_stream = self.peers.get(&target).is_some_and(Peer::takes_stream_pings);
        let stream = if by_stream { self.ping_by_stream(address, ping, deadline) } else { None };
        if let Some(probe) = self.probe_of(sequence) {
            probe.nacks_expected = nacks_expected;
            probe.mute_helpers = mute_helpers;
            probe.stream = stream.map_or(StreamPing::Failed, StreamPing::Waiting);
        }
    }

    /// The network says that nothing listens for packets at this address.
    pub fn refused(&mut self, now: Time, to: SocketAddr) {
        self.advance(now);
        let probed = self.probing.current.as_ref().filter(|probe| probe.address == to);
        if let Some(sequence) = probed.map(|probe| probe.sequence)
            && self.config.tuning.early_probe_end
        {
            self.probe_indirectly(sequence);
        }
    }

    pub(super) fn acked(&mut self, ack: &Ack) {
        if let Some(relayed) = self.relayed.remove(&ack.sequence) {
            let ack = Ack { payload: Vec::new(), sequence: relayed.sequence };
            return self.send(relayed.to, &Message::Ack(ack));
        }
        let now = self.now;
        let Some(probe) = self.probe_of(ack.sequence) else { return };
        let (target, direct, round_trip) = (probe.target.clone(), !probe.indirect, now.saturating_sub(probe.sent));
        if direct && !ack.payload.is_empty() {
            self.observe_distance(&target, &ack.payload, round_trip);
        }
        self.probe_succeeded();
    }

    fn observe_distance(&mut self, target: &str, payload: &[u8], round_trip: Duration) {
        if let Ok(coordinate) = Coordinate::decoded(payload) {
            self.coordinates.observe(target, &coordinate, round_trip, &mut *self.rng);
        }
    }

    pub(super) fn nacked(&mut self, sequence: u32) {
        if let Some(probe) = self.probe_of(sequence) {
            probe.nacks += 1;
            self.probe_perhaps_hopeless(sequence);
        }
    }

    pub(super) fn stream_ping_ended(&mut self, stream: StreamId, answer: Result<&Ack, &str>) {
        let Some(probe) = &mut self.probing.current else { return };
        if probe.stream != StreamPing::Waiting(stream) {
            return;
        }
        probe.stream = StreamPing::Failed;
        let sequence = probe.sequence;
        probe.stream_reason = answer.err().map(str::to_owned);
        if answer.is_ok_and(|ack| ack.sequence == sequence) {
            let name = probe.target.to_string();
            self.warn(Warning::StreamOnly { name });
            self.probe_succeeded();
        } else {
            self.probe_perhaps_hopeless(sequence);
        }
    }

    /// Ends a probe before its time if nobody is left who could still say that the target is there.
    fn probe_perhaps_hopeless(&mut self, sequence: u32) {
        let early = self.config.tuning.early_probe_end;
        let Some(probe) = self.probe_of(sequence) else { return };
        let heard_all = probe.nacks >= probe.nacks_expected && !probe.mute_helpers;
        if early && probe.indirect && heard_all && probe.stream == StreamPing::Failed {
            self.probe_ended(sequence);
        }
    }

    fn probe_succeeded(&mut self) {
        self.awareness.better();
        self.probe_over();
    }

    pub(super) fn probe_ended(&mut self, sequence: u32) {
        let Some(probe) = self.probe_of(sequence) else { return };
        let missing = probe.nacks_expected.saturating_sub(probe.nacks);
        let worse = if probe.nacks_expected > 0 { missing } else { 1 };
        let target = probe.target.clone();
        let (helpers, without_answer) = (probe.nacks_expected, probe.nacks);
        let unanswered = matches!(probe.stream, StreamPing::Waiting(_)).then(|| "no answer".to_owned());
        let stream = probe.stream_reason.take().or(unanswered);
        self.awareness.worse(worse);
        if let Some(peer) = self.peers.get(&target) {
            let suspect = self.suspicion_of(peer);
            if peer.state == PeerState::Alive {
                let evidence = Evidence { helpers, without_answer, stream };
                self.warn(Warning::Suspected { name: target.to_string(), evidence });
            }
            self.suspect(suspect);
        }
        self.probe_over();
    }

    fn probe_over(&mut self) {
        if let Some(Probe { stream: StreamPing::Waiting(stream), .. }) = self.probing.current.take() {
            self.drop_stream(stream);
        }
        if std::mem::take(&mut self.probing.missed) {
            self.probe_next();
        }
    }

    /// Somebody asks to ping another.
    pub(super) fn ping_for(&mut self, from: SocketAddr, request: &IndirectPing) {
        if self.relayed.len() >= RELAYED_MAX {
            return;
        }
        let port = if request.port == 0 { self.config.address.port() } else { request.port };
        let Some(target) = socket_address(&request.target, port) else { return };
        let source = socket_address(&request.source_address, request.source_port).filter(|source| source.port() > 0);
        let sequence = self.next_sequence();
        let relayed = Relayed { to: source.unwrap_or(from), sequence: request.sequence, nack: request.nack };
        self.relayed.insert(sequence, relayed);
        self.timers.arm(self.now + self.config.timing.probe_timeout, Timer::Relayed(sequence));
        let ping = self.ping(sequence, &request.node);
        self.send(target, &Message::Ping(ping));
    }

    pub(super) fn relayed_ping_ended(&mut self, sequence: u32) {
        if let Some(relayed) = self.relayed.remove(&sequence)
            && relayed.nack
        {
            self.send(relayed.to, &Message::Nack(Nack { sequence: relayed.sequence }));
        }
    }
}
