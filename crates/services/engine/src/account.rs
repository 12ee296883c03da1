//! What became of one node.

use muster_plan::Verb;
use muster_types::Phase;

use crate::fault::Fault;
use crate::node::NodeRun;
use crate::outcome::NodeOutcome;

impl NodeRun<'_> {
    pub(crate) fn outcome(&self, phase: Phase, fault: Fault) -> NodeOutcome {
        let addresses = match &self.machine {
            Some(machine) => machine.addresses.clone(),
            None => self.record.addresses.clone(),
        };
        NodeOutcome {
            name: self.name().clone(),
            group: self.action.group.clone(),
            verb: self.verb(),
            why: self.why(),
            phase,
            reason: fault.reason,
            step: fault.step,
            log: fault.log,
            hint: fault.hint,
            machine: self.machine.as_ref().map(|machine| machine.id.clone()).or_else(|| self.record.machine.clone()),
            addresses,
            changed: self.changed,
            took: if phase == Phase::Ready { self.ready_after } else { self.begun.elapsed() },
            timed_out: fault.timed_out,
        }
    }

    /// What became of the plan: a node that follows others is touched when they make it so.
    fn verb(&self) -> Verb {
        match self.action.verb {
            Verb::Keep if self.applied > 0 => Verb::Configure,
            Verb::Configure if self.action.follows && self.applied == 0 => Verb::Keep,
            verb => verb,
        }
    }

    /// Why it was touched.
    fn why(&self) -> String {
        match (self.verb(), self.action.verb) {
            (Verb::Keep, _) => String::new(),
            (_, Verb::Keep) => "its files speak of nodes that have changed".to_owned(),
            _ => self.action.reason.clone(),
        }
    }
}
