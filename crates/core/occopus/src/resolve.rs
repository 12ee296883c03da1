//! What one machine is given: the sections of its implementation, rendered as Occopus' resolvers do.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use muster_doc::template::Value;
use muster_doc::template::jinja::{Jinja, printed};
use muster_doc::{Diagnostic, Node, SourceMap, Tree, codes, emit, parse};

use crate::functions::{Set, World, functions};
use crate::lookup::Lookup;
use crate::model::{
    ConfigManagement, Contextualisation, HealthCheck, Implementation, Infrastructure, Mapping, NodeEntry, nothing,
};
use crate::render::Renderer;
use crate::scalar::{normalise, to_value};

/// How a cloud-config begins.
const CLOUD_CONFIG: &str = "#cloud-config";

/// Which machine is meant.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub infrastructure: &'a Infrastructure,
    /// Position in the infrastructure's list of nodes.
    pub node: usize,
    pub implementation: &'a Implementation,
    pub infra_id: &'a str,
    pub node_id: &'a str,
}

impl Target<'_> {
    /// What Occopus calls a machine for which the resource section has no name. Recipes rely on such host names, which differ.
    pub fn machine_name(&self) -> String {
        let first = |text: &str, count: usize| text.chars().take(count).collect::<String>();
        let (infrastructure, node) = (&self.infrastructure.name.value, &self.entry().name.value);
        format!(
            "occopus-{}-{}-{}-{}",
            first(infrastructure, 18),
            first(self.infra_id, 8),
            first(node, 18),
            first(self.node_id, 8)
        )
    }

    fn entry(&self) -> &NodeEntry {
        &self.infrastructure.nodes[self.node]
    }
}

/// Why there is nothing to give.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Templates use addresses of instances that have none yet; their node ids.
    Waiting(BTreeSet<String>),
    Bad(Vec<Diagnostic>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub resource: Tree,
    pub config_management: Option<Tree>,
    pub context: Context,
    /// Chef's attributes, the mappings of edges among them.
    pub attributes: Tree,
    /// Attributes that must be there before the node is healthy.
    pub synch: Vec<String>,
    pub warnings: Vec<Diagnostic>,
}

/// What the machine itself is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Context {
    Nothing,
    CloudConfig(Tree),
    /// A text as it is; if it begins as cloud-config does, what it says.
    Text {
        text: String,
        cloud_config: Option<Tree>,
    },
    Container {
        env: Tree,
        command: Option<Tree>,
    },
}

impl Context {
    /// The text that the machine finds.
    pub fn user_data(&self) -> Option<String> {
        match self {
            Self::CloudConfig(tree) => Some(format!("{CLOUD_CONFIG}\n{}", emit(tree))),
            Self::Text { text, .. } => Some(text.clone()),
            Self::Nothing | Self::Container { .. } => None,
        }
    }

    /// The cloud-config, if it is one.
    pub fn cloud_config(&self) -> Option<&Tree> {
        match self {
            Self::CloudConfig(tree) => Some(tree),
            Self::Text { cloud_config, .. } => cloud_config.as_ref(),
            Self::Nothing | Self::Container { .. } => None,
        }
    }
}

/// What renders an implementation's templates.
pub(crate) fn jinja(lookup: Arc<dyn Lookup>) -> Jinja {
    Jinja::new(|environment| {
        environment.set_loader(move |name| Ok(lookup.include(name)));
        environment.add_filter("b64encode", |text: &str| base64::engine::general_purpose::STANDARD.encode(text));
    })
}

