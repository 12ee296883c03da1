//! Sending: broadcasts that go to a few members at a time, and packets that take some of them along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Gossip, Phase, Timer};
use crate::Time;
use crate::output::{Event, Operation, Output};
use crate::peers::{Peer, hears_gossip};
use crate::queue::{Draw, transmits_max};
use crate::wire::message::Message;
use crate::wire::packet::{self, Wrap};
use crate::wire::serf::SerfMessage;

/// Who waits for a broadcast to be sent often enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Operation(Operation),
    LeaveIntent,
    Leave,
}

/// With more messages than fit a few packets, rounds follow each other as fast as new messages leave. What is sent in
/// all stays the same.
const BACKLOG: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Rounds are this late after multiples of the interval.
    pub(super) phase: Duration,
    armed: bool,
    last: Time,
    fresh_armed: bool,
    last_fresh: Time,
}

/// Which of Serf's queues; fuller packets take from them in this order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Intent,
    Query,
    Event,
}

impl Gossip {
    pub(super) fn broadcast(&mut self, about: &Arc<str>, message: &Message, token: Option<Token>) {
        let message = message.encode();
        let over = if self.fits(&message) { self.broadcasts.push(message, Some(about.clone()), token) } else { token };
        if let Some(token) = over {
            self.finished(token);
        }
        self.arm_rounds();
    }

    pub(super) fn broadcast_serf(&mut self, kind: Kind, message: &SerfMessage, token: Option<Token>) {
        let message = message.wrapped();
        if !self.fits(&message) {
            return token.into_iter().for_each(|token| self.finished(token));
        }
        let queue = match kind {
            Kind::Intent => &mut self.intents,
            Kind::Query => &mut self.queries,
            Kind::Event => &mut self.events,
        };
        queue.push(message, None, token);
        // Between two checks of the queues they must not grow without end either.
        let max = self.config.serf.queue_max;
        let dropped = if queue.len() > 2 * max { queue.prune(max) } else { Vec::new() };
        for token in dropped {
            self.finished(token);
        }
        self.arm_rounds();
    }

    /// What is longer than a packet, as a peer with other limits may send it, would wait for ever.
    fn fits(&self, message: &[u8]) -> bool {
        message.len() + packet::COMPOUND_PART <= packet::room(self.keyring.as_ref())
    }

    pub(super) fn tell_alive(&mut self, peer: &Peer, token: Option<Token>) {
        self.broadcast(&peer.name, &Message::Alive(peer.alive_message()), token);
    }

    fn queues_wait(&self, below: u32) -> bool {
        self.broadcasts.has_below(below)
            || self.intents.has_below(below)
            || self.queries.has_below(below)
            || self.events.has_below(below)
    }

    fn backlog(&self) -> usize {
        self.broadcasts.len() + self.intents.len() + self.queries.len() + self.events.len()
    }

    /// Alone, there is nobody to tell; the first other member brings a broadcast of its own.
    fn arm_rounds(&mut self) {
        if self.peers.len() < 2 || self.phase == Phase::Left {
            return;
        }
        self.arm_regular_round();
        if let Some(gap) = self.config.tuning.at_once
            && !self.rounds.fresh_armed
            && self.queues_wait(self.fresh_below())
        {
            self.rounds.fresh_armed = true;
            self.timers.arm((self.rounds.last_fresh + gap).max(self.now), Timer::Fresh);
        }
    }

    fn arm_regular_round(&mut self) {
        if !self.rounds.armed && self.queues_wait(u32::MAX) {
            self.rounds.armed = true;
            let at = match self.config.tuning.at_once {
                Some(gap) if self.backlog() > BACKLOG => (self.rounds.last + gap).max(self.now),
                _ => self.next_round(),
            };
            self.timers.arm(at, Timer::Gossip);
        }
    }

    /// Rounds come at a fixed interval, each member's at a moment of its own.
    fn next_round(&self) -> Time {
        let interval = self.config.timing.gossip_interval.max(Duration::from_millis(1));
        let since = self.now.saturating_sub(self.rounds.phase).as_nanos() % interval.as_nanos();
        self.now + interval.saturating_sub(Duration::from_nanos(u64::try_from(since).unwrap_or_default()))
    }

