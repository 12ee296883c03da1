//! Occopus' files as one cluster file that gives the same plan and the same documents, for people to go on with.
//!
//! Templates are rewritten one by one; each is tried out in both languages for several nodes with several addresses, and
//! taken only if it yields the same. What has no such form is written out or refused, with its place.

mod cluster;
mod comments;
mod document;
mod native;
mod pieces;
mod scope;
mod views;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_doc::template::Value;
use muster_doc::{Diagnostic, Node, SourceMap, Span, Tree, codes};
use muster_types::GroupName;

use crate::functions::{Set, World, functions};
use crate::lookup::Lookup;
use crate::model::{Contextualisation, Implementation, Infrastructure};
use crate::render::Renderer;
use crate::resolve::{Context, Fault, jinja, managed, names, own_variables, resolve, resolve_health, updated};
use crate::scalar::to_value;
use cluster::Told;
use document::Rewriter;
use scope::{CONTEXT_NAMES, HEALTH_NAMES, Scope, Sight, as_code};
use views::View;

/// Documents with more lines than this get a file of their own.
const LINES_MAX: usize = 24;

/// A command, and how long it may take.
type Check = (Vec<String>, Duration);

/// What is to become a cluster file.
pub struct Import<'a> {
    pub infrastructure: &'a Infrastructure,
    /// In the order of the infrastructure's nodes.
    pub groups: Vec<ImportedGroup<'a>>,
    /// Takes the place of every resource section.
    pub provider: Option<&'a str>,
    /// Whether long documents may stand in files of their own.
    pub files: bool,
    pub carry: &'a Carry<'a>,
}

/// What an agent does in place of Occopus: for a group, the name of a node, and what the machine would be given.
pub type Carry<'a> = dyn Fn(&ImportedGroup<'_>, &str, &Context) -> Carried + 'a;

#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// A cloud-config.
    pub config: Tree,
    /// A command that must succeed on the node, within this time.
    pub check: Option<(Vec<String>, Duration)>,
}

/// A node of the infrastructure, and how it is made.
#[derive(Debug)]
pub struct ImportedGroup<'a> {
    pub name: GroupName,
    pub implementation: &'a Implementation,
}

/// Texts of files.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub cluster: String,
    /// Files that it refers to, by their paths as seen from its folder.
    pub files: BTreeMap<String, String>,
}

/// What one group comes to.
struct Group<'a> {
    of: &'a ImportedGroup<'a>,
    cloud_init: Option<Tree>,
    health: Tree,
}

/// One try, with one form of the variables.
struct Attempt<'a> {
    groups: Vec<Group<'a>>,
    diagnostics: Vec<Diagnostic>,
    lost: usize,
}

/// Makes the cluster file. It is there only without errors.
pub fn import(import: &Import<'_>, sources: &mut SourceMap) -> (Option<Imported>, Vec<Diagnostic>) {
    let mut folded = Folded::default();
    let mut kept = Vec::new();
    let mut best = attempt(import, &folded, &mut kept, sources);
    // Whoever puts a text of several lines into another reckons with its line breaks being folded. The variable is
    // folded in their place, if that keeps more templates.
    for place in lines_in(import.infrastructure) {
        if best.lost == 0 {
            break;
        }
        let mut more = folded.clone();
        more.0.push(place);
        let next = attempt(import, &more, &mut kept, sources);
        if next.lost < best.lost {
            (best, folded) = (next, more);
        }
    }
    if best.diagnostics.iter().any(Diagnostic::is_error) {
        return (None, best.diagnostics);
    }
    for place in &folded.0 {
        let message = "templates put this text into others, where Occopus folds its line breaks; it is folded here";
        let hint = "nothing is to be done: the nodes are given what Occopus gives them";
        let found = Diagnostic::warning(codes::IMPORT_FOLDED, message, hint);
        best.diagnostics.push(found.at(*place, "an empty line is a line break, and a line break a blank"));
    }
    let imported = cluster::write(import, &best.groups, &Told { folded: &folded, kept: &kept, sources });
    (Some(imported), best.diagnostics)
}

/// Variables whose line breaks are folded in the cluster file, by where they stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded(Vec<Span>);

impl Folded {
    pub(crate) fn apply(&self, tree: &Tree) -> Tree {
        let node = match &tree.node {
            Node::Scalar(scalar) if self.0.contains(&tree.span) => {
                let mut scalar = scalar.clone();
                scalar.text = crate::dump::fold(&scalar.text);
                Node::Scalar(scalar)
            }
            Node::Null | Node::Scalar(_) => tree.node.clone(),
            Node::Seq(items) => Node::Seq(items.iter().map(|item| self.apply(item)).collect()),
            Node::Map(entries) => {
                Node::Map(entries.iter().map(|(key, value)| (key.clone(), self.apply(value))).collect())
            }
        };
        Tree { node, span: tree.span }
    }
}