/// Renders everything for one machine.
pub fn resolve(target: &Target<'_>, lookup: Arc<dyn Lookup>, sources: &mut SourceMap) -> Result<Resolved, Fault> {
    let infrastructure = target.infrastructure;
    let jinja = jinja(Arc::clone(&lookup));
    let world = World::new(target, lookup);
    let implementation = target.implementation;
    let set = match &implementation.contextualisation {
        Contextualisation::CloudInit { .. } => Set::CloudInit,
        Contextualisation::Docker { .. } => Set::Docker,
        Contextualisation::Basic { .. } => Set::Basic,
    };
    let mut names = names(target);
    names.extend(functions(&world, set));
    let mut renderer = Renderer::new(&jinja, sources, names);
    let mappings = infrastructure.mappings_of(target.node);
    let (mut resource, mut config_management) =
        (implementation.resource.tree.clone(), implementation.config_management.tree().cloned());
    let mut text = None;
    let (context, attributes) = match &implementation.contextualisation {
        Contextualisation::CloudInit { template, attributes } => {
            resource = updated(&resource, &renderer.compact(&resource));
            renderer.define([("resource".to_owned(), to_value(&resource))]);
            config_management = config_management.map(|tree| updated(&tree, &renderer.compact(&tree)));
            managed(&implementation.config_management, config_management.as_ref(), &mut renderer);
            let context = if template.as_map().is_some() {
                Context::CloudConfig(renderer.block(template))
            } else {
                text = renderer.text(template);
                Context::Nothing
            };
            let attributes = attributes.as_ref().map(|tree| renderer.texts(tree));
            (context, attributes)
        }
        Contextualisation::Docker { env, command, variables } => {
            own_variables(&variables.clone().unwrap_or_else(|| nothing(env.span)), &mut renderer);
            let env = renderer.texts(env);
            let command = command.as_ref().map(|tree| renderer.texts(tree));
            (Context::Container { env, command }, None)
        }
        Contextualisation::Basic { attributes } => {
            (Context::Nothing, attributes.as_ref().map(|tree| renderer.texts(tree)))
        }
    };
    let mut diagnostics = std::mem::take(&mut renderer.diagnostics);
    let context = match text {
        Some(text) => parsed(text, target, sources, &mut diagnostics),
        None => context,
    };
    let attributes = connected(attributes, target, &mappings.inbound);
    let synch = mappings.outbound.iter().flat_map(|(_, list)| list.iter());
    let synch = synch.filter(|mapping| mapping.synch).map(|mapping| mapping.source.clone()).collect();
    let warnings = finish(diagnostics, &world)?;
    Ok(Resolved { resource, config_management, context, attributes, synch, warnings })
}

/// The checks of a machine that has its addresses.
pub fn resolve_health(target: &Target<'_>, lookup: Arc<dyn Lookup>, sources: &SourceMap) -> Result<HealthCheck, Fault> {
    let jinja = jinja(Arc::clone(&lookup));
    let world = World::new(target, lookup);
    let names = health_names(target, &world)?;
    let mut renderer = Renderer::new(&jinja, sources, names);
    let check = &target.implementation.health;
    let urls = check.urls.iter().map(|url| renderer.texts(url)).collect();
    let databases = check.databases.iter().map(|database| renderer.texts(database)).collect();
    let diagnostics = std::mem::take(&mut renderer.diagnostics);
    finish(diagnostics, &world)?;
    Ok(HealthCheck { urls, databases, ..check.clone() })
}

/// Templates of checks see little: `ip`, `variables`, `node_id`, `instance_data` and `ibget`.
pub(crate) fn health_names(target: &Target<'_>, world: &Arc<World>) -> Result<Vec<(String, Value)>, Fault> {
    let entry = target.entry();
    let instances = world.lookup.instances(&entry.name.value);
    let own = instances.iter().find(|instance| instance.node_id == target.node_id);
    let Some(address) = own.and_then(|own| own.addresses.first()) else {
        return Err(Fault::Waiting(BTreeSet::from([target.node_id.to_owned()])));
    };
    let mut names = vec![
        ("ip".to_owned(), Value::from(address.as_str())),
        ("variables".to_owned(), to_value(&target.infrastructure.variables_of(entry))),
        ("node_id".to_owned(), Value::from(target.node_id)),
        ("instance_data".to_owned(), own.map_or_else(Value::default, |own| world.record(own))),
    ];
    names.extend(functions(world, Set::Health));
    Ok(names)
}

fn finish(diagnostics: Vec<Diagnostic>, world: &World) -> Result<Vec<Diagnostic>, Fault> {
    let missing = world.missing.take();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Fault::Bad(diagnostics));
    }
    if missing.is_empty() { Ok(diagnostics) } else { Err(Fault::Waiting(missing)) }
}

/// Every key of the node's entry, what the infrastructure adds, and the sections of its implementation.
pub(crate) fn names(target: &Target<'_>) -> Vec<(String, Value)> {
    let (infrastructure, entry) = (target.infrastructure, target.entry());
    let mut names: Vec<(String, Value)> = vec![("node_id".to_owned(), Value::from(target.node_id))];
    let keys = entry.tree.as_map().unwrap_or_default().iter();
    names.extend(keys.map(|(key, value)| (key.text.clone(), to_value(value))));
    let scaling = [("min", entry.scaling.min), ("max", entry.scaling.max)];
    let mappings = infrastructure.mappings_of(target.node);
    let own = [
        ("scaling", Value::from_pairs(scaling)),
        ("variables", to_value(&infrastructure.variables_of(entry))),
        ("infra_id", Value::from(target.infra_id)),
        ("infra_name", Value::from(infrastructure.name.value.as_str())),
        ("user_id", infrastructure.user.as_ref().map_or_else(Value::default, to_value)),
        (
            "mappings",
            Value::from_pairs([("inbound", edges(&mappings.inbound)), ("outbound", edges(&mappings.outbound))]),
        ),
    ];
    let sections = target.implementation.tree.as_map().unwrap_or_default().iter();
    let sections = sections.map(|(key, value)| (key.text.clone(), to_value(value)));
    for (name, value) in own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(sections) {
        names.retain(|(known, _)| *known != name);
        names.push((name, value));
    }
    names
}

