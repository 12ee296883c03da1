//! The cluster file itself, put together and written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_doc::{Key, Node, SourceId, SourceMap, Span, Tree, emit};

use super::comments::Notes;
use super::{Folded, Group, Import, Imported, LINES_MAX, write};
use crate::model::{HealthCheck, Infrastructure, Scaling};

/// What no file says in these words.
const NOWHERE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

/// Documents with a file of their own stand in this folder.
const FOLDER: &str = "cloud-init";

fn key(text: &str, span: Span) -> Key {
    Key { text: text.to_owned(), span }
}

fn mapping(entries: Vec<(Key, Tree)>) -> Tree {
    Tree { node: Node::Map(entries), span: NOWHERE }
}

/// A `health` block; what is not said has the value that cluster files give it.
pub(super) fn health(
    own: &HealthCheck,
    urls: Vec<Tree>,
    databases: Vec<Tree>,
    command: Option<&(Vec<String>, Duration)>,
) -> Tree {
    let at = own.span.unwrap_or(NOWHERE);
    let mut outside = Vec::new();
    if own.ping {
        outside.push((key("ping", NOWHERE), Tree::plain("true", at)));
    }
    if !own.ports.is_empty() {
        let ports = own.ports.iter().map(|port| Tree::plain(port.to_string(), NOWHERE)).collect();
        outside.push((key("ports", NOWHERE), Tree::seq(ports, NOWHERE)));
    }
    if !urls.is_empty() {
        outside.push((key("urls", NOWHERE), Tree::seq(urls, NOWHERE)));
    }
    if !databases.is_empty() {
        outside.push((key("mysqldbs", NOWHERE), Tree::seq(databases, NOWHERE)));
    }
    if !outside.is_empty() {
        outside.push((key("timeout", NOWHERE), Tree::plain(span_of_time(own.timeout), NOWHERE)));
    }
    let mut entries = Vec::new();
    if let Some((words, timeout)) = command {
        let words = words.iter().map(|word| Tree::text(word, NOWHERE)).collect();
        entries.push((key("command", NOWHERE), Tree::seq(words, NOWHERE)));
        entries.push((key("timeout", NOWHERE), Tree::plain(span_of_time(*timeout), NOWHERE)));
    }
    if !outside.is_empty() {
        // Comments of the section stand above it.
        entries.push((key("outside", at), mapping(outside)));
    }
    mapping(entries)
}

/// As people write it: `10m`, `1h40m`, `90s`.
fn span_of_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, _) => format!("{seconds}s"),
        (0, _, 0) => format!("{minutes}m"),
        (_, 0, 0) => format!("{hours}h"),
        (_, _, 0) => format!("{hours}h{minutes}m"),
        _ => format!("{seconds}s"),
    }
}

fn count(scaling: Scaling) -> Option<Tree> {
    match (scaling.min, scaling.max) {
        (1, 1) => None,
        (min, max) if min == max => Some(Tree::plain(min.to_string(), NOWHERE)),
        (min, max) => Some(Tree::plain(format!("{min}..{max}"), NOWHERE)),
    }
}

/// What writing looks at besides.
pub(super) struct Told<'a> {
    pub(super) folded: &'a Folded,
    /// Templates that marks stand for in comments.
    pub(super) kept: &'a [String],
    pub(super) sources: &'a SourceMap,
}

/// All files, as texts.
pub(super) fn write(import: &Import<'_>, groups: &[Group<'_>], told: &Told<'_>) -> Imported {
    let Told { folded, kept, sources } = *told;
    let mut files: BTreeMap<String, (String, Tree)> = BTreeMap::new();
    let infrastructure = import.infrastructure;
    let mut entries = vec![(key("cluster", infrastructure.name.span), Tree::text(&infrastructure.name.value, NOWHERE))];
    if let Some(provider) = common_provider(import) {
        entries.push((key("provider", NOWHERE), Tree::text(provider, NOWHERE)));
    }
    if infrastructure.variables.as_map().is_some_and(|vars| !vars.is_empty()) {
        entries.push((key("vars", NOWHERE), folded.apply(&infrastructure.variables)));
    }
    let described = groups.iter().enumerate().map(|(at, group)| {
        let tree = describe(import, at, group, folded, &mut files);
        (key(group.of.name.as_str(), infrastructure.nodes[at].name.span), tree)
    });
    entries.push((key("groups", NOWHERE), mapping(described.collect())));
    let cluster = mapping(entries);
    let own: BTreeSet<SourceId> = groups.iter().map(|group| group.of.implementation.span.source).collect();
    let own: Vec<SourceId> = own.into_iter().chain([infrastructure.span.source]).collect();
    let resources = resources(import, groups);
    let spans: Vec<Span> = resources.iter().map(|(_, span)| *span).collect();
    let mut notes = Notes::gather(&cluster, (&own, &spans), kept, sources);
    let mut text = write::document(&cluster, &mut notes);
    left(&mut text, &notes, sources);
    shown(&mut text, &resources, sources);
    let files = files.into_iter().map(|(path, (_, tree))| {
        let mut notes = Notes::gather(&tree, (&[], &[]), kept, sources);
        (path, format!("#cloud-config\n{}", write::document(&tree, &mut notes)))
    });
    Imported { cluster: text, files: files.collect() }
}

