//! Where a node is in its life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The phases that people and programs see. Documented in the README; names are part of the JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// In the file, not yet asked for.
    Planned,
    /// The provider was asked for it.
    Creating,
    /// The machine exists and is starting.
    Booting,
    /// Its agent is being enrolled.
    Joining,
    /// Its agent applies the configuration.
    Configuring,
    /// Health checks run.
    Checking,
    /// Joined, configured, and every health check passed.
    Ready,
    /// Something went wrong; the reason is recorded.
    Failed,
    /// The machine exists and does not run.
    Stopped,
    /// Its work is being moved away.
    Draining,
    /// It is being removed.
    Removing,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Creating => "creating",
            Self::Booting => "booting",
            Self::Joining => "joining",
            Self::Configuring => "configuring",
            Self::Checking => "checking",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Draining => "draining",
            Self::Removing => "removing",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
