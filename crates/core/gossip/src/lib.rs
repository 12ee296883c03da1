//! Gossip that real Serf agents take for one of theirs. Pure: packets, streams, time and randomness are handed in.

pub mod config;
pub mod filter;
pub mod snapshot;
pub mod wire;

mod coalesce;
mod coordinate;
mod gossip;
mod lamport;
mod members;
mod output;
mod peers;
mod queue;
mod suspicion;

pub use config::{Coalescing, Config, Resume, SerfSettings, Timing, Tuning};
pub use coordinate::Coordinate;
pub use filter::Filter;
pub use gossip::{
    ConfigError, EventError, Gossip, JoinOptions, KeyOperation, Phase, QueryError, QueryRequest, RemoveError,
    RespondError, Stats,
};
pub use members::{Member, Status};
pub use output::{
    Event, Evidence, JoinFailure, KeyReport, MemberEvent, Operation, Output, QueryId, QueryOutcome, StreamId, Warning,
};
pub use peers::{Peer, PeerState, Versions};

/// Since any start; it must not go back.
pub type Time = std::time::Duration;
