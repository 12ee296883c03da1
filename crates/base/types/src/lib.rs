//! Ids, names and quantities that every crate speaks of. No I/O, few dependencies.

mod ids;
mod names;
mod natural;
mod nodeset;
mod phase;
mod redacted;
mod size;

pub use ids::{ClientToken, Generation, MachineId, RunId};
pub use jiff::{SignedDuration, Timestamp};
pub use names::{ClusterName, GroupName, NameError, NodeName};
pub use natural::natural_order;
pub use nodeset::{Candidate, NODE_SET_NAMES_MAX, NodeSet, NodeSetError, Unknown, fold, fold_names, split_cluster};
pub use phase::Phase;
pub use redacted::Redacted;
pub use size::{ByteSize, ByteSizeError};
