//! One group made ready: which provider and variant, and its cloud-config in parts whose templates are parsed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_doc::template::{Prepared, Templates, Value, to_value};
use muster_doc::{Diagnostic, Key, Node, SourceMap, Spanned, Tree, codes};
use muster_recipe::HookSpec;
use muster_spec::{CloudInit, ClusterSpec, Content, FileSpec, GroupSpec, HostSpec, Population};

use super::choose::Choice;
use super::context::Origin;
use super::from_recipe::{Asking, FromRecipe, Piece, from_recipe};
use super::load::{Loader, Verbatim};

/// What `Compiled` keeps of a group.
#[derive(Debug)]
pub(super) struct Group {
    /// Ways to make its nodes, which take turns; at least one.
    choices: Vec<Choice>,
    pub(super) provider: Value,
    pub(super) ports: Arc<[u16]>,
    /// One for all nodes, or one for each host.
    vars: Vec<Value>,
    /// Cloud-configs in the order in which they are put together.
    parts: Vec<Part>,
    pub(super) health: Option<Prepared>,
    pub(super) origin: Option<Origin>,
    /// What its nodes' configuration asks for; known once it was tried out.
    pub(super) packages: BTreeSet<String>,
    shared_folders: Vec<(PathBuf, Option<String>)>,
    pub(super) drain: Option<PreparedHook>,
    pub(super) resume: Option<PreparedHook>,
    /// Roles of its recipe whose groups must be ready first.
    pub(super) needs: Vec<String>,
    /// The variables that its recipe knows, if nothing else looks at any.
    pub(super) known_vars: Option<BTreeSet<String>>,
    hosts: Vec<Tree>,
}

/// A cloud-config with the variable that it depends on.
#[derive(Debug)]
pub(super) struct Part {
    when: Option<String>,
    /// Of the file that it writes, where it depends on a variable.
    path: Option<String>,
    tree: Prepared,
}

#[derive(Debug)]
pub(super) struct PreparedHook {
    /// The role whose nodes run it.
    pub(super) on: Option<String>,
    pub(super) command: Prepared,
    pub(super) timeout: Duration,
}

impl Group {
    /// A group whose templates are not ours: others render what its nodes are given.
    pub(super) fn foreign(choices: Vec<Choice>) -> Self {
        assert!(!choices.is_empty(), "a group is made in some way");
        Self {
            provider: Value::from(choices[0].provider.as_str()),
            choices,
            ports: Arc::new([]),
            vars: Vec::new(),
            parts: Vec::new(),
            health: None,
            origin: None,
            packages: BTreeSet::new(),
            shared_folders: Vec::new(),
            drain: None,
            resume: None,
            needs: Vec::new(),
            known_vars: None,
            hosts: Vec::new(),
        }
    }

    /// How a node is made.
    pub(super) fn choice(&self, index: u32) -> &Choice {
        &self.choices[index.saturating_sub(1) as usize % self.choices.len()]
    }

    /// Whether what depends on a variable is there: not where it is false, empty or nothing.
    fn holds(&self, when: Option<&String>, index: u32) -> bool {
        when.is_none_or(|name| self.vars(index).get_attr(name).is_ok_and(|value| value.is_true()))
    }

    pub(super) fn parts(&self, index: u32) -> impl Iterator<Item = &Prepared> {
        self.parts.iter().filter(move |part| self.holds(part.when.as_ref(), index)).map(|part| &part.tree)
    }

    /// Files that a variable has switched off.
    pub(super) fn left_out(&self, index: u32) -> BTreeSet<&str> {
        let parts = self.parts.iter().filter(|part| !self.holds(part.when.as_ref(), index));
        parts.filter_map(|part| part.path.as_deref()).collect()
    }

    pub(super) fn shared_folders(&self, index: u32) -> BTreeSet<PathBuf> {
        let folders = self.shared_folders.iter().filter(|(_, when)| self.holds(when.as_ref(), index));
        folders.map(|(path, _)| path.clone()).collect()
    }

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
        match (&self.choice(index).settings, host) {
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
        let shared = self.spec.vars.merged(&spec.vars);
        let hosts = match &spec.population {
            Population::Hosts(hosts) => hosts.as_slice(),
            Population::Count(_) => &[],
        };
        let mut vars: Vec<Tree> = hosts.iter().map(|host| shared.merged(&host.vars)).collect();
        if vars.is_empty() {
            vars.push(shared);
        }
        let given = self.given(spec, &choice, &mut vars);
        let mut pieces = given.pieces;
        pieces.extend(self.files(&spec.files).map(Piece::from));
        let cloud_init = choice.cloud_init.iter().filter_map(|cloud_init| self.cloud_init(cloud_init));
        pieces.extend(cloud_init.map(Piece::from));
        let health = given.health.into_iter().chain(choice.health.iter().cloned());
        let health = health.reduce(|base, over| base.merged(&over));
        let mut ports = spec.ports.clone();
        ports.extend(given.ports);
        let parts = pieces.into_iter().filter_map(|piece| {
            let tree = self.prepare(&piece.tree)?;
            Some(Part { when: piece.when, path: piece.path, tree })
        });
        Group {
            parts: parts.collect(),
            provider: Value::from(choice.provider.as_str()),
            ports: ports.into(),
            vars: vars.iter().map(to_value).collect(),
            health: health.and_then(|tree| self.prepare(&tree)),
            origin: given.origin,
            packages: BTreeSet::new(),
            shared_folders: given.shared_folders,
            drain: given.drain.and_then(|hook| self.hook(hook)),
            resume: given.resume.and_then(|hook| self.hook(hook)),
            needs: given.needs,
            known_vars: given.known_vars,
            hosts: hosts.iter().map(host_tree).collect(),
            choices: vec![choice],
        }
    }

    fn given(&mut self, group: &GroupSpec, choice: &Choice, vars: &mut [Tree]) -> FromRecipe {
        let Some(reference) = &group.recipe else { return FromRecipe::default() };
        let name = Spanned { value: reference.value.name.clone(), span: reference.span };
        let Some(recipe) = self.loader.recipe(&name, self.sources, self.diagnostics) else {
            return FromRecipe::default();
        };
        let groups: Vec<&str> = self.spec.groups.iter().map(|group| group.name.as_str()).collect();
        let lone = group.files.is_empty() && choice.cloud_init.is_empty() && choice.health.is_empty();
        let asking = Asking { reference: &reference.value, span: name.span, group, groups: &groups, lone };
        from_recipe(recipe, &asking, vars, self.diagnostics)
    }

    fn hook(&mut self, hook: HookSpec) -> Option<PreparedHook> {
        let on = hook.on.map(|role| role.value);
        Some(PreparedHook { on, command: self.prepare(&hook.command)?, timeout: hook.timeout })
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

pub(super) fn write_file(path: &Spanned<String>, content: Verbatim, mode: Option<&str>, owner: Option<&Tree>) -> Tree {
    let span = path.span;
    let mut entries = vec![("path", Tree::text(path.value.clone(), span)), ("content", content.content)];
    if content.base64 {
        entries.push(("encoding", Tree::text("b64", span)));
    }
    entries.extend(mode.map(|mode| ("permissions", Tree::text(mode, span))));
    if let Some(owner) = owner {
        entries.push(("owner", owner.clone()));
        // Other accounts are made by `users` and by packages.
        if !matches!(owner.as_str(), Some("root" | "root:root")) {
            entries.push(("defer", Tree::plain("true", span)));
        }
    }
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
