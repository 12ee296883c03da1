//! What templates may ask about the nodes of an infrastructure. The answers are handed in.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use muster_doc::Tree;

/// One machine of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The node's name.
    pub node: String,
    pub node_id: String,
    /// The provider's own id; empty as long as there is none.
    pub instance_id: String,
    /// The first is the one that others use. None yet: whoever asks waits for it.
    pub addresses: Vec<String>,
    /// The private or fixed one, if it is told apart.
    pub private_address: Option<String>,
    /// In Occopus' words: `ready`, `pending`, ….
    pub state: String,
    /// Its resource section, rendered, for templates that look into records.
    pub resource: Option<Tree>,
}

/// Answers about nodes. The same answers give the same result.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// Every node of the infrastructure, in the order of the file.
    fn nodes(&self) -> Vec<String>;

    /// The instances that a node has or will have, those that templates should prefer first.
    fn instances(&self, node: &str) -> Vec<Instance>;

    /// The text of a file that a container's template includes, relative to where Occopus would have been started.
    fn include(&self, _name: &str) -> Option<String> {
        None
    }

    /// Runs a command on the owner's machine for `cmd`, and gives what it writes.
    fn command(&self, _words: &[&str]) -> Result<String, String> {
        Err("no command is run on this machine for a template".to_owned())
    }
}

/// Stands where an address is not known yet; nothing that was rendered with it is used.
pub(crate) const PLACEHOLDER: &str = "0.0.0.0";

/// Instances whose addresses were wanted and are not there yet, by node id.
#[derive(Debug, Default)]
pub(crate) struct Missing(Mutex<BTreeSet<String>>);

impl Missing {
    pub(crate) fn note(&self, instance: &Instance) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.node_id.clone());
    }

    pub(crate) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
