//! SWIM: who is alive, suspected, dead; and objecting to be taken for dead.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Gossip, Phase, Timer};
use crate::output::Warning;
use crate::peers::{PeerState, new_peer, versions};
use crate::suspicion::{Suspicion, SuspicionWait};
use crate::wire::limits;
use crate::wire::message::{Alive, Dead, Message, Suspect, socket_address};

impl Gossip {
    pub(super) fn alive(&mut self, alive: &Alive) {
        let is_own = alive.node == *self.own;
        if is_own && self.phase != Phase::Running {
            return;
        }
        if let [min, max, ..] = *alive.versions
            && alive.versions.len() >= 3
            && (min == 0 || max == 0 || min > max)
        {
            return;
        }
        // An address that is none, or a limit: such a member cannot be talked to.
        let Some(address) = socket_address(&alive.address, alive.port) else { return };
        if alive.meta.len() > limits::META_MAX || alive.node.is_empty() {
            return;
        }
        match self.peers.get(&alive.node) {
            Some(known) if is_own && known.address == address => {
                let incarnation = known.incarnation;
                return self.alive_of_own(alive, incarnation);
            }
            // Most news are old.
            Some(known) if known.address == address && alive.incarnation <= known.incarnation => return,
            // The name of a member that left may be taken by another machine; that of a failed one may not.
            Some(known) if known.address != address && known.state != PeerState::Left => {
                return self.name_conflict(&alive.node, address);
            }
            Some(_) => {}
            None if self.peers.len() >= limits::NODES_MAX => return,
            None => self.peers.insert(new_peer(alive, address, self.now), &mut *self.rng),
        }
        self.accept_alive(alive, address);
    }

    fn alive_of_own(&mut self, alive: &Alive, incarnation: u32) {
        if alive.incarnation < incarnation {
            return;
        }
        let Some(own) = self.peers.get(&self.own) else { return };
        if alive.incarnation == incarnation && alive.meta == own.meta && alive.versions == own.versions {
            return;
        }
        self.refute(alive.incarnation, &alive.node.clone());
    }

    fn accept_alive(&mut self, alive: &Alive, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(&alive.node) else { return };
        let was = peer.state;
        let old_meta = std::mem::replace(&mut peer.meta, alive.meta.clone());
        peer.suspicion = None;
        peer.incarnation = alive.incarnation;
        peer.address = address;
        if alive.versions.len() >= 6 {
            peer.versions = versions(&alive.versions);
        }
        if was != PeerState::Alive {
            peer.state = PeerState::Alive;
            peer.changed = self.now;
        }
        let peer = peer.clone();
        self.broadcast(&peer.name, &Message::Alive(alive.clone()), None);
        if was.is_gone() {
            self.member_joined(&peer);
        } else if old_meta != peer.meta {
            self.member_updated(&peer);
        }
    }

    /// Somebody, perhaps this member, says that another does not answer.
    pub(super) fn suspect(&mut self, suspect: Suspect) {
        let wait = SuspicionWait::new(
            self.config.timing.suspicion_mult,
            self.config.timing.suspicion_max_mult,
            self.config.timing.probe_interval,
            self.peers.len(),
        );
        let Some(peer) = self.peers.get_mut(&suspect.node) else { return };
        if suspect.incarnation < peer.incarnation {
            return;
        }
        let name = peer.name.clone();
        if let Some(suspicion) = &mut peer.suspicion {
            if suspicion.confirm(&suspect.from) {
                let deadline = suspicion.deadline();
                self.timers.arm(deadline.max(self.now), Timer::Suspicion(name.clone()));
                self.accused(&suspect, false);
                self.broadcast(&name, &Message::Suspect(suspect), None);
            }
            return;
        }
        if peer.state != PeerState::Alive {
            return;
        }
        if name == self.own {
            return self.refute(suspect.incarnation, &suspect.from);
        }
        let suspicion = Suspicion::new(suspect.from.clone(), self.now, wait);
        self.timers.arm(suspicion.deadline(), Timer::Suspicion(name.clone()));
        peer.suspicion = Some(Box::new(suspicion));
        peer.incarnation = suspect.incarnation;
        peer.state = PeerState::Suspect;
        peer.changed = self.now;
        self.accused(&suspect, true);
        self.broadcast(&name, &Message::Suspect(suspect), None);
    }

    /// What this member found itself is told with the reason.
    fn accused(&mut self, suspect: &Suspect, first: bool) {
        if suspect.from != *self.own {
            self.warn(Warning::Accused { name: suspect.node.clone(), by: suspect.from.clone(), first });
        }
    }

    pub(super) fn suspicion_ended(&mut self, name: &Arc<str>) {
        let Some(peer) = self.peers.get(name) else { return };
        let Some(suspicion) = &peer.suspicion else { return };
        // The timer may be of an earlier suspicion.
        if peer.state != PeerState::Suspect || suspicion.deadline() > self.now {
            return;
        }
        let (incarnation, confirmations) = (peer.incarnation, suspicion.confirmations());
        self.warn(Warning::Failed { name: name.to_string(), confirmations });
        self.dead(Dead { from: self.own.to_string(), incarnation, node: name.to_string() });
    }

    pub(super) fn dead(&mut self, dead: Dead) {
        let Some(peer) = self.peers.get_mut(&dead.node) else { return };
        if dead.incarnation < peer.incarnation {
            return;
        }
        peer.suspicion = None;
        if peer.state.is_gone() {
            return;
        }
        let name = peer.name.clone();
        if name == self.own && self.phase == Phase::Running {
            return self.refute(dead.incarnation, &dead.from);
        }
        peer.incarnation = dead.incarnation;
        peer.state = if dead.node == dead.from { PeerState::Left } else { PeerState::Dead };
        peer.changed = self.now;
        let token = (name == self.own).then_some(super::Token::Leave);
        self.broadcast(&name, &Message::Dead(dead), token);
        self.member_gone(&name);
    }

    /// "I am alive", in an incarnation that nobody has accused yet.
    fn refute(&mut self, accused: u32, from: &str) {
        self.incarnation = self.incarnation.max(accused).saturating_add(1);
        self.awareness.worse(1);
        self.warn(Warning::Refuted { from: from.to_owned() });
        self.announce_own(None);
    }

    /// Tells all of this member as it is now.
    pub(super) fn announce_own(&mut self, token: Option<super::Token>) {
        let Some(own) = self.peers.get_mut(&self.own) else { return };
        own.incarnation = self.incarnation;
        own.suspicion = None;
        own.state = PeerState::Alive;
        let own = own.clone();
        self.tell_alive(&own, token);
    }
}
