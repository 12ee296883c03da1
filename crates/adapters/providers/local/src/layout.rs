//! Where things are. A machine exists if and only if its folder `machines/ID` does.

use std::path::{Path, PathBuf};

use muster_types::MachineId;

/// Prefix of a machine's folder that is being made; found after a crash, it is removed.
const MAKING: &str = ".making-";
/// Prefix of a machine's folder that is being removed.
const REMOVING: &str = ".removing-";

/// The name of a scope that is unique on this machine: two people may both have a cluster `demo`. Sockets and cgroups
/// carry it.
pub fn scope_name(scope: &str, data: &Path) -> String {
    // FNV-1a, 64 bits: the same in every build, which std's hashers do not promise.
    let bytes = data.as_os_str().as_encoded_bytes();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{scope}-{:08x}", hash & 0xffff_ffff)
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    pub(crate) runtime: PathBuf,
    /// See `scope_name`.
    pub(crate) name: String,
}

impl Layout {
    pub(crate) fn new(scope: &str, data: &Path, runtime: &Path) -> Self {
        Self { data: data.to_owned(), runtime: runtime.to_owned(), name: scope_name(scope, data) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime.join(format!("{}.sock", self.name))
    }

    /// Held by the shepherd for as long as it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.data.join("shepherd.lock")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.data.join("shepherd.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("shepherd.log")
    }

    pub(crate) fn skeleton(&self) -> PathBuf {
        self.data.join("skeleton")
    }

    /// Folders that machines share.
    pub(crate) fn shared(&self) -> PathBuf {
        self.data.join("shared")
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.data.join("machines")
    }

    pub(crate) fn machine(&self, id: &MachineId) -> MachineFolder {
        MachineFolder(self.machines().join(id.as_str()))
    }

    pub(crate) fn making(&self, id: &MachineId) -> MachineFolder {
        MachineFolder(self.machines().join(format!("{MAKING}{id}")))
    }

    pub(crate) fn removing(&self, id: &MachineId) -> PathBuf {
        self.machines().join(format!("{REMOVING}{id}"))
    }

    /// Whether a folder's name is of something half made or half removed.
    pub(crate) fn is_left_over(name: &str) -> bool {
        name.starts_with(MAKING) || name.starts_with(REMOVING)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MachineFolder(pub(crate) PathBuf);

impl MachineFolder {
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("machine.json")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.0.join("hosts")
    }

    /// The FIFO that a node with systemd is heard on.
    pub(crate) fn ready(&self) -> PathBuf {
        self.0.join("ready")
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }
}