/// Variables with line breaks.
fn lines_in(infrastructure: &Infrastructure) -> Vec<Span> {
    fn collect(tree: &Tree, out: &mut Vec<Span>) {
        match &tree.node {
            Node::Scalar(scalar) if scalar.text.contains('\n') => out.push(tree.span),
            Node::Null | Node::Scalar(_) => {}
            Node::Seq(items) => items.iter().for_each(|item| collect(item, out)),
            Node::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, out)),
        }
    }
    let mut found = Vec::new();
    collect(&infrastructure.variables, &mut found);
    infrastructure.nodes.iter().for_each(|node| collect(&node.variables, &mut found));
    found
}

fn attempt<'a>(
    import: &'a Import<'_>,
    folded: &Folded,
    kept: &mut Vec<String>,
    sources: &mut SourceMap,
) -> Attempt<'a> {
    let mut attempt = Attempt { groups: Vec::new(), diagnostics: Vec::new(), lost: 0 };
    for (at, group) in import.groups.iter().enumerate() {
        let views = View::of(import.infrastructure, at);
        let entry = &import.infrastructure.nodes[at];
        let vars = folded.apply(&import.infrastructure.variables_of(entry));
        let mut bench = Bench { import, group, views, vars, kept, sources, found: Vec::new(), lost: 0 };
        let (cloud_init, check) = bench.cloud_init();
        let health = bench.health(check.as_ref());
        attempt.lost += bench.lost;
        for found in bench.found {
            // A definition of two nodes is looked at twice.
            if !attempt.diagnostics.contains(&found) {
                attempt.diagnostics.push(found);
            }
        }
        attempt.groups.push(Group { of: group, cloud_init, health });
    }
    attempt
}

/// One group at work.
struct Bench<'a, 's> {
    import: &'a Import<'a>,
    group: &'a ImportedGroup<'a>,
    views: Vec<Arc<View>>,
    vars: Tree,
    /// Templates in whose places marks stand.
    kept: &'s mut Vec<String>,
    sources: &'s mut SourceMap,
    found: Vec<Diagnostic>,
    lost: usize,
}

impl Bench<'_, '_> {
    /// The cloud-config, and a command that checks what it does.
    fn cloud_init(&mut self) -> (Option<Tree>, Option<Check>) {
        let nothing = (None, None);
        let mut contexts = Vec::new();
        // Texts that templates yield are sources of their own; nobody sees them once this is over.
        let mut sources = self.sources.clone();
        for view in &self.views {
            let target = view.target(self.import.infrastructure, self.group.implementation);
            match resolve(&target, Arc::clone(view) as Arc<dyn Lookup>, &mut sources) {
                Ok(resolved) => contexts.push((view.node_name(), resolved.context)),
                Err(Fault::Bad(found)) => {
                    self.found.extend(found);
                    return nothing;
                }
                // Every node of a view has its addresses.
                Err(Fault::Waiting(_)) => return nothing,
            }
        }
        let Some(template) = self.template(&contexts) else { return nothing };
        let mut carried = (self.import.carry)(self.group, "{{ node.name }}", &template);
        document::unmark(&mut carried.config, self.kept);
        let expected: Vec<Tree> =
            contexts.iter().map(|(name, context)| (self.import.carry)(self.group, name, context).config).collect();
        let scope = self.scope(CONTEXT_NAMES, Self::context_names);
        let mut rewriter = Rewriter::new(&scope);
        let tree = rewriter.tree(&carried.config, &expected.iter().collect::<Vec<_>>());
        let Rewriter { mut diagnostics, lost, .. } = rewriter;
        self.found.append(&mut diagnostics);
        self.lost += lost;
        (Some(tree).filter(|tree| tree.as_map().is_some_and(|entries| !entries.is_empty())), carried.check)
    }

    /// What a machine is given with its templates as they are, or with marks in their places.
    fn template(&mut self, rendered: &[(String, Context)]) -> Option<Context> {
        let template = match &self.group.implementation.contextualisation {
            Contextualisation::Basic { .. } => return Some(Context::Nothing),
            Contextualisation::Docker { env, command, .. } => {
                let env = document::marked_tree(env, self.kept);
                let command = command.as_ref().map(|command| document::marked_tree(command, self.kept));
                return Some(Context::Container { env, command });
            }
            Contextualisation::CloudInit { template, .. } => template,
        };
        if template.as_map().is_some() {
            return Some(Context::CloudConfig(template.clone()));
        }
        let text = template.as_str().unwrap_or_default();
        if rendered.iter().all(|(_, context)| context.cloud_config().is_none()) {
            let text = text.replace("\r\n", "\n");
            let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            return Some(Context::Text { text, cloud_config: None });
        }
        let tree = document::parsed(text, "a template", self.kept, self.sources).filter(|tree| tree.as_map().is_some());
        if tree.is_none() {
            let message = "this text is a cloud-config only once it is rendered, which a cluster file cannot say";
            let hint = "write it so that each template stands in one value, as in the text of a file or of a command";
            self.found.push(
                Diagnostic::error(codes::IMPORT_TEMPLATE, message, hint).at(template.span, "cannot be taken over"),
            );
        }
        tree.map(Context::CloudConfig)
    }

