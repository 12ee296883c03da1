//! What the process that makes an image is told, and what it says: JSON over its standard input and output.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::apt::Apt;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) what: What,
    /// An empty folder to work in.
    pub(crate) work: PathBuf,
    /// How many bytes of memory to work in; on disk without it.
    pub(crate) memory: Option<u64>,
    /// Where the result is put; not there yet.
    pub(crate) target: PathBuf,
    /// Packages that were fetched before; what is fetched now is added.
    pub(crate) archives: PathBuf,
    /// Lists of packages of these sources, shared with other bakes under the lock beside it.
    pub(crate) lists: PathBuf,
    /// Fetch the lists also when those that are there are not old.
    pub(crate) refresh: bool,
    pub(crate) apt: Apt,
    /// Every line of output ends up here.
    pub(crate) log: PathBuf,
    /// Variables that say how to get out of this network.
    pub(crate) environment: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Base,
    Layer { base: PathBuf, packages: BTreeSet<String> },
}

/// One line of its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    Progress {
        step: String,
        detail: String,
    },
    Done {
        bytes: u64,
        /// The installed packages with their versions.
        content: String,
    },
    Failed(Trouble),
}

/// A failure, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) message: String,
    pub(crate) hint: String,
    /// Trying again may help.
    pub(crate) temporary: bool,
    /// There was no room in memory; on disk there may be.
    pub(crate) memory_full: bool,
}
