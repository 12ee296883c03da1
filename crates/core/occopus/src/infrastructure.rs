//! Infrastructure descriptions: a closed set of keys, nodes, and the edges between them.

use std::collections::BTreeMap;

use muster_doc::read::{Field, Findings, MapReader, int};
use muster_doc::{Diagnostic, SourceMap, Span, Spanned, Tree, codes};

use crate::edges;
use crate::load::{Loader, load, plain_hints};
use crate::model::{Infrastructure, NodeEntry, Scaling, nothing};

/// Longest name of an infrastructure or a node.
const NAME_BYTES_MAX: usize = 63;

/// Most instances of a node; more is a slip of the pen.
const INSTANCES_MAX: i128 = 10_000;

/// Reads an infrastructure description. All mistakes at once; the model is there if the text is a mapping, and lacks what
/// could not be read.
pub fn read_infrastructure(
    sources: &mut SourceMap,
    name: &str,
    text: &str,
    loader: &mut Loader<'_>,
) -> (Option<Infrastructure>, Vec<Diagnostic>) {
    let (tree, found) = load(sources, name, text, loader);
    let mut out = Findings { diagnostics: found, templates: false };
    let infrastructure = tree.and_then(|tree| infrastructure(&tree, &mut out));
    plain_hints(&mut out.diagnostics, sources);
    (infrastructure, out.diagnostics)
}

fn infrastructure(tree: &Tree, out: &mut Findings) -> Option<Infrastructure> {
    let mut map = MapReader::new(tree, "the infrastructure", out)?;
    let name = match map.field("infra_name") {
        Some(field) => host_name(&field, "an infrastructure", out),
        None => {
            map.missing("infra_name", "begin the file with its name, as in `infra_name: demo`", out);
            None
        }
    };
    let user = map.get("user_id").filter(|user| !user.is_null()).cloned();
    if user.is_none() {
        let message = "the infrastructure has no `user_id`; Occopus fails without one, here it stays empty";
        let hint = "write who it belongs to, as in `user_id: somebody@example.org`";
        let at = map.entries().first().map_or(tree.span, |(key, _)| key.span);
        out.push(Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(at, "`user_id` is missing here"));
    }
    let variables = variables(&mut map, out);
    let nodes = nodes(&mut map, out);
    let edges = edges::read(&mut map, &nodes, out);
    map.finish(out);
    let unnamed = Spanned { value: "unnamed".to_owned(), span: tree.span };
    Some(Infrastructure { span: tree.span, name: name.unwrap_or(unnamed), user, variables, nodes, edges })
}

/// Letters, digits and dashes. A dot or an underscore is what people try first.
fn host_name(field: &Field<'_>, what: &str, out: &mut Findings) -> Option<Spanned<String>> {
    const HINT: &str = "use letters, digits and dashes, at most 63 of them; they become host names";
    let text = field.scalar("a name", HINT, out)?.text.as_str();
    let bad = text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-'));
    let message = match bad {
        Some(c) => format!("the name of {what} cannot hold `{c}`, as `{text}` does"),
        None if text.is_empty() => format!("the name of {what} is empty"),
        None if text.len() > NAME_BYTES_MAX => {
            format!("the name of {what} has {} characters; at most {NAME_BYTES_MAX} are taken", text.len())
        }
        None => return Some(Spanned { value: text.to_owned(), span: field.tree.span }),
    };
    out.push(Diagnostic::error(codes::NAME, message, HINT).at(field.tree.span, "not a name"));
    None
}

/// A mapping of anything; an empty one if there is none.
fn variables(map: &mut MapReader<'_>, out: &mut Findings) -> Tree {
    let span = map.span();
    match map.field("variables").filter(|field| !field.tree.is_null()) {
        Some(field) if field.tree.as_map().is_some() => field.tree.clone(),
        Some(field) => {
            field.wrong("a mapping", "write the variables as `name: value` lines below `variables:`", out);
            nothing(span)
        }
        None => nothing(span),
    }
}

