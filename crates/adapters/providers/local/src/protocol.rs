//! What the provider and the shepherd say to each other: one JSON line each way over a Unix socket.

use std::collections::BTreeSet;
use std::path::PathBuf;

use muster_provider::{Machine, Size, Tags};
use muster_types::{ClientToken, MachineId, NodeName, Redacted};
use serde::{Deserialize, Serialize};

use crate::settings::Init;

/// Longest line that is read; user-data is a few KiB.
pub(crate) const LINE_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CreateRequest {
    pub(crate) name: NodeName,
    pub(crate) token: ClientToken,
    pub(crate) tags: Tags,
    pub(crate) size: Size,
    /// What its root is stacked from, top first; empty for the machine's own programs.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) init: Init,
    pub(crate) shared_folders: BTreeSet<PathBuf>,
    pub(crate) user_data: Redacted<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    /// Answers once the machine runs or has failed.
    WaitRunning,
    Destroy,
    Start,
    Stop,
    Reboot,
    Pause,
    Resume,
    Kill,
    CutOff,
    Heal,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    List,
    Create(CreateRequest),
    Machine {
        verb: Verb,
        id: MachineId,
    },
    /// Ends the shepherd if it has no machine.
    Shutdown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    Machine(Machine),
    Machines(Vec<Machine>),
    NotFound,
    /// Machines are left, so the shepherd stays.
    Busy,
    Failed {
        message: String,
        hint: String,
    },
}

/// How a running shepherd is told from a process that has its old id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
}