/// The provider of every group, if it is one.
fn common_provider<'a>(import: &'a Import<'_>) -> Option<&'a str> {
    import.provider.or_else(|| {
        let mut names = import.groups.iter().map(|group| group.implementation.resource.plugin.name());
        let first = names.next()?;
        names.all(|name| name == first).then_some(first)
    })
}

fn describe(
    import: &Import<'_>,
    at: usize,
    group: &Group<'_>,
    folded: &Folded,
    files: &mut BTreeMap<String, (String, Tree)>,
) -> Tree {
    let infrastructure = import.infrastructure;
    let node = &infrastructure.nodes[at];
    let mut entries = Vec::new();
    let resource = &group.of.implementation.resource;
    if common_provider(import).is_none() {
        entries.push((key("provider", NOWHERE), Tree::text(resource.plugin.name(), NOWHERE)));
    }
    if let Some(needs) = needs(infrastructure, at) {
        entries.push(needs);
    }
    entries.extend(count(node.scaling).map(|count| (key("count", NOWHERE), count)));
    if node.variables.as_map().is_some_and(|vars| !vars.is_empty()) {
        entries.push((key("vars", NOWHERE), folded.apply(&node.variables)));
    }
    if import.provider.is_none() {
        entries.push((key(resource.plugin.name(), resource.span), resource.tree.clone()));
    }
    if let Some(tree) = &group.cloud_init {
        let place = if import.files { own_file(&group.of.name, tree, files) } else { None };
        let value = place.map_or_else(|| tree.clone(), |path| Tree::text(path, NOWHERE));
        // Comments of the section stand above it.
        let at = group.of.implementation.tree.get("contextualisation").map_or(NOWHERE, |section| section.span);
        entries.push((key("cloud_init", at), value));
    }
    if group.health.as_map().is_some_and(|checks| !checks.is_empty()) {
        entries.push((key("health", NOWHERE), group.health.clone()));
    }
    mapping(entries)
}

fn needs(infrastructure: &Infrastructure, at: usize) -> Option<(Key, Tree)> {
    let mut names: Vec<&str> = Vec::new();
    let edges: Vec<_> = infrastructure.edges.iter().filter(|edge| edge.dependent == at).collect();
    for edge in &edges {
        let name = infrastructure.nodes[edge.dependee].name.value.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let span = edges.first()?.span;
    let names = names.into_iter().map(|name| Tree::text(name, NOWHERE)).collect();
    Some((key("needs", span), Tree::seq(names, NOWHERE)))
}

/// The path of a file for a long document; groups with the same document share it.
fn own_file(
    name: &muster_types::GroupName,
    tree: &Tree,
    files: &mut BTreeMap<String, (String, Tree)>,
) -> Option<String> {
    let text = emit(tree);
    if text.lines().count() <= LINES_MAX {
        return None;
    }
    if let Some((path, _)) = files.iter().find(|(_, (known, _))| *known == text) {
        return Some(path.clone());
    }
    let path = format!("{FOLDER}/{name}.yaml");
    files.insert(path.clone(), (text, tree.clone()));
    Some(path)
}

/// Resource sections that have no place in the cluster file.
fn resources(import: &Import<'_>, groups: &[Group<'_>]) -> Vec<(String, Span)> {
    let own = groups.iter().filter(|_| import.provider.is_some());
    own.map(|group| (group.of.name.to_string(), group.of.implementation.resource.tree.span)).collect()
}

/// Comments that stand beside nothing that is left.
fn left(text: &mut String, notes: &Notes, sources: &SourceMap) {
    for (id, lines) in &notes.left {
        let name = sources.name(*id);
        text.extend(["\n# From ", name.rsplit('/').next().unwrap_or(name), ":\n"]);
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
    }
}

/// Keeps the resource sections for the day when another provider is chosen.
fn shown(text: &mut String, resources: &[(String, Span)], sources: &SourceMap) {
    let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, span) in resources {
        let lines = section(*span, sources);
        match sections.iter_mut().find(|(_, known)| *known == lines) {
            Some((names, _)) => names.extend([", ", name]),
            None => sections.push((name.clone(), lines)),
        }
    }
    if !sections.is_empty() {
        text.push_str("\n# What the resource sections of Occopus said, which this provider has no use for.\n");
    }
    for (names, lines) in sections {
        text.extend(["#\n# ", &names, ":\n"]);
        for line in lines {
            text.push_str(format!("#   {line}").trim_end());
            text.push('\n');
        }
    }
}

/// The lines of a section without what they are all indented by.
fn section(span: Span, sources: &SourceMap) -> Vec<&str> {
    let source = sources.text(span.source);
    let start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let start = if source[start..span.start].trim().is_empty() { start } else { span.start };
    let lines: Vec<&str> = source[start..span.end.min(source.len())].trim_end().lines().collect();
    let solid = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = solid.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|line| line.get(indent..).unwrap_or_default()).collect()
}
