//! What a member of a gossip is set to. The defaults are Serf's; what we do better stands apart, in `Tuning`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wire::keyring::Keyring;

pub const PROTOCOL_MIN: u8 = 2;
pub const PROTOCOL_MAX: u8 = 5;

#[derive(Debug, Clone)]
pub struct Config {
    /// Unique in the cluster.
    pub name: String,
    /// Where others reach this member, by packets and streams.
    pub address: SocketAddr,
    pub tags: BTreeMap<String, String>,
    /// The version of Serf's protocol that it speaks, 2 to 5.
    pub protocol: u8,
    /// Tell others, with each answer to a ping, where this member is by the delays between all.
    pub coordinates: bool,
    /// Without keys nothing is encrypted, and what is encrypted is refused.
    pub keyring: Option<Keyring>,
    pub compress: bool,
    pub timing: Timing,
    pub serf: SerfSettings,
    pub tuning: Tuning,
    /// Several events of members within a short time are told as one.
    pub coalesce: Option<Coalescing>,
    /// From a snapshot: what happened up to then is not told again.
    pub resume: Resume,
}

impl Config {
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            tags: BTreeMap::new(),
            protocol: PROTOCOL_MAX,
            coordinates: true,
            keyring: None,
            compress: true,
            timing: Timing::lan(),
            serf: SerfSettings::default(),
            tuning: Tuning::ours(),
            coalesce: None,
            resume: Resume::default(),
        }
    }
}

/// The timers of memberlist.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub stream_timeout: Duration,
    /// How many others are asked to ping a member that does not answer.
    pub indirect_checks: usize,
    pub retransmit_mult: u32,
    pub suspicion_mult: u32,
    pub suspicion_max_mult: u32,
    pub push_pull_interval: Duration,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub gossip_interval: Duration,
    pub gossip_nodes: usize,
    /// For so long the dead are told what happens, so that those who are not dead object.
    pub gossip_to_the_dead: Duration,
    pub awareness_max: u32,
}

impl Timing {
    pub fn lan() -> Self {
        Self {
            stream_timeout: Duration::from_secs(10),
            indirect_checks: 3,
            retransmit_mult: 4,
            suspicion_mult: 4,
            suspicion_max_mult: 6,
            push_pull_interval: Duration::from_secs(30),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            awareness_max: 8,
        }
    }

    pub fn wan() -> Self {
        Self {
            stream_timeout: Duration::from_secs(30),
            suspicion_mult: 6,
            push_pull_interval: Duration::from_mins(1),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(500),
            gossip_nodes: 4,
            gossip_to_the_dead: Duration::from_mins(1),
            ..Self::lan()
        }
    }

    pub fn local() -> Self {
        Self {
            stream_timeout: Duration::from_secs(1),
            indirect_checks: 1,
            retransmit_mult: 2,
            suspicion_mult: 3,
            push_pull_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_millis(200),
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead: Duration::from_secs(15),
            ..Self::lan()
        }
    }
}

/// The settings of the layer of Serf.
#[derive(Debug, Clone, Copy)]
pub struct SerfSettings {
    pub reap_interval: Duration,
    pub reconnect_interval: Duration,
    /// When a failed member is forgotten.
    pub reconnect_timeout: Duration,
    /// When a member that left is forgotten.
    pub tombstone_timeout: Duration,
    pub recent_intent_timeout: Duration,
    pub broadcast_timeout: Duration,
    pub leave_propagate_delay: Duration,
    pub queue_check_interval: Duration,
    pub queue_warning: usize,
    pub queue_max: usize,
    pub query_timeout_mult: u32,
    pub event_size_max: usize,
    pub query_size_max: usize,
    pub response_size_max: usize,
    /// How many Lamport times back events and queries are known again.
    pub ring: u64,
    /// End this member if most others know its name at another address.
    pub resolve_conflicts: bool,
}

impl Default for SerfSettings {
    fn default() -> Self {
        Self {
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_hours(24),
            tombstone_timeout: Duration::from_hours(24),
            recent_intent_timeout: Duration::from_mins(5),
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            queue_check_interval: Duration::from_secs(30),
            queue_warning: 128,
            queue_max: 4096,
            query_timeout_mult: 16,
            event_size_max: 512,
            query_size_max: 1024,
            response_size_max: 1024,
            ring: 512,
            resolve_conflicts: true,
        }
    }
}

/// What the wire leaves open, and peers cannot tell.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Broadcasts that are new leave at once, though not more often than this; not on the next tick.
    pub at_once: Option<Duration>,
    /// After a join, a second push/pull with another member, which ends waits of 30 s for a broadcast that was missed.
    pub second_sync: Option<Duration>,
    /// A probe fails as soon as nobody is left who could say otherwise.
    pub early_probe_end: bool,
    /// A query ends when every member that it is for has answered or failed.
    pub early_query_end: bool,
}

impl Tuning {
    pub fn ours() -> Self {
        Self {
            at_once: Some(Duration::from_millis(20)),
            second_sync: Some(Duration::from_secs(1)),
            early_probe_end: true,
            early_query_end: true,
        }
    }

    /// As the Go implementation behaves.
    pub fn serf() -> Self {
        Self { at_once: None, second_sync: None, early_probe_end: false, early_query_end: false }
    }
}

/// Events are held back until it was quiet for a while, or for a period at most.
#[derive(Debug, Clone, Copy)]
pub struct Coalescing {
    pub period: Duration,
    pub quiet: Duration,
}

impl Default for Coalescing {
    fn default() -> Self {
        Self { period: Duration::from_secs(3), quiet: Duration::from_secs(1) }
    }
}

/// The Lamport times that a snapshot remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resume {
    pub clock: u64,
    pub event_clock: u64,
    pub query_clock: u64,
}
