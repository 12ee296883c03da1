//! Machines as providers tell of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_doc::Tree;
use muster_types::{ByteSize, ClientToken, MachineId, NodeName, Redacted, Timestamp};
use serde::{Deserialize, Serialize};

/// Labels that a machine carries; the ownership tag is one of them.
pub type Tags = BTreeMap<String, String>;

/// How large a machine is to be. A name is a provider's own type, such as `m5.large`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    pub name: Option<String>,
    pub memory: Option<ByteSize>,
    pub cpus: Option<f64>,
}

#[derive(Debug, Clone)]
pub struct MachineRequest {
    /// The host name, and the name that people see in the provider's lists.
    pub name: NodeName,
    pub token: ClientToken,
    pub tags: Tags,
    /// `None` is the provider's default.
    pub image: Option<String>,
    pub size: Size,
    /// Software that the machine is to start with. A provider with a bakery starts it from an image that was baked with
    /// just these; others leave it to the machine's configuration.
    pub packages: BTreeSet<String>,
    /// Folders whose content all machines of the scope that ask for them share.
    pub shared_folders: BTreeSet<PathBuf>,
    /// The group's own block for this provider, already checked.
    pub settings: Option<Tree>,
    /// What the machine's agent starts with (`muster_api::Bootstrap` as JSON). Holds no secret.
    pub user_data: Redacted<String>,
}

/// Machines of one kind that are about to be made or started.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineBatch {
    pub count: usize,
    /// As in `MachineRequest`, like the rest.
    pub image: Option<String>,
    pub size: Size,
    pub shared_folders: BTreeSet<PathBuf>,
    pub settings: Option<Tree>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    Creating,
    Running,
    Paused,
    Stopped,
    /// It will not run again without help; `detail` says why.
    Failed,
    Removing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub id: MachineId,
    pub name: NodeName,
    pub token: ClientToken,
    pub tags: Tags,
    pub state: MachineState,
    /// The first is the one that peers and owners use.
    pub addresses: Vec<IpAddr>,
    pub created_at: Timestamp,
    /// Why it is in this state, where the provider knows.
    pub detail: Option<String>,
}

/// What tests and the engine may expect of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    pub stop_start: bool,
    pub faults: bool,
    /// Machines may share folders (`MachineRequest::shared_folders`); a request with any is refused otherwise.
    pub shared_folders: bool,
    /// Machines at work at once that the provider takes without trouble.
    pub concurrency_max: usize,
    /// How long after a `create` was sent its machine may be missing from lists, whoever sent it: whoever must know
    /// that there is none looks for that long.
    pub visible_within: Duration,
}
