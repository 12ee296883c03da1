//! What Occopus files say: an infrastructure, and how its types of node are made.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_doc::{Key, Node, Span, Spanned, Tree};

/// How long a health check may go on failing, from the first failure on, unless the file says otherwise.
pub const HEALTH_TIMEOUT: Duration = Duration::from_mins(10);

/// An infrastructure description.
#[derive(Debug, Clone, PartialEq)]
pub struct Infrastructure {
    pub span: Span,
    pub name: Spanned<String>,
    /// `user_id`: copied into records and seen by templates.
    pub user: Option<Tree>,
    /// A mapping.
    pub variables: Tree,
    /// In the order of the file.
    pub nodes: Vec<NodeEntry>,
    pub edges: Vec<Edge>,
}

impl Infrastructure {
    pub fn node(&self, name: &str) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.name.value == name)
    }

    /// The infrastructure's variables with the node's laid over them, at every depth.
    pub fn variables_of(&self, node: &NodeEntry) -> Tree {
        self.variables.merged(&node.variables)
    }

    /// The other nodes that may be there when a node is made, and the node itself for its other instances: those that it
    /// depends on first, then those that do not depend on it, each in the order of the file.
    pub fn before(&self, index: usize) -> Vec<&NodeEntry> {
        let needed = self.reach(index, |edge| (edge.dependent, edge.dependee));
        let waiting = self.reach(index, |edge| (edge.dependee, edge.dependent));
        let unrelated = |at: &usize| !needed.contains(at) && !waiting.contains(at);
        let others = (0..self.nodes.len()).filter(unrelated);
        needed.iter().copied().chain(others).map(|at| &self.nodes[at]).collect()
    }

    /// The nodes that edges lead to from one, in the order of the file.
    fn reach(&self, from: usize, ends: impl Fn(&Edge) -> (usize, usize)) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut ahead = vec![from];
        while let Some(at) = ahead.pop() {
            let next = self.edges.iter().map(&ends).filter(|(tail, _)| *tail == at);
            ahead.extend(next.map(|(_, head)| head).filter(|head| reached.insert(*head)));
        }
        reached.remove(&from);
        reached
    }

    /// What attributes a node is given by others and gives to them. A later edge between the same two nodes replaces an
    /// earlier one.
    pub fn mappings_of(&self, index: usize) -> NodeMappings<'_> {
        let mut mappings = NodeMappings::default();
        for edge in &self.edges {
            let (list, other) = match index {
                _ if edge.dependee == index => (&mut mappings.outbound, edge.dependent),
                _ if edge.dependent == index => (&mut mappings.inbound, edge.dependee),
                _ => continue,
            };
            let name = self.nodes[other].name.value.as_str();
            list.retain(|(known, _)| *known != name);
            list.push((name, edge.mappings.as_slice()));
        }
        mappings
    }
}

/// Mappings of attributes at one node, by the name of the node at the other end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeMappings<'i> {
    pub inbound: Vec<(&'i str, &'i [Mapping])>,
    pub outbound: Vec<(&'i str, &'i [Mapping])>,
}

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeEntry {
    pub span: Span,
    pub name: Spanned<String>,
    /// `type`: which node definition describes it.
    pub definition: Spanned<String>,
    pub scaling: Scaling,
    /// Keys and values that the resource section of an implementation must have.
    pub filter: Option<Tree>,
    /// A mapping, without the infrastructure's own variables.
    pub variables: Tree,
    /// As written; templates see it.
    pub tree: Tree,
}

/// How many instances a node may have; as many as `min` are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    pub min: u32,
    pub max: u32,
}

/// `dependent` is made once `dependee` is ready; both are positions in the infrastructure's list of nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub span: Span,
    pub dependent: usize,
    pub dependee: usize,
    pub mappings: Vec<Mapping>,
    /// Further keys, which nothing reads.
    pub further: Vec<(Key, Tree)>,
}

/// An attribute of the dependee that becomes one of the dependent. Chef alone knows of attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub source: String,
    pub destination: String,
    /// Whether the source must be there before its node counts as healthy.
    pub synch: bool,
    pub further: Vec<(Key, Tree)>,
}

/// Node definitions, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definitions(pub Vec<Definition>);

impl Definitions {
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.0.iter().find(|definition| definition.name.value == name)
    }
}

/// `node_def:NAME`.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub name: Spanned<String>,
    /// In the order of the file; the first that passes a node's filter and can be made here is taken.
    pub implementations: Vec<Implementation>,
}

impl Definition {
    /// The implementations whose resource section has every key of the filter with the same value.
    pub fn candidates<'d>(&'d self, filter: Option<&'d Tree>) -> impl Iterator<Item = &'d Implementation> {
        self.implementations.iter().filter(move |implementation| {
            let entries = filter.and_then(Tree::as_map).unwrap_or_default();
            entries
                .iter()
                .all(|(key, value)| implementation.resource.tree.get(&key.text).is_some_and(|found| found.same(value)))
        })
    }
}

/// One way to make a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Implementation {
    pub span: Span,
    pub resource: Resource,
    pub contextualisation: Contextualisation,
    pub config_management: ConfigManagement,
    pub health: HealthCheck,
    /// As written; templates see its sections.
    pub tree: Tree,
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    pub plugin: Plugin,
    /// Where the plug-in is named.
    pub span: Span,
    /// The whole section.
    pub tree: Tree,
}

/// Occopus' resource plug-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    Ec2,
    Nova,
    AzureVm,
    AzureAci,
    Docker,
    CloudSigma,
    CloudBroker,
}

impl Plugin {
    pub const ALL: [Self; 7] =
        [Self::Ec2, Self::Nova, Self::AzureVm, Self::AzureAci, Self::Docker, Self::CloudSigma, Self::CloudBroker];

    /// The word that stands behind `type:`; it is the provider's name too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Nova => "nova",
            Self::AzureVm => "azure_vm",
            Self::AzureAci => "azure_aci",
            Self::Docker => "docker",
            Self::CloudSigma => "cloudsigma",
            Self::CloudBroker => "cloudbroker",
        }
    }
}

/// What a machine is given when it starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Contextualisation {
    CloudInit {
        /// A mapping, or a scalar that holds a text.
        template: Tree,
        attributes: Option<Tree>,
    },
    Docker {
        env: Tree,
        command: Option<Tree>,
        variables: Option<Tree>,
    },
    /// Nothing but attributes; also where there is no section.
    Basic {
        attributes: Option<Tree>,
    },
}

/// Who installs what runs on a machine, besides its contextualisation.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigManagement {
    None,
    Chef { tree: Tree },
    PuppetSolo { tree: Tree },
}

impl ConfigManagement {
    /// The whole section.
    pub fn tree(&self) -> Option<&Tree> {
        match self {
            Self::None => None,
            Self::Chef { tree } | Self::PuppetSolo { tree } => Some(tree),
        }
    }
}

/// What must hold for a node to be ready. All of it is tried from outside of the node.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// Where the section stands.
    pub span: Option<Span>,
    pub ping: bool,
    pub ports: Vec<u16>,
    /// Scalars that may be templates; asked for by HEAD.
    pub urls: Vec<Tree>,
    /// Mappings of `name`, `user` and `pass`, which may be templates.
    pub databases: Vec<Tree>,
    pub timeout: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            span: None,
            ping: true,
            ports: Vec::new(),
            urls: Vec::new(),
            databases: Vec::new(),
            timeout: HEALTH_TIMEOUT,
        }
    }
}

/// A mapping with nothing in it.
pub(crate) fn nothing(span: Span) -> Tree {
    Tree { node: Node::Map(Vec::new()), span }
}
