//! An infrastructure and its node definitions as a cluster: nodes become groups, edges needs, implementations variants.
//!
//! Templates stay as they are written, in Occopus' meaning: what a variant is given is rendered by this crate.

use std::collections::BTreeMap;

use muster_doc::{Diagnostic, Spanned, Tree, codes, suggest};
use muster_spec::{CloudInit, ClusterSpec, Count, GroupSpec, Population, Variant};
use muster_types::{ClusterName, GroupName, NameError, NodeName};

use crate::model::{
    Contextualisation, Definition, Definitions, HealthCheck, Implementation, Infrastructure, NodeEntry,
};

/// Highest number behind the name of a node.
const INDEX_MAX: u32 = 99_999;

/// Who makes the machines.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Takes the place of every resource section.
    pub provider: Option<&'a str>,
    /// Names of the providers that there are; a plug-in's name is its provider's.
    pub known: &'a [&'a str],
}

/// An infrastructure as a cluster, and what a cluster file cannot say.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    pub spec: ClusterSpec,
    /// For each group, its node; `origins[group].implementations` has the ways to make it in the order of the group's variants.
    pub origins: BTreeMap<GroupName, Origin>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Position in the infrastructure's list of nodes.
    pub node: usize,
    pub implementations: Vec<Implementation>,
}

impl Cluster {
    /// What a variant of a group was made from.
    pub fn implementation(&self, group: &GroupName, variant: &Variant) -> Option<&Implementation> {
        self.origins.get(group)?.implementations.iter().find(|found| found.span == variant.span)
    }
}

/// Puts both files together. All mistakes at once: the cluster is there only without errors.
pub fn to_cluster(
    infrastructure: &Infrastructure,
    definitions: &Definitions,
    options: &Options<'_>,
) -> (Option<Cluster>, Vec<Diagnostic>) {
    let mut out = Vec::new();
    let name = &infrastructure.name;
    let cluster = named("a cluster", ClusterName::new(name.value.as_str()), name, &mut out);
    let mut groups = Vec::new();
    let mut origins = BTreeMap::new();
    for (index, node) in infrastructure.nodes.iter().enumerate() {
        let definition = definition(node, definitions, &mut out);
        if let Some(definition) = definition {
            check_choice(node, definition, options, &mut out);
        }
        let (Some(name), Some(definition)) = (group_name(node, &mut out), definition) else { continue };
        let origin = Origin { node: index, implementations: definition.implementations.clone() };
        groups.push(group(name.clone(), infrastructure, index, definition, options));
        origins.insert(name, origin);
    }
    if out.iter().any(Diagnostic::is_error) {
        return (None, out);
    }
    let spec = cluster.map(|cluster| ClusterSpec {
        name: Spanned { value: cluster, span: name.span },
        providers: Vec::new(),
        vars: infrastructure.variables.clone(),
        blocks: BTreeMap::new(),
        groups,
    });
    (spec.map(|spec| Cluster { spec, origins }), out)
}

fn definition<'d>(node: &NodeEntry, definitions: &'d Definitions, out: &mut Vec<Diagnostic>) -> Option<&'d Definition> {
    let wanted = &node.definition;
    let found = definitions.get(&wanted.value);
    if found.is_none() {
        let known: Vec<&str> = definitions.0.iter().map(|definition| definition.name.value.as_str()).collect();
        let message =
            format!("`{}` is of the type `{}`, which no node definition describes", node.name.value, wanted.value);
        let hint = if known.is_empty() {
            format!("write `'node_def:{}':` into the file of node definitions", wanted.value)
        } else {
            suggest::hint(&wanted.value, &known, "node definition")
        };
        out.push(Diagnostic::error(codes::OCCOPUS_NODE_TYPE, message, hint).at(wanted.span, "no such definition"));
    }
    found
}

/// Whether an implementation passes the filter, and whether somebody here can make it.
fn check_choice(node: &NodeEntry, definition: &Definition, options: &Options<'_>, out: &mut Vec<Diagnostic>) {
    let mut candidates = definition.candidates(node.filter.as_ref()).peekable();
    if candidates.peek().is_none() {
        // Those that could not be read were reported when they were.
        let Some(filter) = &node.filter else { return };
        let message =
            format!("no implementation of `{}` passes the filter of `{}`", definition.name.value, node.name.value);
        let hint = "give the resource section of one the keys and values of `filter`, or loosen the filter";
        let found = Diagnostic::error(codes::VARIANT_NONE, message, hint).at(filter.span, "nothing passes this");
        out.push(found.related(definition.name.span, "the definition"));
        return;
    }
    if options.provider.is_some() {
        return;
    }
    let candidates: Vec<&Implementation> = candidates.collect();
    if candidates.iter().any(|candidate| options.known.contains(&candidate.resource.plugin.name())) {
        return;
    }
    let resource = &candidates[0].resource;
    let message =
        format!("`{}` is made by `{}`, for which there is no provider here", node.name.value, resource.plugin.name());
    let hint = format!(
        "choose another with `--provider`, which takes the place of resource sections: {}",
        options.known.join(", ")
    );
    let found = Diagnostic::error(codes::PROVIDER_UNKNOWN, message, hint).at(resource.span, "no such provider");
    out.push(found.related(node.name.span, "for this node"));
}

