//! Packets that come in.

use std::net::SocketAddr;

use super::{Gossip, Phase};
use crate::output::Warning;
use crate::wire::message::{Ack, Message, Ping, socket_address};
use crate::wire::packet;
use crate::wire::serf::SerfMessage;

impl Gossip {
    /// A packet came from this address.
    pub fn packet(&mut self, now: crate::Time, from: SocketAddr, bytes: &[u8]) {
        self.advance(now);
        if self.phase == Phase::Left {
            return;
        }
        self.stats.packets_received += 1;
        let opened = packet::open(bytes, self.keyring.as_ref());
        for message in opened.messages {
            self.message(from, message);
        }
        // One complaint a packet: a flood of damage must not become a flood of warnings.
        if let Some(error) = opened.faults.into_iter().next() {
            self.warn(Warning::Packet { from, error });
        }
    }

    fn message(&mut self, from: SocketAddr, message: Message) {
        match message {
            Message::Ping(ping) => self.pinged(from, &ping),
            Message::IndirectPing(ping) => self.ping_for(from, &ping),
            Message::Ack(ack) => self.acked(&ack),
            Message::Nack(nack) => self.nacked(nack.sequence),
            Message::Suspect(suspect) => self.suspect(suspect),
            Message::Alive(alive) => self.alive(&alive),
            Message::Dead(dead) => self.dead(dead),
            Message::User(bytes) => self.serf_message(from, &bytes),
            // Only streams carry errors that mean something.
            Message::Error(_) => {}
        }
    }

    fn pinged(&mut self, from: SocketAddr, ping: &Ping) {
        if !ping.node.is_empty() && ping.node != *self.own {
            return self.warn(Warning::ForeignPing { from, name: ping.node.clone() });
        }
        let source = socket_address(&ping.source_address, ping.source_port).filter(|source| source.port() > 0);
        let payload = if self.config.coordinates { self.coordinates.own().encoded() } else { Vec::new() };
        self.send(source.unwrap_or(from), &Message::Ack(Ack { payload, sequence: ping.sequence }));
    }

    pub(super) fn serf_message(&mut self, from: SocketAddr, bytes: &[u8]) {
        let message = match SerfMessage::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                let error = packet::PacketError::Decode(error);
                return self.warn(Warning::Packet { from, error });
            }
        };
        match message {
            SerfMessage::Leave(leave) => self.leave_intent_heard(leave),
            SerfMessage::Join(join) => self.join_intent_heard(join),
            SerfMessage::UserEvent(event) => self.user_event_heard(event),
            SerfMessage::Query(query) => self.query_heard(query),
            SerfMessage::QueryResponse(response) => self.query_answered(response),
            SerfMessage::Relay(header, inner) => {
                let target = &header.destination;
                if let Some(to) = socket_address(&target.address, target.port) {
                    self.send_encoded(to, [&[crate::wire::message::kind::USER], &inner[..]].concat());
                }
            }
            // These come within others only.
            SerfMessage::PushPull(_)
            | SerfMessage::ConflictResponse(_)
            | SerfMessage::KeyRequest(_)
            | SerfMessage::KeyResponse(_) => {}
        }
    }
}
