//! What this member knows of others at the level of memberlist: who is there, suspected, dead, gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use rand::{Rng, RngExt as _};

use crate::Time;
use crate::config::{PROTOCOL_MAX, PROTOCOL_MIN};
use crate::suspicion::Suspicion;
use crate::wire::message::{Alive, NodeState, address_bytes};

/// Lowest, highest and current version of memberlist, and the same of Serf.
pub type Versions = [u8; 6];
/// What an agent of today sends: memberlist understands 1 to 5 and speaks 2, Serf understands 2 to 5.
pub(crate) fn own_versions(protocol: u8) -> Versions {
    [1, 5, 2, PROTOCOL_MIN, PROTOCOL_MAX, protocol]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    Alive,
    Suspect,
    Dead,
    Left,
}

impl PeerState {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Alive => 0,
            Self::Suspect => 1,
            Self::Dead => 2,
            Self::Left => 3,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        [Self::Alive, Self::Suspect, Self::Dead, Self::Left].into_iter().find(|state| state.number() == number)
    }

    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Self::Dead | Self::Left)
    }
}

#[derive(Debug, Clone)]
pub struct Peer {
    pub name: Arc<str>,
    pub address: SocketAddr,
    pub meta: Vec<u8>,
    pub versions: Versions,
    pub incarnation: u32,
    pub state: PeerState,
    pub changed: Time,
    pub(crate) suspicion: Option<Box<Suspicion>>,
}

impl Peer {
    /// Whoever accuses this peer now, and said so.
    pub fn accusers(&self) -> impl Iterator<Item = &str> {
        self.suspicion.iter().flat_map(|suspicion| suspicion.accusers()).map(String::as_str)
    }

    pub(crate) fn takes_checksums(&self) -> bool {
        self.versions[1] >= 5
    }

    pub(crate) fn takes_nacks(&self) -> bool {
        self.versions[1] >= 4
    }

    pub(crate) fn takes_stream_pings(&self) -> bool {
        self.versions[1] >= 3
    }

    pub(crate) fn alive_message(&self) -> Alive {
        Alive {
            address: address_bytes(self.address.ip()),
            incarnation: self.incarnation,
            meta: self.meta.clone(),
            node: self.name.to_string(),
            port: self.address.port(),
            versions: self.versions.to_vec(),
        }
    }

    pub(crate) fn node_state(&self) -> NodeState {
        NodeState {
            address: address_bytes(self.address.ip()),
            incarnation: self.incarnation,
            meta: self.meta.clone(),
            name: self.name.to_string(),
            port: self.address.port(),
            state: self.state.number(),
            versions: self.versions.to_vec(),
        }
    }
}

/// Versions from the wire; what is shorter than six counts as nothing.
pub(crate) fn versions(bytes: &[u8]) -> Versions {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_name: BTreeMap<Arc<str>, Peer>,
    /// Shuffled; probes go through it from the front, again and again.
    order: Vec<Arc<str>>,
    next: usize,
}

impl Peers {
    pub(crate) fn get(&self, name: &str) -> Option<&Peer> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Peer> {
        self.by_name.get_mut(name)
    }

    /// Suspected and dead ones count until they are purged.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_name.values()
    }

    /// At a random place of the order, so that not all members probe a new one first.
    pub(crate) fn insert(&mut self, peer: Peer, rng: &mut (impl Rng + ?Sized)) {
        self.order.push(peer.name.clone());
        let last = self.order.len() - 1;
        self.order.swap(rng.random_range(0..=last), last);
        self.by_name.insert(peer.name.clone(), peer);
    }

    /// The next one to probe. At each end of the round the dead of long ago are forgotten and the order changes.
    pub(crate) fn next_to_probe(
        &mut self,
        own: &str,
        purge_before: Option<Time>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Option<Arc<str>> {
        for _ in 0..=self.order.len() {
            if self.next >= self.order.len() {
                self.purge(purge_before);
                self.order.shuffle(rng);
                self.next = 0;
            }
            let name = self.order.get(self.next)?.clone();
            self.next += 1;
            if &*name != own && self.by_name.get(&name).is_some_and(|peer| !peer.state.is_gone()) {
                return Some(name);
            }
        }
        None
    }

    fn purge(&mut self, before: Option<Time>) {
        let Some(before) = before else { return };
        let old = |peer: &Peer| peer.state.is_gone() && peer.changed < before;
        self.order.retain(|name| !self.by_name.get(name).is_some_and(old));
        self.by_name.retain(|_, peer| !old(peer));
    }

    /// Up to `count` different ones that the filter lets pass.
    pub(crate) fn pick(
        &self,
        count: usize,
        rng: &mut (impl Rng + ?Sized),
        filter: impl Fn(&Peer) -> bool,
    ) -> Vec<Arc<str>> {
        let mut picked: Vec<Arc<str>> = Vec::with_capacity(count);
        if self.order.is_empty() {
            return picked;
        }
        // Enough tries to find them if they are many; if they are few, missing one is no harm.
        for _ in 0..3 * self.order.len() {
            if picked.len() >= count {
                break;
            }
            let name = &self.order[rng.random_range(0..self.order.len())];
            if !picked.contains(name) && self.by_name.get(name).is_some_and(&filter) {
                picked.push(name.clone());
            }
        }
        picked
    }

    /// Everybody must speak what everybody understands. The error names the first who does not.
    pub(crate) fn verify(&self, remote: &[NodeState]) -> Result<(), VersionError> {
        let remote_alive = remote.iter().filter(|node| node.state == PeerState::Alive.number());
        let local_alive = self.iter().filter(|peer| peer.state == PeerState::Alive);
        let alive = remote_alive.map(|node| versions(&node.versions)).chain(local_alive.map(|peer| peer.versions));
        let (mut min, mut max) = ([0, 0], [u8::MAX, u8::MAX]);
        for versions in alive {
            for (layer, at) in [(0, 0), (1, 3)] {
                min[layer] = min[layer].max(versions[at]);
                max[layer] = max[layer].min(versions[at + 1]);
            }
        }
        let remote = remote.iter().map(|node| (node.name.as_str(), versions(&node.versions)));
        let local = self.iter().map(|peer| (&*peer.name, peer.versions));
        for (name, versions) in remote.chain(local) {
            for (layer, at) in [(0, 2), (1, 5)] {
                let current = versions[at];
                if current < min[layer] || current > max[layer] {
                    let (min, max) = (min[layer], max[layer]);
                    return Err(VersionError { name: name.to_owned(), current, min, max });
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node '{name}' speaks protocol version {current}, and not all others understand it: they do {min} to {max}")]
pub(crate) struct VersionError {
    pub name: String,
    pub current: u8,
    pub min: u8,
    pub max: u8,
}

/// A peer of which an alive message tells for the first time; it counts as dead until that is taken in.
pub(crate) fn new_peer(alive: &Alive, address: SocketAddr, now: Time) -> Peer {
    Peer {
        name: alive.node.as_str().into(),
        address,
        meta: alive.meta.clone(),
        versions: versions(&alive.versions),
        incarnation: 0,
        state: PeerState::Dead,
        changed: now,
        suspicion: None,
    }
}

/// Whether the dead are still told what happens.
pub(crate) fn hears_gossip(peer: &Peer, now: Time, to_the_dead: Duration) -> bool {
    match peer.state {
        PeerState::Alive | PeerState::Suspect => true,
        PeerState::Dead => now.saturating_sub(peer.changed) <= to_the_dead,
        PeerState::Left => false,
    }
}
