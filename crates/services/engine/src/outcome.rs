//! What became of a run: every node accounted for.

use std::net::IpAddr;
use std::time::Duration;

use muster_plan::Verb;
use muster_types::{ClusterName, GroupName, MachineId, NodeName, Phase, RunId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything is as asked.
    Done,
    /// Some nodes are, some are not.
    Partly,
    /// No node is.
    Failed,
    /// No node is, and time was all that was lacking.
    TimedOut,
    Interrupted,
}

impl Exit {
    /// The exit code of the program.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Partly => 3,
            Self::TimedOut => 4,
            Self::Interrupted => 130,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOutcome {
    pub name: NodeName,
    pub group: GroupName,
    /// What was done to it: `keep` where the plan had something for it and nothing came of it.
    pub verb: Verb,
    /// Why; empty for a node that was kept.
    pub why: String,
    pub phase: Phase,
    /// Why it is not ready; empty when it is.
    pub reason: String,
    /// The configuration step or check that failed.
    pub step: Option<String>,
    /// The last lines that it said.
    pub log: Vec<String>,
    pub hint: String,
    pub machine: Option<MachineId>,
    pub addresses: Vec<IpAddr>,
    /// Configuration steps that were run.
    pub changed: usize,
    pub took: Duration,
    pub timed_out: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub cluster: ClusterName,
    pub run: RunId,
    /// The nodes that should be; for `down`, those whose removal failed. In the order of the plan.
    pub nodes: Vec<NodeOutcome>,
    /// Nodes that are gone, as asked.
    pub removed: Vec<NodeName>,
    /// Nodes that were neither asked for nor touched; they are not told of.
    pub untouched: usize,
    /// What should be gone and is not, in words.
    pub leftovers: Vec<String>,
    pub exit: Exit,
    pub took: Duration,
}

/// How many nodes of a run became as asked, by what was done to them; the rest failed or were not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub created: usize,
    pub started: usize,
    pub configured: usize,
    pub replaced: usize,
    pub removed: usize,
    pub kept: usize,
}

impl Counts {
    /// Nodes that something was done to.
    pub fn touched(&self) -> usize {
        self.created + self.started + self.configured + self.replaced + self.removed
    }
}

impl Outcome {
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { removed: self.removed.len(), ..Counts::default() };
        for node in self.nodes.iter().filter(|node| node.phase == Phase::Ready) {
            let count = match node.verb {
                Verb::Keep => &mut counts.kept,
                Verb::Create => &mut counts.created,
                Verb::Start => &mut counts.started,
                Verb::Configure => &mut counts.configured,
                Verb::Replace => &mut counts.replaced,
                // One that is ready was not removed.
                Verb::Remove => continue,
            };
            *count += 1;
        }
        counts
    }

    pub fn ready(&self) -> usize {
        self.nodes.iter().filter(|node| node.phase == Phase::Ready).count()
    }

    pub fn total(&self) -> usize {
        self.nodes.len()
    }
}

/// The exit of a run that was to bring nodes to this phase.
pub(crate) fn exit_as(nodes: &[NodeOutcome], aim: Phase) -> Exit {
    let there = nodes.iter().filter(|node| node.phase == aim).count();
    if there == nodes.len() {
        Exit::Done
    } else if there > 0 {
        Exit::Partly
    } else if nodes.iter().all(|node| node.timed_out) {
        Exit::TimedOut
    } else {
        Exit::Failed
    }
}

/// The exit of a run that went to its end.
pub(crate) fn exit_of(nodes: &[NodeOutcome], removed: usize, leftovers: usize) -> Exit {
    let ready = nodes.iter().filter(|node| node.phase == Phase::Ready).count();
    let failed: Vec<&NodeOutcome> = nodes.iter().filter(|node| node.phase == Phase::Failed).collect();
    if ready == nodes.len() && leftovers == 0 {
        Exit::Done
    } else if ready + removed > 0 {
        Exit::Partly
    } else if !failed.is_empty() && failed.iter().all(|node| node.timed_out) {
        Exit::TimedOut
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(phase: Phase, timed_out: bool) -> NodeOutcome {
        NodeOutcome {
            name: NodeName::new("web-1").unwrap(),
            group: GroupName::new("web").unwrap(),
            verb: Verb::Create,
            why: String::new(),
            phase,
            reason: String::new(),
            step: None,
            log: Vec::new(),
            hint: String::new(),
            machine: None,
            addresses: Vec::new(),
            changed: 0,
            took: Duration::ZERO,
            timed_out,
        }
    }

    #[test]
    fn the_exit_says_how_much_was_done_and_what_was_lacking() {
        let ready = || node(Phase::Ready, false);
        let failed = || node(Phase::Failed, false);
        let late = || node(Phase::Failed, true);
        let planned = || node(Phase::Planned, false);
        assert_eq!(exit_of(&[], 0, 0), Exit::Done);
        assert_eq!(exit_of(&[ready(), ready()], 3, 0), Exit::Done);
        assert_eq!(exit_of(&[ready()], 0, 1), Exit::Partly);
        assert_eq!(exit_of(&[ready(), late()], 0, 0), Exit::Partly);
        assert_eq!(exit_of(&[failed()], 1, 0), Exit::Partly);
        assert_eq!(exit_of(&[failed(), late()], 0, 0), Exit::Failed);
        assert_eq!(exit_of(&[late(), planned()], 0, 0), Exit::TimedOut);
        assert_eq!(exit_of(&[], 0, 2), Exit::Failed);
    }
}