fn nodes(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<NodeEntry> {
    const HINT: &str = "list the nodes, as in `nodes: [ { name: web, type: web_node } ]`";
    let Some(field) = map.field("nodes") else {
        map.missing("nodes", HINT, out);
        return Vec::new();
    };
    if field.tree.is_null() || field.tree.as_seq().is_some_and(<[Tree]>::is_empty) {
        let found = Diagnostic::error(codes::GROUPS_NONE, "the infrastructure describes no node", HINT);
        out.push(found.at(field.tree.span, "nothing in it"));
        return Vec::new();
    }
    let nodes: Vec<NodeEntry> = field.items(false, out).iter().filter_map(|item| node(item, out)).collect();
    clashes(&nodes, out);
    nodes
}

fn node(field: &Field<'_>, out: &mut Findings) -> Option<NodeEntry> {
    let mut map = MapReader::new(field.tree, "a node", out)?;
    let name = match map.field("name") {
        Some(field) => host_name(&field, "a node", out),
        None => {
            map.missing("name", "give the node a name, as in `name: master`", out);
            None
        }
    };
    let definition: Option<Spanned<String>> =
        map.required("type", "name a node definition: `type: web_node` stands for `node_def:web_node`", out);
    let scaling = map.field("scaling").filter(|field| !field.tree.is_null());
    let scaling = scaling.and_then(|field| scaling_of(&field, out)).unwrap_or(Scaling { min: 1, max: 1 });
    let filter = map.field("filter").and_then(|field| {
        if field.tree.as_map().is_none() {
            field.wrong("a mapping", "write keys and values of a resource section, as in `{ type: ec2 }`", out);
            return None;
        }
        Some(field.tree.clone())
    });
    let variables = variables(&mut map, out);
    map.finish(out);
    let span = field.tree.span;
    Some(NodeEntry { span, name: name?, definition: definition?, scaling, filter, variables, tree: field.tree.clone() })
}

/// `min` is at least 1 and 1 unless given; `max` is at least `min`, and `min` unless given.
fn scaling_of(field: &Field<'_>, out: &mut Findings) -> Option<Scaling> {
    let mut map = MapReader::new(field.tree, "`scaling`", out)?;
    let mut bound = |key: &'static str, out: &mut Findings| {
        let field = map.field(key).filter(|field| !field.tree.is_null())?;
        int(&field, -INSTANCES_MAX, INSTANCES_MAX, out).map(|value| (value, field.tree.span))
    };
    let (min, max) = (bound("min", out), bound("max", out));
    map.finish(out);
    let lowest = min.map_or(1, |(value, _)| value.max(1));
    if let Some((value, span)) = min.filter(|(value, _)| *value < 1) {
        raised(format!("`min: {value}` is taken for 1: a node has at least one instance"), span, out);
    }
    let highest = max.map_or(lowest, |(value, _)| value.max(lowest));
    if let Some((value, span)) = max.filter(|(value, _)| *value < lowest) {
        raised(format!("`max: {value}` is less than `min`, so it is taken for {lowest}"), span, out);
    }
    Some(Scaling { min: u32::try_from(lowest).ok()?, max: u32::try_from(highest).ok()? })
}

fn raised(message: String, span: Span, out: &mut Findings) {
    let hint = "write the number that is meant";
    out.push(Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(span, "raised"));
}

/// Names must be unique, and host names do not tell capitals from small letters.
fn clashes(nodes: &[NodeEntry], out: &mut Findings) {
    let mut seen: BTreeMap<String, &Spanned<String>> = BTreeMap::new();
    for node in nodes {
        let Some(first) = seen.insert(node.name.value.to_ascii_lowercase(), &node.name) else { continue };
        let message = if first.value == node.name.value {
            format!("two nodes are called `{}`", first.value)
        } else {
            format!("the nodes `{}` and `{}` differ only in capitals", first.value, node.name.value)
        };
        let found = Diagnostic::error(codes::NODE_NAME_CLASH, message, "rename one of them");
        out.push(found.at(node.name.span, "second name").related(first.span, "first name"));
    }
}
