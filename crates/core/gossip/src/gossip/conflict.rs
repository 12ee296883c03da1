//! Two machines with one name: the others decide which of them may keep it.

use std::net::SocketAddr;

use super::Gossip;
use super::keys::internal;
use super::queries::{Purpose, QueryRequest};
use crate::members::Member;
use crate::output::{Event, Warning};
use crate::wire::message::socket_address;
use crate::wire::serf::SerfMessage;

impl Gossip {
    pub(super) fn name_conflict(&mut self, name: &str, theirs: SocketAddr) {
        let Some(ours) = self.peers.get(name).map(|peer| peer.address) else { return };
        self.warn(Warning::Conflict { name: name.to_owned(), ours, theirs });
        if name != &*self.own || !self.config.serf.resolve_conflicts || self.resolving_name {
            return;
        }
        let payload = name.as_bytes().to_vec();
        let request = QueryRequest { name: internal::CONFLICT.to_owned(), payload, ..QueryRequest::default() };
        self.resolving_name = self.ask(request, Purpose::Conflict { matching: 0 }).is_ok();
    }

    /// Where this member knows that name; nothing if it is its own.
    pub(super) fn answer_conflict(&self, payload: &[u8]) -> Option<SerfMessage> {
        let name = String::from_utf8_lossy(payload);
        if name == self.own.as_ref() {
            return None;
        }
        Some(SerfMessage::ConflictResponse(self.members.get(&name).map(Member::record)))
    }

    pub(super) fn conflict_resolved(&mut self, matching: usize, responses: usize) {
        self.resolving_name = false;
        if matching < responses / 2 + 1 {
            self.tell(Event::NameTaken { matching, responses });
        }
    }
}

/// Whether an answer names this address.
pub(super) fn names_address(payload: &[u8], address: SocketAddr) -> bool {
    match SerfMessage::decode(payload) {
        Ok(SerfMessage::ConflictResponse(Some(member))) => {
            socket_address(&member.address, member.port) == Some(address)
        }
        _ => false,
    }
}
