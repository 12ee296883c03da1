//! What a push/pull says and what is taken from it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Gossip;
use crate::members::Status;
use crate::output::Warning;
use crate::peers::PeerState;
use crate::wire::message::{Alive, Dead, NodeState, Suspect};
use crate::wire::packet::PacketError;
use crate::wire::serf::{JoinIntent, LeaveIntent, PushPullState, SerfMessage, UserEvent};
use crate::wire::stream::PushPull;

impl Gossip {
    pub(super) fn local_state(&self, join: bool) -> PushPull {
        let named = |member: &crate::members::Member| (member.name.to_string(), member.status_time);
        let left = self.members.iter().filter(|member| member.status == Status::Left);
        let state = PushPullState {
            event_time: self.event_clock.now(),
            events: self.event_ring.slots(),
            time: self.clock.now(),
            left: left.map(|member| member.name.to_string()).collect(),
            query_time: self.query_clock.now(),
            status_times: self.members.iter().map(named).collect(),
        };
        PushPull {
            join,
            nodes: self.peers.iter().map(crate::peers::Peer::node_state).collect(),
            user_state: SerfMessage::PushPull(state).encode(),
        }
    }

    pub(super) fn merge(&mut self, from: SocketAddr, remote: &PushPull, ignore_old: bool) {
        for node in &remote.nodes {
            self.merge_node(node);
        }
        if remote.user_state.is_empty() {
            return;
        }
        match SerfMessage::decode(&remote.user_state) {
            Ok(SerfMessage::PushPull(state)) => self.merge_serf(state, ignore_old && remote.join),
            Ok(_) => self.warn(Warning::Merge { peer: from, reason: "its user state is none of Serf".to_owned() }),
            Err(error) => self.warn(Warning::Packet { from, error: PacketError::Decode(error) }),
        }
    }

    /// Nobody is dead because one other says so: that is a reason to suspect only.
    fn merge_node(&mut self, node: &NodeState) {
        let (incarnation, name) = (node.incarnation, node.name.clone());
        match PeerState::from_number(node.state) {
            Some(PeerState::Alive) => self.alive(&Alive {
                address: node.address.clone(),
                incarnation,
                meta: node.meta.clone(),
                node: name,
                port: node.port,
                versions: node.versions.clone(),
            }),
            Some(PeerState::Left) => self.dead(Dead { from: name.clone(), incarnation, node: name }),
            Some(PeerState::Dead | PeerState::Suspect) => {
                self.suspect(Suspect { from: self.own.to_string(), incarnation, node: name });
            }
            None => {}
        }
    }

    fn merge_serf(&mut self, state: PushPullState, ignore_old: bool) {
        // What the remote will stamp next has not happened yet.
        self.clock.witness(state.time.saturating_sub(1));
        self.event_clock.witness(state.event_time.saturating_sub(1));
        self.query_clock.witness(state.query_time.saturating_sub(1));

        let left: BTreeSet<&str> = state.left.iter().map(String::as_str).collect();
        for name in &left {
            let time = state.status_times.get(*name).copied().unwrap_or_default();
            // A join that was heard late can carry the time of the leave, so the leave has to be newer than itself;
            // but where it is known, it must not get newer with each exchange.
            let known = self.members.get(name).is_some_and(|member| member.status == Status::Left);
            let time = if known { time } else { time.saturating_add(1) };
            self.leave_intent(&LeaveIntent { time, node: (*name).to_owned(), prune: false });
        }
        for (name, time) in &state.status_times {
            if !left.contains(name.as_str()) {
                self.join_intent(&JoinIntent { time: *time, node: name.clone() });
            }
        }
        if ignore_old {
            self.event_ring.raise_floor(state.event_time);
        }
        for slot in state.events.into_iter().flatten() {
            for event in slot.events {
                let event = UserEvent { coalesce: false, time: slot.time, name: event.name, payload: event.payload };
                self.accept_user_event(&event);
            }
        }
    }
}