fn edges(list: &[(&str, &[Mapping])]) -> Value {
    let one = |mapping: &Mapping| {
        let attributes: Value = [&mapping.source, &mapping.destination].into_iter().map(String::as_str).collect();
        let further = mapping.further.iter().map(|(key, value)| (key.text.clone(), to_value(value)));
        let own = [("attributes".to_owned(), attributes), ("synch".to_owned(), Value::from(mapping.synch))];
        Value::from_pairs(own.into_iter().chain(further))
    };
    Value::from_pairs(list.iter().map(|(name, mappings)| (*name, mappings.iter().map(one).collect::<Value>())))
}

/// Python's `dict.update`: whole values, key by key.
pub(crate) fn updated(tree: &Tree, by: &Tree) -> Tree {
    let (Node::Map(base), Node::Map(over)) = (&tree.node, &by.node) else { return by.clone() };
    let same = |(key, _): &&(muster_doc::Key, Tree)| by.get(&key.text).is_none();
    let node = Node::Map(over.iter().chain(base.iter().filter(same)).cloned().collect());
    Tree { node, span: tree.span }
}

/// A container's own variables, by their names and as a whole.
pub(crate) fn own_variables(variables: &Tree, renderer: &mut Renderer<'_>) {
    let variables = renderer.block(variables);
    let own = variables.as_map().unwrap_or_default().iter();
    // Names that are there already win over those of the section.
    let own: Vec<_> = own.map(|(key, value)| (key.text.clone(), to_value(value))).collect();
    renderer.define_missing(own);
    renderer.define([("context_variables".to_owned(), to_value(&variables))]);
}

/// `puppet.modules`, `.manifests` and `.attributes`: the items as Python prints them, with blanks between.
pub(crate) fn managed(kind: &ConfigManagement, rendered: Option<&Tree>, renderer: &mut Renderer<'_>) {
    if let Some(tree) = rendered {
        renderer.define([("config_management".to_owned(), to_value(tree))]);
    }
    if !matches!(kind, ConfigManagement::PuppetSolo { .. }) {
        return;
    }
    let joined = |key: &'static str| {
        let items = rendered.and_then(|tree| tree.get(key)).and_then(Tree::as_seq).unwrap_or_default();
        let items: Vec<String> = items.iter().map(|item| printed(&to_value(item))).collect();
        (key, Value::from(items.join(" ")))
    };
    let puppet = Value::from_pairs([joined("modules"), joined("manifests"), joined("attributes")]);
    renderer.define([("puppet".to_owned(), puppet)]);
}

/// Chef's attributes, with the edges in the form that the cookbook `connect` reads.
fn connected(attributes: Option<Tree>, target: &Target<'_>, inbound: &[(&str, &[Mapping])]) -> Tree {
    let span = target.implementation.span;
    let connections = inbound.iter().flat_map(|(name, mappings)| {
        mappings.iter().map(move |mapping| {
            let role = format!("{}_{name}", target.infra_id);
            let entries = [
                ("source_role", role),
                ("source_attribute", mapping.source.clone()),
                ("destination_attribute", mapping.destination.clone()),
            ];
            Tree::map(entries.map(|(key, value)| (key, Tree::text(value, span))), span)
        })
    });
    let connections = Tree::map([("connections", Tree::seq(connections.collect(), span))], span);
    attributes.filter(|tree| tree.as_map().is_some()).unwrap_or_else(|| nothing(span)).merged(&connections)
}

/// A text that begins as cloud-config does must be one, or cloud-init would pass over it in silence.
fn parsed(text: String, target: &Target<'_>, sources: &mut SourceMap, out: &mut Vec<Diagnostic>) -> Context {
    if !text.starts_with(CLOUD_CONFIG) {
        return Context::Text { text, cloud_config: None };
    }
    let name = format!("what `{}` is given", target.entry().name.value);
    let (tree, found) = parse(sources, &name, &text);
    let mut tree = tree;
    for mut found in found {
        if found.is_error() {
            found.message = format!("the cloud-config is not YAML once it is rendered: {}", found.message);
            found.code = codes::OCCOPUS_CONTEXT;
        }
        out.push(found);
    }
    if let Some(tree) = &mut tree {
        // Modes are the machine's own to read here: it is given the text.
        normalise(tree, &mut Vec::new());
    }
    Context::Text { text, cloud_config: tree }
}
