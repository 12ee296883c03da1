//! A cluster file becomes what should be: nodes, and for each the cloud-config it is given and the checks it must pass.
//!
//! Everything that can be wrong is found here, before anything is made: templates are rendered once with placeholder
//! addresses. What needs the addresses of other nodes is rendered late, by `render`.

mod assemble;
mod catalog;
mod choose;
mod circle;
mod compare;
mod context;
mod desired;
mod from_recipe;
mod functions;
mod group;
mod hooks;
mod load;
mod merge;
mod occopus;
mod reloads;
mod render;
mod secrets;
mod statics;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_api::NodeFacts;
use muster_doc::template::Templates;
use muster_doc::{Diagnostic, SourceMap, Tree};
use muster_pki::{SecretShape, Secrets};
use muster_provider::{Factory, Size, Tags};
use muster_spec::{ClusterSpec, OnFailure};
use muster_store::Reading;
use muster_types::{GroupName, NodeName};

pub use assemble::compile;
pub use catalog::{Listed, find_recipe, recipes};
pub use compare::{Difference, differences};
pub use occopus::{
    DEFINITIONS_FILE, Foreign, NodeDefinitions, Occopus, cluster_name, infra_id, is_infrastructure, node_id,
};

/// A cluster file as it was read.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user gave it, for messages.
    pub path: String,
    pub text: Vec<u8>,
    /// Where files and recipes that it refers to are looked for.
    pub folder: PathBuf,
}

#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Overrides the file's choice.
    pub provider: Option<&'a str>,
    /// Overrides the file's choice, for all groups.
    pub image: Option<&'a str>,
    /// Overrides the file's choice: whether agents are on nodes.
    pub agent: Option<bool>,
    pub factories: &'a [Arc<dyn Factory>],
    pub occopus: Occopus<'a>,
}

/// A file that cannot be carried out, with everything that is wrong with it (and warnings).
#[derive(Debug)]
pub struct Rejected {
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
}

/// A file that can be carried out.
#[derive(Debug)]
pub struct Compiled {
    pub spec: ClusterSpec,
    pub sources: SourceMap,
    pub warnings: Vec<Diagnostic>,
    /// Where the file was, as the user gave it.
    pub path: String,
    templates: Templates,
    groups: BTreeMap<GroupName, group::Group>,
    /// Those that recipes of the file declare, as `recipe/name`.
    wanted_secrets: BTreeMap<String, SecretShape>,
    secrets: Secrets,
    pub(crate) reading: Reading,
    occopus: Option<Foreign>,
}

/// A node that should be.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredNode {
    pub name: NodeName,
    pub group: GroupName,
    /// Groups that must be ready first.
    pub needs: Vec<GroupName>,
    pub provider: String,
    pub image: Option<String>,
    /// Software that its configuration asks for; what is baked into images where the provider bakes.
    pub packages: BTreeSet<String>,
    pub shared_folders: BTreeSet<PathBuf>,
    pub size: Size,
    /// The group's block for this provider.
    pub settings: Option<Tree>,
    pub tags: Tags,
    /// SHA-256 over what the machine is made from, not over its configuration.
    pub machine_hash: String,
    pub on_failure: OnFailure,
    /// How long the configuration may take.
    pub timeout: Duration,
}

/// What is run on nodes around a change of members. Rendered for one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the node leaves: ends when nothing needs it any more.
    pub drain: Option<Hook>,
    /// When a node that was drained is to stay after all.
    pub resume: Option<Hook>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The nodes that can run it; the first that answers does. The node itself, unless the recipe names a role.
    pub on: Vec<NodeName>,
    /// For a shell. Its last lines say why it does not end.
    pub command: String,
    pub timeout: Duration,
}

/// The nodes of the cluster, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members(pub BTreeMap<NodeName, Member>);

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub group: GroupName,
    /// The first is the one that peers use. Empty: not known yet.
    pub addresses: Vec<IpAddr>,
    /// What the node said of itself when it joined.
    pub facts: Option<NodeFacts>,
}

/// What one node is given. It may hold secrets, so `Debug` shows little of it.
#[derive(Clone, PartialEq)]
pub struct Rendered {
    /// `#cloud-config` and YAML.
    pub document: String,
    /// SHA-256 of the document, lower-case hex.
    pub hash: String,
    pub checks: Vec<muster_api::Check>,
    /// What is tried from outside, too.
    pub outside: Option<Outside>,
    /// What the node would be given where no agent is, if that is not the document.
    pub user_data: Option<String>,
    /// Nodes that templates speak of by `members`, and that have not joined yet: they are left out. The node is
    /// rendered again when they have.
    pub left_out: BTreeSet<NodeName>,
    /// Whether templates speak of nodes by `members`, so that a change among them may change this.
    pub follows: bool,
}

/// Probes that the owner sends to a node's first address, one after the other; all must pass in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    pub ping: bool,
    /// TCP connections.
    pub ports: Vec<u16>,
    /// Asked for by HEAD; redirects are followed, and 2xx is good.
    pub urls: Vec<String>,
    /// How long it may go on failing, from the first failure on.
    pub timeout: Duration,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("hash", &self.hash)
            .field("left_out", &self.left_out)
            .field("follows", &self.follows)
            .finish_non_exhaustive()
    }
}

/// Why there is nothing to give to a node.
#[derive(Debug, Clone)]
pub enum RenderFault {
    /// Its templates use addresses of nodes that have none yet, or facts of nodes that have not joined.
    Waiting(BTreeSet<NodeName>),
    Bad(Vec<Diagnostic>),
}
