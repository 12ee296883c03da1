//! What is to happen later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Time;
use crate::output::{Operation, QueryId, StreamId};

#[derive(Debug, Clone)]
pub(super) enum Timer {
    Probe,
    /// The direct answer to a probe did not come.
    ProbeTimeout(u32),
    ProbeEnd(u32),
    /// A ping for somebody else was not answered.
    Relayed(u32),
    Suspicion(Arc<str>),
    Gossip,
    Fresh,
    PushPull,
    SecondSync,
    Stream(StreamId),
    Reap,
    Reconnect,
    QueueCheck,
    /// The deadline of a query of ours.
    Query(QueryId),
    /// The deadline of a query of somebody.
    Answering(QueryId),
    Told(Operation),
    Leave(LeaveStep),
    Coalesce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeaveStep {
    /// Members heard that we want to leave, or there was no more time for it.
    Intended,
    /// Members heard that we are gone.
    Announced,
    /// What was left to say is said.
    Done,
}

/// Nothing is cancelled: a timer that fires for something that is over does nothing.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: BTreeMap<(Time, u64), Timer>,
    count: u64,
}

impl Timers {
    pub(super) fn arm(&mut self, at: Time, timer: Timer) {
        self.armed.insert((at, self.count), timer);
        self.count += 1;
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.armed.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn due(&mut self, now: Time) -> Option<Timer> {
        let (at, _) = self.armed.first_key_value()?.0;
        if *at <= now { self.armed.pop_first().map(|(_, timer)| timer) } else { None }
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }
}
