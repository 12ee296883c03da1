//! Members as Serf sees them: with tags, and told apart whether they left or failed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::Time;
use crate::peers::Versions;
use crate::wire::message::address_bytes;
use crate::wire::serf::MemberRecord;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Alive,
    Leaving,
    Left,
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Alive => 1,
            Self::Leaving => 2,
            Self::Left => 3,
            Self::Failed => 4,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: Arc<str>,
    pub address: SocketAddr,
    pub tags: Arc<BTreeMap<String, String>>,
    pub status: Status,
    pub versions: Versions,
    /// The Lamport time of the last intent about it.
    pub status_time: u64,
    /// Since when it has failed or is gone.
    pub gone_since: Option<Time>,
    /// Forget it as soon as it has left.
    pub(crate) prune: bool,
}

impl Member {
    pub(crate) fn record(&self) -> MemberRecord {
        let [protocol_min, protocol_max, protocol_current, delegate_min, delegate_max, delegate_current] =
            self.versions;
        MemberRecord {
            address: address_bytes(self.address.ip()),
            name: self.name.to_string(),
            port: self.address.port(),
            status: self.status.number(),
            tags: BTreeMap::clone(&self.tags),
            delegate_current,
            delegate_max,
            delegate_min,
            protocol_current,
            protocol_max,
            protocol_min,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntentKind {
    Join,
    Leave,
}

/// An intent about somebody who is not known yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intent {
    pub(crate) kind: IntentKind,
    pub(crate) time: u64,
    pub(crate) heard: Time,
}

/// Intents about unknown members that are kept; peers send them, so there is a limit.
const INTENTS_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(crate) struct Members {
    by_name: BTreeMap<Arc<str>, Member>,
    intents: BTreeMap<String, Intent>,
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.by_name.get_mut(name)
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.by_name.insert(member.name.clone(), member);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Member> {
        self.by_name.remove(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_name.values()
    }

    /// All that are known, also those who left or failed.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn count(&self, status: Status) -> usize {
        self.iter().filter(|member| member.status == status).count()
    }

    pub(crate) fn has_alive_besides(&self, own: &str) -> bool {
        self.iter().any(|member| member.status == Status::Alive && &*member.name != own)
    }

    /// Keeps the newest intent of each name; whether this one is.
    pub(crate) fn buffer_intent(&mut self, name: &str, intent: Intent) -> bool {
        if self.intents.get(name).is_some_and(|known| intent.time <= known.time) {
            return false;
        }
        if self.intents.len() >= INTENTS_MAX && !self.intents.contains_key(name) {
            return false;
        }
        self.intents.insert(name.to_owned(), intent);
        true
    }

    pub(crate) fn intent(&self, name: &str) -> Option<Intent> {
        self.intents.get(name).copied()
    }

    pub(crate) fn forget_intents(&mut self, before: Time) {
        self.intents.retain(|_, intent| intent.heard >= before);
    }
}
