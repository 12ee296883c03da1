//! What a run tells while it goes: the lines of `--jsonl`, and the rows of the event log.

use muster_types::{ClusterName, MachineId, NodeName, Phase, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agent::{LogStream, StepOutcome};

pub const EVENT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub v: u32,
    pub at: Timestamp,
    pub run: RunId,
    #[serde(flatten)]
    pub body: EventBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    RunStarted {
        cluster: ClusterName,
        command: String,
    },
    Planned {
        create: usize,
        start: usize,
        configure: usize,
        replace: usize,
        remove: usize,
        keep: usize,
    },
    /// Who began the run, and the hash of the plan that it carries out; empty where it has none.
    Ordered {
        by: String,
        plan: String,
    },
    /// What the plan has for a node, and why.
    Decided {
        node: NodeName,
        verb: String,
        reason: String,
        machine: Option<MachineId>,
    },
    /// The provider was given an order, and this came of it.
    Called {
        /// `destroy`, `create web-1 (TOKEN)`.
        order: String,
        node: Option<NodeName>,
        machine: Option<MachineId>,
        error: Option<String>,
        duration_ms: u64,
    },
    /// An image is being made; nodes that start from it wait.
    Image {
        image: String,
        /// `installing 34 packages`; empty when it is done.
        step: String,
        detail: String,
    },
    /// Written down before the provider is asked.
    Intent {
        node: NodeName,
        action: String,
        token: String,
    },
    /// The action's result was recorded.
    Recorded {
        node: NodeName,
        action: String,
    },
    Phase {
        node: NodeName,
        phase: Phase,
        /// What it waits for, in words; empty when it does not wait.
        waiting_for: String,
        /// Why it failed or changed.
        reason: String,
    },
    Step {
        node: NodeName,
        step: String,
        outcome: StepOutcome,
        index: usize,
        total: usize,
    },
    Output {
        node: NodeName,
        step: String,
        stream: LogStream,
        text: String,
    },
    Warning {
        node: Option<NodeName>,
        message: String,
    },
    Failed {
        node: Option<NodeName>,
        step: Option<String>,
        message: String,
        log: Vec<String>,
        hint: String,
    },
    /// The last of a run; `exit` is the exit code.
    RunFinished {
        exit: u8,
        ready: usize,
        total: usize,
        duration_ms: u64,
    },
}
