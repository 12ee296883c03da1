//! Dependencies: which node waits for which. Their ends are aliases of the nodes themselves, or names.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Key, Node, Tree, codes, suggest};

use crate::model::{Edge, Mapping, NodeEntry};

const EDGE_HINT: &str = "write `- [ *DEPENDENT, *DEPENDEE ]`, or `- connection: [ *DEPENDENT, *DEPENDEE ]`";

pub(crate) fn read(map: &mut MapReader<'_>, nodes: &[NodeEntry], out: &mut Findings) -> Vec<Edge> {
    let Some(field) = map.field("dependencies").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    let edges: Vec<Edge> = field.items(false, out).iter().filter_map(|item| edge(item, nodes, out)).collect();
    circles(nodes, &edges, out);
    edges
}

fn edge(field: &Field<'_>, nodes: &[NodeEntry], out: &mut Findings) -> Option<Edge> {
    if field.tree.as_map().is_none() {
        let (dependent, dependee) = ends(field.tree, nodes, out)?;
        return Some(Edge { span: field.tree.span, dependent, dependee, mappings: Vec::new(), further: Vec::new() });
    }
    let mut map = MapReader::new(field.tree, "a dependency", out)?;
    let ends = match map.get("connection") {
        Some(tree) => ends(tree, nodes, out),
        None => {
            map.missing("connection", EDGE_HINT, out);
            None
        }
    };
    let mappings = map.field("mappings").filter(|field| !field.tree.is_null());
    let mappings = mappings.map_or_else(Vec::new, |field| field.items(false, out));
    let mappings = mappings.iter().filter_map(|item| mapping(item, out)).collect();
    let further = further(&map, &["connection", "mappings"]);
    for (key, _) in &further {
        let message = format!("nothing reads the key `{}` of a dependency, here or in Occopus", key.text);
        let hint = suggest::hint(&key.text, &["mappings"], "key");
        out.push(Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(key.span, "without effect"));
    }
    let (dependent, dependee) = ends?;
    Some(Edge { span: field.tree.span, dependent, dependee, mappings, further })
}

fn further(map: &MapReader<'_>, known: &[&str]) -> Vec<(Key, Tree)> {
    map.entries().iter().filter(|(key, _)| !known.contains(&key.text.as_str())).cloned().collect()
}

fn ends(tree: &Tree, nodes: &[NodeEntry], out: &mut Findings) -> Option<(usize, usize)> {
    let Some([dependent, dependee]) = tree.as_seq() else {
        let message = "a dependency has two ends: the node that waits, and the node that it waits for";
        out.push(Diagnostic::error(codes::OCCOPUS_EDGE, message, EDGE_HINT).at(tree.span, "not two nodes"));
        return None;
    };
    let (dependent, dependee) = (end(dependent, tree, nodes, out), end(dependee, tree, nodes, out));
    dependent.zip(dependee)
}

/// An alias stands for the node whose place it has; a mapping written out, for the node that says the same or has its name.
fn end(tree: &Tree, edge: &Tree, nodes: &[NodeEntry], out: &mut Findings) -> Option<usize> {
    let named = |name: &str| nodes.iter().position(|node| node.name.value == name);
    if let Some(index) = nodes.iter().position(|node| node.span == tree.span) {
        return Some(index);
    }
    let name = match &tree.node {
        Node::Map(_) => {
            if let Some(index) = nodes.iter().position(|node| equal(&node.tree, tree)) {
                return Some(index);
            }
            tree.get("name").and_then(Tree::as_str)
        }
        _ => tree.as_str(),
    };
    // The text behind an alias stands elsewhere; the edge is the better place to show.
    let inside = tree.span.source == edge.span.source && (edge.span.start..edge.span.end).contains(&tree.span.start);
    let at = if inside { tree.span } else { edge.span };
    let Some(name) = name else {
        let message = format!("an end of a dependency is {}, not a node", tree.kind());
        out.push(Diagnostic::error(codes::OCCOPUS_EDGE, message, EDGE_HINT).at(at, "not a node"));
        return None;
    };
    let Some(index) = named(name) else {
        let known: Vec<&str> = nodes.iter().map(|node| node.name.value.as_str()).collect();
        let message = format!("a dependency names the node `{name}`, which the infrastructure does not have");
        let hint = suggest::hint(name, &known, "node");
        out.push(Diagnostic::error(codes::OCCOPUS_EDGE, message, hint).at(at, "no such node"));
        return None;
    };
    let message =
        format!("this end of the dependency is taken for the node `{name}`; Occopus would ignore the dependency");
    let hint = format!(
        "nothing is wrong here; for Occopus, write an alias of the node: `&X` at it, `*X` in place of `{name}`"
    );
    out.push(Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(at, "not an alias"));
    Some(index)
}