    /// A `health` block that asks for the same.
    fn health(&mut self, command: Option<&Check>) -> Tree {
        let implementation = self.group.implementation;
        let mut checks = Vec::new();
        for view in &self.views {
            match resolve_health(&view.target(self.import.infrastructure, implementation), view.clone(), self.sources) {
                Ok(check) => checks.push(check),
                Err(Fault::Bad(found)) => {
                    self.found.extend(found);
                    return crate::model::nothing(implementation.span);
                }
                Err(Fault::Waiting(_)) => return crate::model::nothing(implementation.span),
            }
        }
        let scope = self.scope(HEALTH_NAMES, Self::health_names);
        let mut rewriter = Rewriter::new(&scope);
        let own = &implementation.health;
        let list = |theirs: &[Tree], of: &dyn Fn(usize, usize) -> Tree, rewriter: &mut Rewriter<'_>| -> Vec<Tree> {
            let one = |(at, tree): (usize, &Tree)| {
                let expected: Vec<Tree> = (0..checks.len()).map(|view| of(view, at)).collect();
                // As Jinja2 takes a file: the last line break is left out.
                let mut kept = Vec::new();
                let mut tree = document::marked_tree(tree, &mut kept);
                document::unmark(&mut tree, &kept);
                rewriter.tree(&tree, &expected.iter().collect::<Vec<_>>())
            };
            theirs.iter().enumerate().map(one).collect()
        };
        let urls = list(&own.urls, &|view, at| checks[view].urls[at].clone(), &mut rewriter);
        let databases = list(&own.databases, &|view, at| checks[view].databases[at].clone(), &mut rewriter);
        let Rewriter { mut diagnostics, lost, .. } = rewriter;
        self.found.append(&mut diagnostics);
        self.lost += lost;
        cluster::health(own, urls, databases, command)
    }

    fn scope(
        &self,
        changed: &'static [(&'static str, &'static str)],
        of: impl Fn(&Self, &Arc<View>) -> Vec<(String, Value)>,
    ) -> Scope {
        let infrastructure = self.import.infrastructure;
        let sights = self.views.iter().map(|view| {
            let lookup: Arc<View> = Arc::clone(view);
            let theirs = Value::from_pairs(of(self, view));
            Sight::new(jinja(lookup), theirs, view, &self.vars)
        });
        let at = self.views.first().map_or(0, |view| view.group);
        let any = infrastructure.before(at).first().map(|node| node.name.value.clone());
        Scope { sights: sights.collect(), names: changed, any, aliases: self.aliases() }
    }

    /// A container's own variables, where nothing else has their names.
    fn aliases(&self) -> Vec<(String, String)> {
        let (Contextualisation::Docker { variables: Some(variables), .. }, Some(view)) =
            (&self.group.implementation.contextualisation, self.views.first())
        else {
            return Vec::new();
        };
        let taken = names(&view.target(self.import.infrastructure, self.group.implementation));
        let free = |name: &str| taken.iter().all(|(known, _)| known != name);
        let own = variables.as_map().unwrap_or_default().iter().filter(|(key, _)| free(&key.text));
        own.filter_map(|(key, value)| Some((key.text.clone(), as_code(value.as_str()?)?))).collect()
    }

    /// What Occopus' cloud-configs see.
    fn context_names(&self, view: &Arc<View>) -> Vec<(String, Value)> {
        let implementation = self.group.implementation;
        let target = view.target(self.import.infrastructure, implementation);
        let world = World::new(&target, view.clone());
        let mut all = names(&target);
        let set = match &implementation.contextualisation {
            Contextualisation::Docker { .. } => Set::Docker,
            _ => Set::CloudInit,
        };
        all.extend(functions(&world, set));
        let jinja = jinja(view.clone());
        let mut renderer = Renderer::new(&jinja, self.sources, all);
        if let Contextualisation::Docker { variables: Some(variables), .. } = &implementation.contextualisation {
            own_variables(&variables.clone(), &mut renderer);
            return renderer.into_names();
        }
        let resource = &implementation.resource.tree;
        let resource = updated(resource, &renderer.compact(resource));
        renderer.define([("resource".to_owned(), to_value(&resource))]);
        let managing = implementation.config_management.tree();
        let managing = managing.map(|tree| updated(tree, &renderer.compact(tree)));
        managed(&implementation.config_management, managing.as_ref(), &mut renderer);
        renderer.into_names()
    }

    /// What Occopus' health checks see.
    fn health_names(&self, view: &Arc<View>) -> Vec<(String, Value)> {
        let target = view.target(self.import.infrastructure, self.group.implementation);
        let world = World::new(&target, view.clone());
        crate::resolve::health_names(&target, &world).unwrap_or_default()
    }
}
