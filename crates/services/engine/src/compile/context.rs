//! What templates see: `cluster`, `provider`, `vars`, `secrets`, `node`, `group`, `groups`, `nodes` and the functions.
//!
//! What is not known yet of a node, an address or a fact, yields a placeholder and is noted, so that one rendering finds
//! all that it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use muster_api::NodeFacts;
use muster_doc::template::{Enumerator, Object, Value};
use muster_spec::RecipeRef;
use muster_types::{GroupName, NodeName};

use super::occopus::node_id;
use super::{Member, Members, functions};

/// Stands where an address is not known yet; nothing that was rendered with it is used.
pub(super) const PLACEHOLDER: &str = "0.0.0.0";

/// What a rendering asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Nodes whose address or facts were wanted and not there.
    pub(super) missing: BTreeSet<NodeName>,
    /// Whether nodes were asked for as far as they have joined.
    pub(super) follows: bool,
    /// Those that have not, of the groups that were asked for so.
    pub(super) left_out: BTreeSet<NodeName>,
}

#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Asked>);

impl Notes {
    pub(super) fn missing(&self, name: &NodeName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).missing.insert(name.clone());
    }

    fn follows(&self, left_out: impl Iterator<Item = NodeName>) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.follows = true;
        asked.left_out.extend(left_out);
    }

    pub(super) fn take(&self) -> Asked {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A node as templates see it.
#[derive(Debug)]
pub(super) struct NodeValue {
    pub(super) name: NodeName,
    pub(super) group: GroupName,
    addresses: Vec<IpAddr>,
    facts: Option<NodeFacts>,
    /// Of the cluster: the node's own is made from it.
    cluster_id: Arc<str>,
    notes: Arc<Notes>,
}

const NODE_KEYS: &[&str] = &["name", "group", "index", "id", "address", "addresses", "facts"];

impl NodeValue {
    pub(super) fn new(name: NodeName, member: &Member, cluster_id: Arc<str>, notes: Arc<Notes>) -> Self {
        let Member { group, addresses, facts } = member.clone();
        Self { name, group, addresses, facts, cluster_id, notes }
    }

    /// Whether everything that templates may ask of it is known.
    pub(super) fn has_joined(&self) -> bool {
        !self.addresses.is_empty() && self.facts.is_some()
    }

    /// The first is the one that peers use.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

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
                self.notes.missing(&self.name);
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
            "id" => Some(Value::from(node_id(&self.cluster_id, &self.name))),
            "address" => Some(self.address()),
            "addresses" => Some(self.all()),
            "facts" => Some(Value::from_object(FactsValue(Arc::clone(self)))),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(NODE_KEYS)
    }
}

/// What a node said of itself. Asking for one of them waits until it has.
#[derive(Debug)]
struct FactsValue(Arc<NodeValue>);

const FACT_KEYS: &[&str] = &["cpus", "memory_mb", "memory_bytes", "architecture"];

impl Object for FactsValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let placeholder = NodeFacts::default();
        let pick = |of: fn(&NodeFacts) -> Value| {
            let facts = self.0.facts.as_ref().unwrap_or_else(|| {
                self.0.notes.missing(&self.0.name);
                &placeholder
            });
            Some(of(facts))
        };
        match key {
            "cpus" => pick(|facts| Value::from(facts.cpus)),
            "memory_mb" => pick(|facts| Value::from(facts.memory_bytes >> 20)),
            "memory_bytes" => pick(|facts| Value::from(facts.memory_bytes)),
            "architecture" => pick(|facts| Value::from(facts.architecture.as_str())),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(FACT_KEYS)
    }
}

/// A group as templates see it.
#[derive(Debug)]
pub(super) struct GroupValue {
    name: GroupName,
    pub(super) nodes: Vec<Arc<NodeValue>>,
    ports: Arc<[u16]>,
    recipe: Option<RecipeRef>,
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

pub(super) fn list(nodes: &[Arc<NodeValue>]) -> Value {
    nodes.iter().map(|node| Value::from_dyn_object(Arc::clone(node))).collect()
}

/// All groups and nodes, as of one rendering.
#[derive(Debug)]
pub(super) struct World {
    /// In the order of the file.
    groups: Vec<Arc<GroupValue>>,
    /// In the order of the file, and of a group by number.
    nodes: Vec<Arc<NodeValue>>,
    pub(super) cluster_id: Arc<str>,
    pub(super) notes: Arc<Notes>,
}

/// What the file says of a group.
pub(super) struct GroupFrame<'a> {
    pub(super) name: &'a GroupName,
    pub(super) ports: &'a Arc<[u16]>,
    pub(super) recipe: Option<&'a RecipeRef>,
}

