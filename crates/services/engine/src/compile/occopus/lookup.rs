//! What Occopus' templates may ask about the nodes of a cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_occopus::{Instance, Lookup};
use muster_types::NodeName;

use super::{Foreign, Ids};
use crate::compile::context::{NodeValue, World};

/// The nodes of one rendering. By group, in the order of their numbers: the first stays the first while it is there.
#[derive(Debug)]
pub(super) struct Seen {
    groups: Vec<String>,
    nodes: Vec<Arc<NodeValue>>,
    ids: Arc<Ids>,
}

impl Seen {
    pub(super) fn new(foreign: &Foreign, world: &World) -> Self {
        let groups = foreign.infrastructure.nodes.iter().map(|node| node.name.value.clone()).collect();
        Self { groups, nodes: world.nodes().to_vec(), ids: Arc::clone(&foreign.ids) }
    }

    /// The names of nodes by their ids.
    pub(super) fn names(&self, ids: &BTreeSet<String>) -> BTreeSet<NodeName> {
        let wanted = self.nodes.iter().filter(|node| ids.contains(&self.ids.of(&node.name)));
        wanted.map(|node| node.name.clone()).collect()
    }

    fn instance(&self, node: &NodeValue) -> Instance {
        let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
        // A node that others may ask for is there or will be: a word that changed again once it is ready would change
        // what they are given.
        let state = if addresses.is_empty() { "pending" } else { "ready" };
        Instance {
            node: node.group.to_string(),
            node_id: self.ids.of(&node.name),
            instance_id: node.name.to_string(),
            addresses,
            private_address: None,
            state: state.to_owned(),
            resource: None,
        }
    }
}

impl Lookup for Seen {
    fn nodes(&self) -> Vec<String> {
        self.groups.clone()
    }

    fn instances(&self, node: &str) -> Vec<Instance> {
        let of_group = self.nodes.iter().filter(|other| other.group.as_str() == node);
        of_group.map(|node| self.instance(node)).collect()
    }
}