    /// What was sent less often than this counts as new: most of its copies leave at once, the rest later, so that a
    /// moment of loss does not take them all.
    fn fresh_below(&self) -> u32 {
        let nodes = u32::try_from(self.config.timing.gossip_nodes).unwrap_or(u32::MAX);
        let all = transmits_max(self.config.timing.retransmit_mult, self.peers.len());
        (all / 4 * 3).max(nodes)
    }

    pub(super) fn gossip_round(&mut self) {
        self.rounds.armed = false;
        self.rounds.last = self.now;
        self.round(u32::MAX);
    }

    pub(super) fn fresh_round(&mut self) {
        self.rounds.fresh_armed = false;
        self.rounds.last_fresh = self.now;
        self.round(self.fresh_below());
    }

    fn round(&mut self, below: u32) {
        let (now, to_the_dead) = (self.now, self.config.timing.gossip_to_the_dead);
        let own = self.own.clone();
        let hears = |peer: &Peer| peer.name != own && hears_gossip(peer, now, to_the_dead);
        let targets = self.peers.pick(self.config.timing.gossip_nodes, &mut *self.rng, hears);
        if targets.is_empty() {
            return self.arm_regular_round();
        }
        for target in targets {
            let drawn = self.draw(packet::room(self.keyring.as_ref()), below);
            if drawn.is_empty() {
                break;
            }
            let Some((to, checksum)) = self.peers.get(&target).map(|peer| (peer.address, peer.takes_checksums()))
            else {
                continue;
            };
            self.send_raw(to, packet::compound(&drawn), checksum);
        }
        self.arm_rounds();
    }

    /// Broadcasts that fit, memberlist's first.
    fn draw(&mut self, room: usize, below: u32) -> Vec<Vec<u8>> {
        let mult = self.config.timing.retransmit_mult;
        let (mut drawn, mut finished) = (Vec::new(), Vec::new());
        let mut draw =
            Draw { room, overhead: packet::COMPOUND_PART, transmits_max: transmits_max(mult, self.peers.len()), below };
        draw.room -= self.broadcasts.draw(draw, &mut drawn, &mut finished);
        draw.transmits_max = transmits_max(mult, self.members.len());
        for queue in [&mut self.intents, &mut self.queries, &mut self.events] {
            draw.room -= queue.draw(draw, &mut drawn, &mut finished);
        }
        for token in finished {
            self.finished(token);
        }
        drawn
    }

    pub(super) fn finished(&mut self, token: Token) {
        match token {
            Token::Operation(operation) => self.told(operation, true),
            Token::LeaveIntent => self.leave_step(super::timers::LeaveStep::Intended),
            Token::Leave => self.leave_step(super::timers::LeaveStep::Announced),
        }
    }

    /// Starts to wait for a broadcast with this operation's token.
    pub(super) fn telling(&mut self) -> Operation {
        let operation = self.operation();
        self.telling.insert(operation);
        self.timers.arm(self.now + self.config.serf.broadcast_timeout, Timer::Told(operation));
        operation
    }

    pub(super) fn told(&mut self, operation: Operation, in_time: bool) {
        if self.telling.remove(&operation) {
            self.tell(Event::Told { operation, in_time });
        }
    }

    /// A message of its own, with broadcasts that still fit.
    pub(super) fn send(&mut self, to: SocketAddr, message: &Message) {
        self.send_encoded(to, message.encode());
    }

    pub(super) fn send_encoded(&mut self, to: SocketAddr, message: Vec<u8>) {
        let room = packet::room(self.keyring.as_ref()).saturating_sub(message.len());
        let mut parts = vec![message];
        parts.append(&mut self.draw(room, u32::MAX));
        self.send_raw(to, packet::compound(&parts), false);
    }

    pub(super) fn send_raw(&mut self, to: SocketAddr, message: Vec<u8>, checksum: bool) {
        let wrap = Wrap { compress: self.config.compress, checksum, keyring: self.keyring.as_ref() };
        let bytes = packet::seal(message, wrap, &mut *self.rng);
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += bytes.len() as u64;
        self.outputs.push_back(Output::Packet { to, bytes });
    }
}
