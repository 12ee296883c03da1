//! Where muster keeps things: the XDG directories.

use std::path::{Path, PathBuf};

use muster_provider::BakeryContext;
use muster_types::ClusterName;

use crate::error::Failure;

#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// State of all clusters; private.
    pub(crate) state: PathBuf,
    /// Sockets; gone after a reboot.
    pub(crate) runtime: PathBuf,
    /// Images that nodes start from.
    images: PathBuf,
    /// What can be fetched again.
    cache: PathBuf,
}

impl Paths {
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let root = nix::unistd::geteuid().is_root();
        let home = absolute("HOME").or_else(|| root.then(|| PathBuf::from("/root")));
        let state = absolute("XDG_STATE_HOME").or_else(|| home.as_ref().map(|home| home.join(".local/state")));
        let state = state.ok_or_else(|| {
            Failure::usage("there is no place for the state", "set HOME or XDG_STATE_HOME to a folder of yours")
        })?;
        let runtime =
            absolute("XDG_RUNTIME_DIR").unwrap_or_else(|| if root { PathBuf::from("/run") } else { state.join("run") });
        let cache = absolute("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
        let state = state.join("muster");
        Ok(Self {
            runtime: runtime.join("muster"),
            images: absolute("MUSTER_IMAGES").unwrap_or_else(|| state.join("images")),
            cache: cache.map_or_else(|| state.join("cache"), |cache| cache.join("muster")),
            state,
        })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state.join("muster.db")
    }

    pub(crate) fn cluster(&self, name: &ClusterName) -> PathBuf {
        self.state.join("clusters").join(name.as_str())
    }

    pub(crate) fn pki(&self, name: &ClusterName) -> PathBuf {
        self.cluster(name).join("pki")
    }

    pub(crate) fn images(&self) -> BakeryContext {
        BakeryContext { images_dir: self.images.clone(), cache_dir: self.cache.clone() }
    }

    pub(crate) fn provider(&self, name: &ClusterName, provider: &str) -> PathBuf {
        self.cluster(name).join(provider)
    }
}

/// The file of the current folder that commands read when none is named.
pub(crate) const DEFAULT_FILE: &str = "cluster.yaml";

pub(crate) fn default_file() -> Option<&'static Path> {
    Some(Path::new(DEFAULT_FILE)).filter(|path| path.is_file())
}
