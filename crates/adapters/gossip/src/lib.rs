//! A member of a gossip over real sockets: UDP, TCP, timers, the snapshot file, figures.

mod driver;
mod handle;
mod metrics;
mod refusals;
mod snapshot;
mod sockets;
mod streams;

pub use driver::{Notice, Service, build};
pub use handle::{Answer, Answers, Handle, Joined, Stopped};
pub use metrics::{Metrics, Reason};
pub use snapshot::SnapshotFile;
pub use sockets::{BindError, Sockets};