/// Equal as Python's mappings are: the order of keys does not matter.
fn equal(a: &Tree, b: &Tree) -> bool {
    match (&a.node, &b.node) {
        (Node::Map(left), Node::Map(right)) => {
            let found = |(key, value): &(Key, Tree)| b.get(&key.text).is_some_and(|other| equal(value, other));
            left.len() == right.len() && left.iter().all(found)
        }
        (Node::Seq(left), Node::Seq(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        _ => a.same(b),
    }
}

/// `[source, destination]`, or `{attributes: [source, destination], synch: true}`.
fn mapping(field: &Field<'_>, out: &mut Findings) -> Option<Mapping> {
    if field.tree.as_map().is_none() {
        let (source, destination) = attributes(field, out)?;
        return Some(Mapping { source, destination, synch: false, further: Vec::new() });
    }
    let mut map = MapReader::new(field.tree, "a mapping of attributes", out)?;
    let attributes = match map.field("attributes") {
        Some(field) => attributes(&field, out),
        None => {
            map.missing("attributes", "write `attributes: [ source, destination ]`", out);
            None
        }
    };
    let synch = map.optional("synch", out).unwrap_or(false);
    let further = further(&map, &["attributes", "synch"]);
    let (source, destination) = attributes?;
    Some(Mapping { source, destination, synch, further })
}

fn attributes(field: &Field<'_>, out: &mut Findings) -> Option<(String, String)> {
    if let Some([source, destination]) = field.tree.as_seq()
        && let (Some(source), Some(destination)) = (source.as_str(), destination.as_str())
    {
        return Some((source.to_owned(), destination.to_owned()));
    }
    field.wrong("a pair of attributes", "write `[ source, destination ]`, both as texts", out);
    None
}

/// Walks the edges in depth; one that leads back to a node on the way there closes a circle. Each circle is shown along
/// its edges.
fn circles(nodes: &[NodeEntry], edges: &[Edge], out: &mut Findings) {
    let mut done = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        // The way to where we are: the node, and which edge comes next.
        let mut way: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, next)) = way.last_mut() {
            let from = *at;
            let Some(offset) = edges[*next..].iter().position(|edge| edge.dependent == from) else {
                done[from] = true;
                way.pop();
                continue;
            };
            let edge = &edges[*next + offset];
            *next += offset + 1;
            if let Some(first) = way.iter().position(|(at, _)| *at == edge.dependee) {
                let steps: Vec<&Edge> = way[first..].iter().map(|(_, next)| &edges[next - 1]).collect();
                out.push(circle(nodes, &steps));
            } else if !done[edge.dependee] {
                way.push((edge.dependee, 0));
            }
        }
    }
}

fn circle(nodes: &[NodeEntry], steps: &[&Edge]) -> Diagnostic {
    let name = |index: usize| nodes[index].name.value.as_str();
    let step = |index: usize| {
        let edge = steps[index];
        format!("{}. `{}` waits for `{}`", index + 1, name(edge.dependent), name(edge.dependee))
    };
    if let [edge] = steps {
        let message = format!("the node `{}` depends on itself", name(edge.dependent));
        return Diagnostic::error(codes::GROUP_CYCLE, message, "remove this dependency").at(edge.span, "itself");
    }
    let names: Vec<&str> = steps.iter().map(|edge| edge.dependent).chain([steps[0].dependent]).map(name).collect();
    let message = format!("nodes wait for each other in a circle: {}", names.join(" → "));
    let hint = "remove one of these dependencies, so that one node can be made first";
    let found = Diagnostic::error(codes::GROUP_CYCLE, message, hint).at(steps[0].span, step(0));
    (1..steps.len()).fold(found, |found, index| found.related(steps[index].span, step(index)))
}
