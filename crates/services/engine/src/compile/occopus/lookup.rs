//! What Occopus' templates may ask about the nodes of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use muster_occopus::{Instance, Lookup};
use muster_types::NodeName;

use super::Foreign;
use crate::compile::context::World;

/// The nodes of one rendering. By group, in the order of their numbers: the first stays the first while it is there.
#[derive(Debug)]
pub(super) struct Seen {
    nodes: Vec<String>,
    instances: BTreeMap<String, Vec<Instance>>,
}

impl Seen {
    pub(super) fn new(foreign: &Foreign, world: &World) -> Self {
        let mut instances: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for node in world.nodes() {
            let addresses: Vec<String> = node.addresses().iter().map(ToString::to_string).collect();
            // A node that others may ask for is there or will be: a word that changed again once it is ready would change
            // what they are given.
            let state = if addresses.is_empty() { "pending" } else { "ready" };
            instances.entry(node.group.to_string()).or_default().push(Instance {
                node: node.group.to_string(),
                node_id: foreign.node_id(&node.name),
                instance_id: node.name.to_string(),
                addresses,
                private_address: None,
                state: state.to_owned(),
                resource: None,
            });
        }
        let nodes = foreign.infrastructure.nodes.iter().map(|node| node.name.value.clone()).collect();
        Self { nodes, instances }
    }

    /// The names of nodes by their ids.
    pub(super) fn names(&self, ids: &BTreeSet<String>) -> BTreeSet<NodeName> {
        let all = self.instances.values().flatten();
        let wanted = all.filter(|instance| ids.contains(&instance.node_id));
        wanted.filter_map(|instance| NodeName::new(instance.instance_id.as_str()).ok()).collect()
    }
}

impl Lookup for Seen {
    fn nodes(&self) -> Vec<String> {
        self.nodes.clone()
    }

    fn instances(&self, node: &str) -> Vec<Instance> {
        self.instances.get(node).cloned().unwrap_or_default()
    }
}