impl World {
    /// `groups` in the order of the file.
    pub(super) fn new<'a>(groups: impl Iterator<Item = GroupFrame<'a>>, members: &Members, cluster_id: &str) -> Self {
        let cluster_id: Arc<str> = cluster_id.into();
        let notes = Arc::new(Notes::default());
        let mut of_group: BTreeMap<&GroupName, Vec<Arc<NodeValue>>> = BTreeMap::new();
        for (name, member) in &members.0 {
            let node = NodeValue::new(name.clone(), member, Arc::clone(&cluster_id), Arc::clone(&notes));
            of_group.entry(&member.group).or_default().push(Arc::new(node));
        }
        let mut world = Self { groups: Vec::new(), nodes: Vec::with_capacity(members.0.len()), cluster_id, notes };
        for GroupFrame { name, ports, recipe } in groups {
            let mut nodes = of_group.remove(name).unwrap_or_default();
            nodes.sort_by_key(|node| node.name.index());
            world.nodes.extend(nodes.iter().cloned());
            let (name, ports, recipe) = (name.clone(), Arc::clone(ports), recipe.cloned());
            world.groups.push(Arc::new(GroupValue { name, nodes, ports, recipe }));
        }
        world
    }

    /// In the order of the file, and of a group by number.
    pub(super) fn nodes(&self) -> &[Arc<NodeValue>] {
        &self.nodes
    }

    /// The nodes of these groups that have joined. Whoever asks follows them.
    pub(super) fn joined(&self, groups: &[Arc<GroupValue>]) -> Vec<Arc<NodeValue>> {
        let nodes = groups.iter().flat_map(|group| &group.nodes);
        let (joined, others): (Vec<_>, Vec<_>) = nodes.cloned().partition(|node| node.has_joined());
        self.notes.follows(others.iter().map(|node| node.name.clone()));
        joined
    }

    /// The groups with a role of a recipe.
    pub(super) fn of_role(&self, recipe: &str, role: &str) -> Vec<Arc<GroupValue>> {
        let fits = |of: &RecipeRef| of.name == recipe && of.role.as_deref() == Some(role);
        self.groups.iter().filter(|group| group.recipe.as_ref().is_some_and(fits)).cloned().collect()
    }

    pub(super) fn group(&self, name: &str) -> Option<&Arc<GroupValue>> {
        self.groups.iter().find(|group| group.name.as_str() == name)
    }

    pub(super) fn node(&self, name: &str) -> Option<&Arc<NodeValue>> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    pub(super) fn group_names(&self) -> Vec<&str> {
        self.groups.iter().map(|group| group.name.as_str()).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.group_names().into_iter().chain(self.nodes.iter().map(|node| node.name.as_str())).collect()
    }
}

/// What one template sees.
pub(super) struct Scope {
    pub(super) cluster: Value,
    pub(super) provider: Value,
    pub(super) vars: Value,
    /// Those of the group's recipe.
    pub(super) secrets: Value,
    pub(super) origin: Option<Origin>,
    /// Not there where machines are described: they are alike for all nodes of a group.
    pub(super) node: Option<Arc<NodeValue>>,
    pub(super) group: Option<Arc<GroupValue>>,
    pub(super) world: Arc<World>,
}

/// The recipe that a group is made with.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) recipe: String,
    /// All that it has.
    pub(super) roles: Vec<String>,
    pub(super) secrets: Vec<String>,
}

const SCOPE_KEYS: &[&str] =
    &["cluster", "cluster_id", "provider", "vars", "secrets", "node", "group", "groups", "nodes"];

impl Scope {
    pub(super) fn without_secrets(self) -> Self {
        Self { secrets: Value::from_pairs(std::iter::empty::<(String, Value)>()), ..self }
    }
}

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
            "cluster_id" => Some(Value::from(self.world.cluster_id.to_string())),
            "provider" => Some(self.provider.clone()),
            "vars" => Some(self.vars.clone()),
            "secrets" => Some(self.secrets.clone()),
            "node" => self.node.clone().map(Value::from_dyn_object),
            "group" => self.group.clone().map(Value::from_dyn_object),
            "groups" => {
                let groups = self.world.groups.iter();
                Some(Value::from_pairs(
                    groups.map(|group| (group.name.as_str(), Value::from_dyn_object(Arc::clone(group)))),
                ))
            }
            "nodes" => Some(list(&self.world.nodes)),
            _ => functions::find(key, self),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(SCOPE_KEYS)
    }
}
