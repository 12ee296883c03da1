//! One group made ready: which provider and variant, and its cloud-config in parts whose templates are parsed.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_doc::template::{Prepared, Templates, Value, to_value};
use muster_doc::{Diagnostic, Key, Node, SourceMap, Span, Spanned, Tree, codes};
use muster_recipe::{Recipe, Role, RoleFault};
use muster_spec::{CloudInit, ClusterSpec, Content, FileSpec, GroupSpec, HostSpec, Population};

use super::choose::Choice;
use super::context::Roles;
use super::load::{Loader, Verbatim};

/// What `Compiled` keeps of a group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) choice: Choice,
    pub(super) provider: Value,
    pub(super) ports: Arc<[u16]>,
    /// One for all nodes, or one for each host.
    vars: Vec<Value>,
    /// Cloud-configs in the order in which they are put together.
    pub(super) parts: Vec<Prepared>,
    pub(super) health: Option<Prepared>,
    pub(super) roles: Option<Roles>,
    /// What its nodes' configuration asks for; known once it was tried out.
    pub(super) packages: BTreeSet<String>,
    hosts: Vec<Tree>,
}

impl Group {
    pub(super) fn vars(&self, index: u32) -> Value {
        let at = (index.saturating_sub(1) as usize).min(self.vars.len().saturating_sub(1));
        self.vars.get(at).cloned().unwrap_or_default()
    }

    /// How many nodes have settings of their own.
    pub(super) fn distinct(&self) -> u32 {
        u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The group's block for its provider; for machines that exist with what is known of them under `host`.
    pub(super) fn settings(&self, index: u32) -> Option<Tree> {
        let host = self.hosts.get(index.saturating_sub(1) as usize);
        match (&self.choice.settings, host) {
            (Some(settings), Some(host)) => Some(settings.merged(host)),
            (settings, host) => settings.as_ref().or(host).cloned(),
        }
    }
}

/// What making a group ready reads and writes.
pub(super) struct Bench<'a, 'f> {
    pub(super) spec: &'a ClusterSpec,
    pub(super) loader: &'a mut Loader<'f>,
    pub(super) templates: &'a mut Templates,
    pub(super) sources: &'a mut SourceMap,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Bench<'_, '_> {
    pub(super) fn group(&mut self, spec: &GroupSpec, choice: Choice) -> Group {
        let mut vars = self.spec.vars.merged(&spec.vars);
        let mut trees = Vec::new();
        let mut health: Vec<Tree> = Vec::new();
        let mut ports = spec.ports.clone();
        let mut roles = None;
        if let Some(reference) = &spec.recipe {
            let name = Spanned { value: reference.value.name.clone(), span: reference.span };
            if let Some(recipe) = self.loader.recipe(&name, self.sources, self.diagnostics) {
                let function = function(recipe, reference.value.role.as_deref(), name.span, self.diagnostics);
                roles = Some(Roles { recipe: recipe.name.clone(), roles: recipe.roles.keys().cloned().collect() });
                if let Some(function) = function {
                    vars = function.defaults(name.span).merged(&vars);
                    let lone = spec.files.is_empty() && choice.cloud_init.is_empty() && choice.health.is_empty();
                    let own = lone.then_some(&spec.vars);
                    self.diagnostics.extend(function.check_vars(&vars, own, name.span));
                    trees.extend(function.parts.iter().flat_map(|part| recipe_trees(part)));
                    health.extend(function.health().cloned());
                    ports.extend(function.ports());
                }
            }
        }
        trees.extend(self.files(&spec.files));
        trees.extend(choice.cloud_init.iter().filter_map(|cloud_init| self.cloud_init(cloud_init)));
        health.extend(choice.health.iter().cloned());
        let health = health.into_iter().reduce(|base, over| base.merged(&over));
        let parts = trees.iter().filter_map(|tree| self.prepare(tree)).collect();
        let health = health.and_then(|tree| self.prepare(&tree));
        let hosts = match &spec.population {
            Population::Hosts(hosts) => hosts.as_slice(),
            Population::Count(_) => &[],
        };
        let vars = if hosts.is_empty() {
            vec![to_value(&vars)]
        } else {
            hosts.iter().map(|host| to_value(&vars.merged(&host.vars))).collect()
        };
        Group {
            provider: Value::from(choice.provider.as_str()),
            ports: ports.into(),
            vars,
            parts,
            health,
            roles,
            packages: BTreeSet::new(),
            hosts: hosts.iter().map(host_tree).collect(),
            choice,
        }
    }

    fn prepare(&mut self, tree: &Tree) -> Option<Prepared> {
        self.templates.prepare(tree, self.sources).map_err(|mut found| self.diagnostics.append(&mut found)).ok()
    }

