//! What was asked of the fake, in order.

use std::collections::BTreeMap;

use muster_types::{ClientToken, MachineId, NodeName};

use super::fault::Operation;
use crate::Status;

/// Calls recorded at most; a test that makes more has a loop that does not end.
const CALLS_MAX: usize = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which handle asked, counted from 1.
    pub handle: u32,
    pub operation: Operation,
    pub machine: Option<MachineId>,
    pub name: Option<NodeName>,
    /// Of `Create` only.
    pub token: Option<ClientToken>,
    pub outcome: CallOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It has not come back; it never will if its handle died or its caller went away.
    Open,
    Answered,
    /// Nothing happened.
    Refused(Status),
    /// It happened, and the caller was told otherwise.
    ReplyLost,
}

/// How many calls of one operation are and were going on at once.
#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    now: usize,
    most: usize,
}

#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: Vec<Call>,
    gauges: BTreeMap<Operation, Gauge>,
}

impl CallLog {
    /// Returns the place of the call in the log.
    pub(super) fn begin(&mut self, call: Call) -> usize {
        assert!(self.calls.len() < CALLS_MAX, "more than {CALLS_MAX} calls to a fake provider");
        let gauge = self.gauges.entry(call.operation).or_default();
        gauge.now += 1;
        gauge.most = gauge.most.max(gauge.now);
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// The call is over, with whatever outcome was noted.
    pub(super) fn end(&mut self, place: usize) {
        let operation = self.calls[place].operation;
        self.gauges.entry(operation).or_default().now -= 1;
    }

    pub(super) fn note(&mut self, place: usize, outcome: CallOutcome) {
        self.calls[place].outcome = outcome;
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.calls.clone()
    }

    pub(super) fn most_at_once(&self, operation: Operation) -> usize {
        self.gauges.get(&operation).map_or(0, |gauge| gauge.most)
    }
}
