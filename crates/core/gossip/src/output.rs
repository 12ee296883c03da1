//! What a member of a gossip asks of its driver, and what it tells.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::Time;
use crate::members::Member;
use crate::wire::packet::PacketError;
use crate::wire::record::Secret;
use crate::wire::stream::StreamError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Something that was asked for and takes a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation(pub u64);

/// A query: its Lamport time and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    pub time: u64,
    pub id: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Packet {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Connect, write the bytes, and hand in what comes back.
    Connect {
        stream: StreamId,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Write to a stream that was accepted.
    Write {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    /// Close once everything is written; nothing of it need be handed in any more.
    Close {
        stream: StreamId,
    },
    Event(Event),
    /// A member as it is now, told at once: events about members may be held back to be told together.
    Changed {
        kind: MemberEvent,
        member: Member,
    },
    Warning(Warning),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberEvent {
    Join,
    Leave,
    Failed,
    Update,
    Reap,
}

/// How somebody's user event or query came here.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Members {
        kind: MemberEvent,
        members: Vec<Member>,
    },
    User {
        time: u64,
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    },
    /// A query for this member; `Gossip::respond` answers it until the deadline.
    Query {
        query: QueryId,
        name: String,
        payload: Vec<u8>,
        /// Empty if it comes from an agent of before 0.8.
        from: String,
        deadline: Time,
    },
    /// Of a query of this member.
    QueryAck {
        query: QueryId,
        from: String,
    },
    QueryResponse {
        query: QueryId,
        from: String,
        payload: Vec<u8>,
    },
    QueryDone {
        query: QueryId,
        outcome: QueryOutcome,
    },
    JoinDone {
        operation: Operation,
        contacted: usize,
        failures: Vec<JoinFailure>,
    },
    /// Tags, a removal: all members that can be were told, or not within the time for it.
    Told {
        operation: Operation,
        in_time: bool,
    },
    KeysDone {
        operation: Operation,
        report: KeyReport,
    },
    /// Keys have changed and should be written to the file of keys, the primary one first.
    KeysChanged,
    /// This member has left; nothing more comes from it.
    Left,
    /// Most members know this name at another address: this member should end.
    NameTaken {
        matching: usize,
        responses: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to join {address}: {reason}")]
pub struct JoinFailure {
    pub address: SocketAddr,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryOutcome {
    pub acks: usize,
    pub responses: usize,
    /// Alive members that the query was for and who said nothing.
    pub silent: Vec<String>,
    /// Before the deadline, because nobody was missing any more.
    pub early: bool,
}

/// What members answered to an order about keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyReport {
    pub members: usize,
    pub responses: usize,
    pub errors: usize,
    pub messages: BTreeMap<String, String>,
    /// How many have each key, which is in base64.
    pub keys: BTreeMap<Secret<String>, usize>,
    pub primary_keys: BTreeMap<Secret<String>, usize>,
}

impl KeyReport {
    /// What went wrong, in Serf's words.
    pub fn error(&self) -> Option<String> {
        if self.errors > 0 {
            Some(format!("{}/{} nodes reported failure", self.errors, self.members))
        } else if self.responses < self.members {
            Some(format!("{}/{} nodes reported success", self.responses, self.members))
        } else {
            None
        }
    }
}

/// Why a probe counts as failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Members that were asked to ping it too, of those who can say that it does not answer.
    pub helpers: u32,
    /// Those who said so. The others were not reached either: then this member may be the one that is cut off.
    pub without_answer: u32,
    /// What came of a ping by TCP, if one was tried.
    pub stream: Option<String>,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("it did not answer our ping")?;
        if self.helpers > 0 {
            write!(formatter, ", nor those of {} of {} others", self.without_answer, self.helpers)?;
        }
        match &self.stream {
            Some(reason) => write!(formatter, ", and by TCP: {reason}"),
            None => Ok(()),
        }
    }
}

/// Worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    #[error("a packet from {from} was refused")]
    Packet {
        from: SocketAddr,
        #[source]
        error: PacketError,
    },
    #[error("a stream with {peer} failed")]
    Stream {
        peer: SocketAddr,
        #[source]
        error: StreamError,
    },
    #[error("the state of {peer} was refused: {reason}")]
    Merge { peer: SocketAddr, reason: String },
    #[error("a ping for {name} came here from {from}")]
    ForeignPing { from: SocketAddr, name: String },
    #[error("{name} answers on streams but not to packets; is UDP blocked?")]
    StreamOnly { name: String },
    #[error("{name} is suspected: {evidence}")]
    Suspected { name: String, evidence: Evidence },
    /// `first`: until now nobody suspected it.
    #[error("{by} suspects {name}")]
    Accused { name: String, by: String, first: bool },
    #[error("{name} counts as failed, {confirmations} others confirmed it")]
    Failed { name: String, confirmations: usize },
    #[error("we had to say that we are alive: {from} took us for dead or suspects us")]
    Refuted { from: String },
    #[error("{name} is at {ours}, and claimed to be at {theirs}")]
    Conflict { name: String, ours: SocketAddr, theirs: SocketAddr },
    #[error("{waiting} messages wait in the queue of {queue}")]
    Queue { queue: &'static str, waiting: usize },
    #[error("more than {max} streams at once; the one from {peer} is refused")]
    Busy { peer: SocketAddr, max: usize },
}