    /// The group's files as `write_files`.
    fn files(&mut self, files: &[FileSpec]) -> Option<Tree> {
        let span = files.first()?.path.span;
        let entries = files.iter().filter_map(|file| {
            let content = match &file.content {
                Content::Inline(content) => Verbatim { content: content.clone(), base64: false },
                Content::Source(path) => self.loader.verbatim(path, self.diagnostics)?,
                Content::Template(path) => {
                    let content = self.loader.template(path, self.sources, self.diagnostics)?;
                    Verbatim { content, base64: false }
                }
            };
            Some(write_file(&file.path, content, file.mode.as_deref(), file.owner.as_ref()))
        });
        let entries = entries.collect();
        Some(Tree::map([("write_files", Tree::seq(entries, span))], span))
    }

    fn cloud_init(&mut self, cloud_init: &CloudInit) -> Option<Tree> {
        let (tree, span) = match cloud_init {
            CloudInit::Mapping(tree) => return Some(tree.clone()),
            CloudInit::Text(scalar) => {
                let (tree, mut found) = muster_doc::parse_embedded(self.sources, scalar, "cloud_init");
                self.diagnostics.append(&mut found);
                (tree?, scalar.span)
            }
            CloudInit::Path(path) => (self.loader.yaml(path, self.sources, self.diagnostics)?, path.span),
        };
        if tree.as_map().is_some() {
            return Some(tree);
        }
        let message = format!("a cloud-config is a mapping, and this is {}", tree.kind());
        let hint = "begin with `#cloud-config` and keys such as `packages:` or `runcmd:`; a script goes under `runcmd`";
        let found = Diagnostic::error(codes::CLOUD_INIT, message, hint).at(tree.span, "not a mapping");
        let same = span.source == tree.span.source;
        self.diagnostics.push(if same { found } else { found.related(span, "referred to here") });
        None
    }
}

fn function<'r>(
    recipe: &'r Recipe,
    role: Option<&str>,
    span: Span,
    out: &mut Vec<Diagnostic>,
) -> Option<muster_recipe::Function<'r>> {
    recipe
        .function(role)
        .map_err(|fault| {
            let name = &recipe.name;
            let hint = match &fault {
                RoleFault::Unknown { roles, .. } if roles.is_empty() => {
                    format!("it has no roles; write `{name}` alone")
                }
                RoleFault::Unknown { role, roles, .. } => {
                    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                    muster_doc::suggest::hint(role, &roles, "role")
                }
                RoleFault::Needed { roles, .. } => {
                    let roles: Vec<String> = roles.iter().map(|role| format!("`{name}/{role}`")).collect();
                    format!("write one of {}", roles.join(", "))
                }
            };
            out.push(Diagnostic::error(codes::RECIPE_ROLE, fault.to_string(), hint).at(span, "asked for here"));
        })
        .ok()
}

/// A recipe's part as cloud-configs: packages, files, and what it says itself.
fn recipe_trees(role: &Role) -> Vec<Tree> {
    let mut trees = Vec::new();
    if let Some(packages) = &role.packages {
        trees.push(Tree::map([("packages", packages.clone())], packages.span));
    }
    let files: Vec<Tree> = role
        .files
        .iter()
        .map(|file| {
            let content = if file.rendered {
                Verbatim { content: file.content.clone(), base64: false }
            } else {
                let text = file.content.as_str().unwrap_or_default();
                Verbatim::of(text.as_bytes().to_vec(), file.content.span)
            };
            write_file(&file.path, content, file.mode.as_deref(), file.owner.as_ref())
        })
        .collect();
    if let Some(span) = files.first().map(|file| file.span) {
        trees.push(Tree::map([("write_files", Tree::seq(files, span))], span));
    }
    trees.extend(role.cloud_init.clone());
    trees
}

fn write_file(path: &Spanned<String>, content: Verbatim, mode: Option<&str>, owner: Option<&Tree>) -> Tree {
    let span = path.span;
    let mut entries = vec![("path", Tree::text(path.value.clone(), span)), ("content", content.content)];
    if content.base64 {
        entries.push(("encoding", Tree::text("b64", span)));
    }
    entries.extend(mode.map(|mode| ("permissions", Tree::text(mode, span))));
    entries.extend(owner.map(|owner| ("owner", owner.clone())));
    Tree::map(entries, span)
}

/// What is known of a machine that exists, for its provider.
fn host_tree(host: &HostSpec) -> Tree {
    let span = host.span;
    let text = |text: &String| Tree::text(text.clone(), span);
    let mut entries = vec![("address", text(&host.address))];
    entries.extend(host.user.as_ref().map(|user| ("user", text(user))));
    entries.extend(host.port.map(|port| ("port", Tree::plain(port.to_string(), span))));
    entries.extend(host.mac.as_ref().map(|mac| ("mac", text(mac))));
    entries.extend(host.bmc.as_ref().map(|bmc| ("bmc", bmc.clone())));
    let capabilities: Vec<Tree> = host.capabilities.iter().map(text).collect();
    if !capabilities.is_empty() {
        entries.push(("capabilities", Tree::seq(capabilities, span)));
    }
    let key = Key { text: "host".to_owned(), span };
    Tree { node: Node::Map(vec![(key, Tree::map(entries, span))]), span }
}
