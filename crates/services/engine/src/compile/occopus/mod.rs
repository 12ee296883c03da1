//! Infrastructure descriptions of Occopus and their node definitions, taken as cluster files are.
//!
//! `core/occopus` says what they mean; this puts that beside what native files become: groups, documents and checks.

mod container;
mod identity;
pub(super) mod import;
mod lookup;
mod read;
mod refuse;
mod render;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use muster_doc::template::Templates;
use muster_doc::{Diagnostic, SourceMap};
use muster_occopus::{Cluster, Implementation, Infrastructure, to_cluster};
use muster_pki::Secrets;
use muster_spec::{GroupSpec, Variant};
use muster_types::{ClusterName, GroupName, NodeName};

use super::assemble::{chosen_image, finish, known, reading, rejected, unknown_image, wanted, without_agent};
use super::choose::{Choice, of_variant};
use super::context::NodeValue;
use super::group::Group;
use super::{Compiled, Options, Rejected, Source, functions};

use identity::Ids;
pub use identity::{infra_id, node_id};
pub use read::{DEFINITIONS_FILE, cluster_name, is_infrastructure};

/// Where the types of an infrastructure's nodes are described.
#[derive(Debug, Clone, Copy)]
pub enum NodeDefinitions<'a> {
    /// `nodes/node_definitions.yaml` beside the infrastructure; where there is no such file, these.
    Beside {
        imported: &'a [Source],
    },
    File(&'a Path),
    /// Of a type that several describe, the last one's word stands.
    Given(&'a [Source]),
}

/// What is said beside an infrastructure description. Cluster files have no use for it.
#[derive(Debug, Clone, Copy)]
pub struct Occopus<'a> {
    pub definitions: NodeDefinitions<'a>,
    /// Made from the cluster's name where nobody chose one.
    pub infra_id: Option<&'a str>,
    /// `infra_name` without it: several infrastructures may have the same.
    pub cluster: Option<&'a ClusterName>,
}

impl Default for Occopus<'_> {
    fn default() -> Self {
        Self { definitions: NodeDefinitions::Beside { imported: &[] }, infra_id: None, cluster: None }
    }
}

/// What a compiled infrastructure keeps of Occopus.
#[derive(Debug)]
pub struct Foreign {
    pub infra_id: String,
    pub infrastructure: Infrastructure,
    origins: BTreeMap<GroupName, Origin>,
    ids: Arc<Ids>,
}

/// A group's node, and the ways to make it that may be taken here, in the order of the group's choices.
#[derive(Debug)]
struct Origin {
    node: usize,
    ways: Vec<Implementation>,
}

impl Foreign {
    pub fn node_id(&self, node: &NodeName) -> String {
        self.ids.of(node)
    }

    /// Which node of the infrastructure a node is one of, and how it is made. The ways take turns.
    fn way(&self, node: &NodeValue) -> Option<(usize, &Implementation)> {
        let origin = self.origins.get(&node.group)?;
        let at = node.name.index().unwrap_or(1).saturating_sub(1) as usize % origin.ways.len();
        Some((origin.node, &origin.ways[at]))
    }
}

pub(super) fn compile(source: &Source, options: &Options<'_>) -> Result<Compiled, Rejected> {
    let mut sources = SourceMap::default();
    let mut out = Vec::new();
    let Some(infrastructure) = read::infrastructure(source, &mut sources, &mut out) else {
        return Err(rejected(sources, out));
    };
    let place = (source.folder.as_path(), infrastructure.name.span);
    let definitions = read::definitions(options.occopus.definitions, place, &mut sources, &mut out);
    let known = known(options);
    let wanted = wanted(options, &known, &mut out);
    let Some(definitions) = definitions else { return Err(rejected(sources, out)) };
    let choice = muster_occopus::Options { provider: options.provider, known: &known };
    let (cluster, mut found) = to_cluster(&infrastructure, &definitions, &choice);
    out.append(&mut found);
    let Some(mut cluster) = cluster else { return Err(rejected(sources, out)) };
    if let Some(name) = options.occopus.cluster {
        cluster.spec.name.value = name.clone();
    }
    let infra_id = options.occopus.infra_id.map_or_else(|| infra_id(&cluster.spec.name.value), str::to_owned);
    if out.iter().any(Diagnostic::is_error) {
        return Err(rejected(sources, out));
    }
    let provider = wanted.map_or_else(|| common_provider(&cluster, &known), str::to_owned);
    let mut groups = BTreeMap::new();
    let mut origins = BTreeMap::new();
    for group in &cluster.spec.groups {
        let Some(origin) = cluster.origins.get(&group.name) else { continue };
        // One that cannot be made with the others is told of when the cluster's provider is opened.
        let own = providers(group, &known, wanted);
        let Some(provider) = own.iter().find(|own| **own == provider).or(own.first()) else { continue };
        let mine = |found: &&Variant| found.provider.as_ref().is_some_and(|own| own.value == *provider);
        let variants: Vec<&Variant> = group.candidates().filter(mine).collect();
        let ways = variants.iter().filter_map(|variant| cluster.implementation(&group.name, variant).cloned());
        let ways: Vec<Implementation> = ways.collect();
        out.extend(ways.iter().flat_map(|way| refuse::unsupported(&group.name, provider, way)));
        origins.insert(group.name.clone(), Origin { node: origin.node, ways });
        let choices = variants.iter().map(|variant| chosen_image(of_variant(group, variant, provider), options));
        let choices: Vec<Choice> = choices.collect();
        out.extend(unknown_image(group, &choices[0], options));
        out.extend(without_agent(group, &choices[0], options));
        groups.insert(group.name.clone(), Group::foreign(choices));
    }
    out.extend(refuse::mappings(&infrastructure));
    let compiled = Compiled {
        spec: cluster.spec,
        sources,
        warnings: Vec::new(),
        path: source.path.clone(),
        templates: Templates::new(functions::configure),
        groups,
        wanted_secrets: BTreeMap::new(),
        secrets: Secrets::default(),
        reading: reading(options),
        occopus: Some(Foreign { ids: Arc::new(Ids::new(&infra_id)), infra_id, infrastructure, origins }),
    };
    finish(compiled, out)
}

/// A cluster has one provider: the first that every node has a way for, else that of the first node.
fn common_provider(cluster: &Cluster, known: &[&str]) -> String {
    let groups: Vec<Vec<String>> = cluster.spec.groups.iter().map(|group| providers(group, known, None)).collect();
    let first = groups.first().cloned().unwrap_or_default();
    let everywhere = |name: &&String| groups.iter().all(|group| group.contains(name));
    first.iter().find(everywhere).or(first.first()).cloned().unwrap_or_default()
}

/// The providers that can make a group's nodes, in the order of its variants.
fn providers(group: &GroupSpec, known: &[&str], wanted: Option<&str>) -> Vec<String> {
    let names = group.candidates().filter_map(|variant| Some(variant.provider.as_ref()?.value.clone()));
    names.filter(|name| wanted == Some(name) || known.contains(&name.as_str())).collect()
}

impl Compiled {
    /// Set where the file is an infrastructure description of Occopus.
    pub fn occopus(&self) -> Option<&Foreign> {
        self.occopus.as_ref()
    }
}
