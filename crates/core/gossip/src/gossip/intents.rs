//! Serf's members: they join, leave on purpose, or fail; intents tell the last two apart.

use std::net::SocketAddr;
use std::sync::Arc;

use super::broadcast::Kind;
use super::{Gossip, Phase};
use crate::members::{Intent, IntentKind, Member, Status};
use crate::output::{Event, MemberEvent, Output};
use crate::peers::Peer;
use crate::wire::serf::{JoinIntent, LeaveIntent, SerfMessage, decode_tags};

impl Gossip {
    pub(super) fn member_joined(&mut self, peer: &Peer) {
        let tags = Arc::new(decode_tags(&peer.meta));
        let (mut status, mut status_time) = (Status::Alive, 0);
        match self.members.get(&peer.name) {
            Some(known) => status_time = known.status_time,
            None => {
                if let Some(intent) = self.members.intent(&peer.name) {
                    status_time = intent.time;
                    status = if intent.kind == IntentKind::Leave { Status::Leaving } else { Status::Alive };
                }
            }
        }
        let member = Member {
            name: peer.name.clone(),
            address: peer.address,
            tags,
            status,
            versions: peer.versions,
            status_time,
            gone_since: None,
            prune: false,
        };
        self.members.insert(member.clone());
        self.emit_member(MemberEvent::Join, member);
    }

    pub(super) fn member_updated(&mut self, peer: &Peer) {
        let Some(member) = self.members.get_mut(&peer.name) else { return };
        member.tags = Arc::new(decode_tags(&peer.meta));
        member.address = peer.address;
        member.versions = peer.versions;
        let member = member.clone();
        self.emit_member(MemberEvent::Update, member);
    }

    /// memberlist lost it. Without an intent to leave, it failed.
    pub(super) fn member_gone(&mut self, name: &str) {
        let now = self.now;
        let Some(member) = self.members.get_mut(name) else { return };
        let kind = match member.status {
            Status::Leaving => {
                member.status = Status::Left;
                MemberEvent::Leave
            }
            Status::Alive => {
                member.status = Status::Failed;
                MemberEvent::Failed
            }
            Status::Left | Status::Failed => return,
        };
        member.gone_since = Some(now);
        let member = member.clone();
        let prune = member.prune && member.status == Status::Left;
        self.emit_member(kind, member);
        if prune {
            self.prune(name);
        }
        self.asked_member_gone();
    }

    pub(super) fn emit_member(&mut self, kind: MemberEvent, member: Member) {
        self.outputs.push_back(Output::Changed { kind, member: member.clone() });
        self.emit(Event::Members { kind, members: vec![member] });
    }

    pub(super) fn leave_intent_heard(&mut self, leave: LeaveIntent) {
        if self.leave_intent(&leave) {
            self.broadcast_serf(Kind::Intent, &SerfMessage::Leave(leave), None);
        }
    }

    pub(super) fn join_intent_heard(&mut self, join: JoinIntent) {
        if self.join_intent(&join) {
            self.broadcast_serf(Kind::Intent, &SerfMessage::Join(join), None);
        }
    }

    /// Whether it is news, to be passed on.
    pub(super) fn leave_intent(&mut self, leave: &LeaveIntent) -> bool {
        self.clock.witness(leave.time);
        let now = self.now;
        let is_own = leave.node == *self.own;
        let Some(member) = self.members.get_mut(&leave.node) else {
            let intent = Intent { kind: IntentKind::Leave, time: leave.time, heard: now };
            return self.members.buffer_intent(&leave.node, intent);
        };
        if leave.time <= member.status_time {
            return false;
        }
        if is_own && self.phase == Phase::Running {
            // Somebody else says that we leave.
            self.announce_join();
            return false;
        }
        member.status_time = leave.time;
        match member.status {
            Status::Alive => member.status = Status::Leaving,
            Status::Failed => {
                member.status = Status::Left;
                let member = member.clone();
                self.emit_member(MemberEvent::Leave, member);
            }
            Status::Leaving | Status::Left => {}
        }
        if leave.prune && !is_own {
            self.prune_once_left(&leave.node);
        }
        true
    }

    /// Whether it is news, to be passed on.
    pub(super) fn join_intent(&mut self, join: &JoinIntent) -> bool {
        self.clock.witness(join.time);
        let own = self.members.get(&join.node).filter(|_| join.node == *self.own);
        if self.phase == Phase::Running && own.is_some_and(|own| join.time > own.status_time) {
            // Others know of a later time than this member does: of an earlier life of it, which perhaps left. Without a
            // newer word of its own they would see it leave for ever.
            self.announce_join();
            return false;
        }
        self.accept_join(join)
    }

    fn accept_join(&mut self, join: &JoinIntent) -> bool {
        let Some(member) = self.members.get_mut(&join.node) else {
            let intent = Intent { kind: IntentKind::Join, time: join.time, heard: self.now };
            return self.members.buffer_intent(&join.node, intent);
        };
        if join.time <= member.status_time {
            return false;
        }
        member.status_time = join.time;
        if member.status == Status::Leaving {
            member.status = Status::Alive;
            member.prune = false;
        }
        true
    }

    /// Tells all that this member is here.
    pub(super) fn announce_join(&mut self) {
        let join = JoinIntent { time: self.clock.now(), node: self.own.to_string() };
        self.clock.witness(join.time);
        self.accept_join(&join);
        self.broadcast_serf(Kind::Intent, &SerfMessage::Join(join), None);
    }

    fn prune_once_left(&mut self, name: &str) {
        match self.members.get_mut(name) {
            Some(member) if member.status == Status::Left => self.prune(name),
            Some(member) => member.prune = true,
            None => {}
        }
    }

    /// Forgets a member.
    pub(super) fn prune(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            self.coordinates.forget(name);
            self.emit_member(MemberEvent::Reap, member);
        }
    }

    pub(super) fn address_of(&self, name: &str) -> Option<SocketAddr> {
        self.members.get(name).map(|member| member.address)
    }
}