fn group_name(node: &NodeEntry, out: &mut Vec<Diagnostic>) -> Option<GroupName> {
    let name = named("a group of nodes", GroupName::new(node.name.value.as_str()), &node.name, out)?;
    // Numbers come behind the name, and the whole becomes a host name.
    named("a group of nodes", NodeName::of(&name, INDEX_MAX), &node.name, out).map(|_| name)
}

fn named<T>(what: &str, name: Result<T, NameError>, given: &Spanned<String>, out: &mut Vec<Diagnostic>) -> Option<T> {
    name.map_err(|error| {
        let message = format!("`{}` cannot be the name of {what}: {error}", given.value);
        let hint = "use letters, digits and dashes between them; nodes get a dash and a number on top, and 63 characters \
                    are the limit";
        out.push(Diagnostic::error(codes::NAME, message, hint).at(given.span, "not a name here"));
    })
    .ok()
}

fn group(
    name: GroupName,
    infrastructure: &Infrastructure,
    index: usize,
    definition: &Definition,
    options: &Options<'_>,
) -> GroupSpec {
    let node = &infrastructure.nodes[index];
    let mut group = GroupSpec::new(name, node.name.span);
    group.population = Population::Count(Count { min: node.scaling.min, max: node.scaling.max });
    for edge in infrastructure.edges.iter().filter(|edge| edge.dependent == index) {
        let Ok(need) = GroupName::new(infrastructure.nodes[edge.dependee].name.value.as_str()) else { continue };
        if !group.needs.iter().any(|known| known.value == need) {
            group.needs.push(Spanned { value: need, span: edge.span });
        }
    }
    group.vars = node.variables.clone();
    group.filter.clone_from(&node.filter);
    group.variants = definition.implementations.iter().map(|found| variant(found, options)).collect();
    group
}

fn variant(found: &Implementation, options: &Options<'_>) -> Variant {
    let resource = &found.resource;
    let own = resource.plugin.name();
    let provider = options.provider.unwrap_or(own);
    let cloud_init = match &found.contextualisation {
        Contextualisation::CloudInit { template, .. } if template.as_map().is_some() => {
            Some(CloudInit::Mapping(template.clone()))
        }
        Contextualisation::CloudInit { template, .. } => Some(CloudInit::Text(template.clone())),
        Contextualisation::Docker { .. } | Contextualisation::Basic { .. } => None,
    };
    // Another provider would not know what to do with the block.
    let blocks = (provider == own).then(|| (own.to_owned(), resource.tree.clone()));
    Variant {
        span: found.span,
        provider: Some(Spanned { value: provider.to_owned(), span: resource.span }),
        image: None,
        size: muster_spec::SizeSpec::default(),
        tags: BTreeMap::new(),
        cloud_init,
        health: Some(health(&found.health, found)),
        blocks: blocks.into_iter().collect(),
        // Filters of Occopus look into the resource section alone.
        tree: resource.tree.clone(),
    }
}

/// A `health` block that says the same. Its timeout counts from the first failure on.
fn health(check: &HealthCheck, found: &Implementation) -> Tree {
    let span = check.span.unwrap_or(found.span);
    let mut entries = vec![("ping", Tree::plain(check.ping.to_string(), span))];
    if !check.ports.is_empty() {
        let ports = check.ports.iter().map(|port| Tree::plain(port.to_string(), span)).collect();
        entries.push(("ports", Tree::seq(ports, span)));
    }
    if !check.urls.is_empty() {
        entries.push(("urls", Tree::seq(check.urls.clone(), span)));
    }
    if !check.databases.is_empty() {
        entries.push(("mysqldbs", Tree::seq(check.databases.clone(), span)));
    }
    // A timeout of nothing fails a node at its first bad check; a second is the least that can be said.
    let seconds = check.timeout.as_secs().max(1);
    entries.push(("timeout", Tree::text(format!("{seconds}s"), span)));
    Tree::map(entries, span)
}
