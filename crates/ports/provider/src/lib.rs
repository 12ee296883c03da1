//! What a place that machines come from can do. Providers know machines, not clusters.
//!
//! The contract in words: `list` is the truth. `create` with a client token that a listed machine carries returns that
//! machine and makes none. `destroy`, `start` and `stop` of what is already so succeed. An error says whether trying
//! again can help. Every provider passes the contract suite (`contract`).

mod bakery;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod finding;
mod types;

pub use bakery::{BakeProgress, BakeRequest, BakedImage, Bakery, BakeryContext, ImageId};
pub use error::{ProviderError, Status};
pub use finding::{Finding, Verdict};
pub use types::{Capabilities, Machine, MachineBatch, MachineRequest, MachineState, Size, Tags};

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use muster_doc::{Diagnostic, Tree};
use muster_types::MachineId;
use tokio::net::TcpStream;

/// One line of the registry: how a provider is named, checked and opened.
#[async_trait]
pub trait Factory: Send + Sync {
    fn name(&self) -> &'static str;

    /// Checks the provider's block of a cluster file and, the same way, the block of a group. All mistakes at once.
    fn check(&self, block: Option<&Tree>) -> Vec<Diagnostic>;

    /// The names of its images where they are few and known beforehand.
    fn images(&self) -> Option<&[&str]> {
        None
    }

    /// Whether this process may make machines here; asked before anything is made.
    fn permitted(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    /// What this machine can and cannot do for its machines. Changes nothing; `state` need not exist yet.
    fn examine(&self, _state: &Path, _images: &BakeryContext) -> Result<Vec<Finding>, ProviderError> {
        Ok(Vec::new())
    }

    async fn open(&self, context: OpenContext) -> Result<Arc<dyn Provider>, ProviderError>;

    /// The one who makes this provider's images; `None` where they come from elsewhere. Needs no cluster.
    fn bakery(&self, _context: BakeryContext) -> Result<Option<Arc<dyn Bakery>>, ProviderError> {
        Ok(None)
    }
}

/// What a provider is opened with.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// Names what is shared by the machines of one owner, such as a network; also the folder below.
    pub scope: String,
    /// A folder of the provider's own for this scope; made on demand, 0700.
    pub data_dir: PathBuf,
    /// A folder for sockets and the like that do not outlive a reboot.
    pub runtime_dir: PathBuf,
    /// The provider's block of the cluster file, already checked.
    pub settings: Option<Tree>,
    /// Where images are kept, for all scopes of this owner.
    pub images: BakeryContext,
}

#[async_trait]
pub trait Provider: Send + Sync {
    fn capabilities(&self) -> Capabilities;

    /// Every machine that carries all of `tags`, whatever its state.
    async fn list(&self, tags: &Tags) -> Result<Vec<Machine>, ProviderError>;

    /// Whether so many machines more can run here, next to those that do; asked before the first of them is made. An
    /// error says what is short, with figures, and what to do about it.
    async fn preflight(&self, _wanted: &[MachineBatch]) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Asks for a machine. Returns once the provider has taken the order; the machine may still be starting.
    async fn create(&self, request: &MachineRequest) -> Result<Machine, ProviderError>;

    /// Returns once the machine runs and its address can be dialled, or has failed. An event where the provider has
    /// events; a provider without them waits inside, with backoff.
    async fn wait_running(&self, id: &MachineId) -> Result<Machine, ProviderError>;

    /// Removes the machine and all its data. Returns once the provider lists it no more.
    async fn destroy(&self, id: &MachineId) -> Result<(), ProviderError>;

    async fn start(&self, id: &MachineId) -> Result<(), ProviderError>;

    /// Stops the machine and keeps its data.
    async fn stop(&self, id: &MachineId) -> Result<(), ProviderError>;

    async fn reboot(&self, id: &MachineId) -> Result<(), ProviderError>;

    /// How to reach what listens on a machine.
    fn dialer(&self) -> Arc<dyn Dialer>;

    /// The machine's console, as far as it is kept: the last `lines` lines.
    async fn console(&self, id: &MachineId, lines: usize) -> Result<Vec<String>, ProviderError>;

    /// Faults on purpose, for tests; not every provider can.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }

    /// The one who makes the images that this provider's machines start from. A provider without one takes images as
    /// they are, and the node installs its packages itself.
    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        None
    }

    /// Releases what machines share (a network, a helper process) once none is left. Idempotent.
    async fn release(&self) -> Result<(), ProviderError>;
}

/// Connects to addresses that may only exist inside the provider's network.
#[async_trait]
pub trait Dialer: Send + Sync {
    async fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream>;

    /// One ICMP echo; returns when the answer is there. The caller sets the time limit.
    async fn ping(&self, address: IpAddr) -> std::io::Result<()>;
}

#[async_trait]
pub trait Faults: Send + Sync {
    /// Freezes every process of the machine; it looks hung.
    async fn pause(&self, id: &MachineId) -> Result<(), ProviderError>;

    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError>;

    /// Ends the machine as a power failure would.
    async fn kill(&self, id: &MachineId) -> Result<(), ProviderError>;

    /// Takes the machine off the network.
    async fn cut_off(&self, id: &MachineId) -> Result<(), ProviderError>;

    /// Undoes `cut_off`.
    async fn heal(&self, id: &MachineId) -> Result<(), ProviderError>;
}
