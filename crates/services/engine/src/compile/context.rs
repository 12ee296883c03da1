//! What templates see: `cluster`, `provider`, `vars`, `node`, `group`, `groups`, `nodes` and the functions.
//!
//! An address that is not known yet yields a placeholder and is noted, so that one rendering finds all that it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use muster_doc::template::{Enumerator, Object, Value};
use muster_types::{GroupName, NodeName};

use super::{Members, functions};

/// Stands where an address is not known yet; nothing that was rendered with it is used.
pub(super) const PLACEHOLDER: &str = "0.0.0.0";

/// The nodes whose addresses were wanted and not there.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<BTreeSet<NodeName>>);

impl Missing {
    fn note(&self, name: &NodeName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
    }

    pub(super) fn take(&self) -> BTreeSet<NodeName> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A node as templates see it.
#[derive(Debug)]
pub(super) struct NodeValue {
    pub(super) name: NodeName,
    pub(super) group: GroupName,
    addresses: Vec<IpAddr>,
    missing: Arc<Missing>,
}

const NODE_KEYS: &[&str] = &["name", "group", "index", "address", "addresses"];

impl NodeValue {
    /// The address that peers use.
    pub(super) fn address(&self) -> Value {
        self.pick(self.addresses.first())
    }

    /// The last address: providers that give several list the public ones first.
    pub(super) fn private_address(&self) -> Value {
        self.pick(self.addresses.last())
    }

    fn pick(&self, address: Option<&IpAddr>) -> Value {
        match address {
            Some(address) => Value::from(address.to_string()),
            None => {
                self.missing.note(&self.name);
                Value::from(PLACEHOLDER)
            }
        }
    }

    fn all(&self) -> Value {
        if self.addresses.is_empty() {
            return [self.address()].into_iter().collect();
        }
        self.addresses.iter().map(|address| Value::from(address.to_string())).collect()
    }
}

impl Object for NodeValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "name" => Some(Value::from(self.name.as_str())),
            "group" => Some(Value::from(self.group.as_str())),
            "index" => Some(Value::from(self.name.index().unwrap_or_default())),
            "address" => Some(self.address()),
            "addresses" => Some(self.all()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(NODE_KEYS)
    }
}

/// A group as templates see it.
#[derive(Debug)]
pub(super) struct GroupValue {
    name: GroupName,
    pub(super) nodes: Vec<Arc<NodeValue>>,
    ports: Arc<[u16]>,
}

const GROUP_KEYS: &[&str] = &["name", "count", "nodes", "ports"];

impl Object for GroupValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "name" => Some(Value::from(self.name.as_str())),
            "count" => Some(Value::from(self.nodes.len())),
            "nodes" => Some(list(&self.nodes)),
            "ports" => Some(self.ports.iter().copied().map(Value::from).collect()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(GROUP_KEYS)
    }
}

fn list(nodes: &[Arc<NodeValue>]) -> Value {
    nodes.iter().map(|node| Value::from_dyn_object(Arc::clone(node))).collect()
}

/// All groups and nodes, as of one rendering.
#[derive(Debug)]
pub(super) struct World {
    groups: BTreeMap<GroupName, Arc<GroupValue>>,
    /// In the order of the file, and of a group by number.
    nodes: Vec<Arc<NodeValue>>,
    pub(super) missing: Arc<Missing>,
}

impl World {
    /// `groups` in the order of the file, with the ports they listen on.
    pub(super) fn new<'a>(groups: impl Iterator<Item = (&'a GroupName, &'a Arc<[u16]>)>, members: &Members) -> Self {
        let missing = Arc::new(Missing::default());
        let mut of_group: BTreeMap<&GroupName, Vec<Arc<NodeValue>>> = BTreeMap::new();
        for (name, member) in &members.0 {
            of_group.entry(&member.group).or_default().push(Arc::new(NodeValue {
                name: name.clone(),
                group: member.group.clone(),
                addresses: member.addresses.clone(),
                missing: Arc::clone(&missing),
            }));
        }
        let mut world = Self { groups: BTreeMap::new(), nodes: Vec::with_capacity(members.0.len()), missing };
        for (name, ports) in groups {
            let mut nodes = of_group.remove(name).unwrap_or_default();
            nodes.sort_by_key(|node| node.name.index());
            world.nodes.extend(nodes.iter().cloned());
            let group = GroupValue { name: name.clone(), nodes, ports: Arc::clone(ports) };
            world.groups.insert(name.clone(), Arc::new(group));
        }
        world
    }

    pub(super) fn group(&self, name: &str) -> Option<&Arc<GroupValue>> {
        self.groups.get(&GroupName::new(name).ok()?)
    }

    pub(super) fn node(&self, name: &str) -> Option<&Arc<NodeValue>> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let groups = self.groups.keys().map(GroupName::as_str);
        groups.chain(self.nodes.iter().map(|node| node.name.as_str())).collect()
    }
}

/// What one template sees.
pub(super) struct Scope {
    pub(super) cluster: Value,
    pub(super) provider: Value,
    pub(super) vars: Value,
    /// Not there where machines are described: they are alike for all nodes of a group.
    pub(super) node: Option<Arc<NodeValue>>,
    pub(super) group: Option<Arc<GroupValue>>,
    pub(super) world: Arc<World>,
}

const SCOPE_KEYS: &[&str] = &["cluster", "provider", "vars", "node", "group", "groups", "nodes"];

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "cluster" => Some(self.cluster.clone()),
            "provider" => Some(self.provider.clone()),
            "vars" => Some(self.vars.clone()),
            "node" => self.node.clone().map(Value::from_dyn_object),
            "group" => self.group.clone().map(Value::from_dyn_object),
            "groups" => {
                let groups = self.world.groups.iter();
                Some(Value::from_pairs(
                    groups.map(|(name, group)| (name.as_str(), Value::from_dyn_object(Arc::clone(group)))),
                ))
            }
            "nodes" => Some(list(&self.world.nodes)),
            _ => functions::find(key, &self.world),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(SCOPE_KEYS)
    }
}
