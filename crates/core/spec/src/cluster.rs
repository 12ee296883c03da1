//! The top of a cluster file.

use std::collections::BTreeMap;

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Node, Spanned, Tree, codes};
use muster_types::{ClusterName, GroupName};

use crate::model::ClusterSpec;
use crate::{group, names, needs, values};

/// What a file may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Names of providers; a key of one of these names is that provider's block.
    pub providers: &'a [&'a str],
}

/// Stands for a name that could not be read, so that the rest of the file is looked at; it comes with an error.
const STAND_IN: &str = "unnamed";

/// Reads a cluster file. All mistakes at once; the model is there if the file is a mapping, and lacks what could not be
/// read.
pub fn read(tree: &Tree, context: &Context<'_>) -> (Option<ClusterSpec>, Vec<Diagnostic>) {
    let mut out = Findings { templates: true, ..Findings::default() };
    let spec = cluster(tree, context, &mut out);
    (spec, out.diagnostics)
}

fn cluster(tree: &Tree, context: &Context<'_>, out: &mut Findings) -> Option<ClusterSpec> {
    let mut map = MapReader::new(tree, "the cluster file", out)?;
    let name = match map.field("cluster") {
        Some(field) => names::cluster(&field, out),
        None => {
            map.missing("cluster", "begin the file with its name, as in `cluster: demo`", out);
            None
        }
    };
    let providers = values::providers(&mut map, context, out);
    let vars = values::vars(&mut map, out);
    let blocks = values::blocks(&mut map, context);
    let groups = groups(&mut map, context, out);
    map.finish(out);
    needs::check(&groups, out);
    let name = name.or_else(|| {
        let stand_in = ClusterName::new(STAND_IN).ok()?;
        Some(Spanned { value: stand_in, span: tree.span })
    });
    Some(ClusterSpec { name: name?, providers, vars, blocks, groups })
}

fn groups(map: &mut MapReader<'_>, context: &Context<'_>, out: &mut Findings) -> Vec<crate::GroupSpec> {
    const HINT: &str = "describe at least one group, as in `groups: { web: { recipe: hello, count: 3 } }`";
    let Some((key, tree)) = map.entry("groups") else {
        map.missing("groups", HINT, out);
        return Vec::new();
    };
    let span = key.span;
    match &tree.node {
        Node::Map(entries) if !entries.is_empty() => {}
        Node::Map(_) | Node::Null => {
            let found = Diagnostic::error(codes::GROUPS_NONE, "the file describes no group", HINT);
            out.push(found.at(span, "nothing in it"));
            return Vec::new();
        }
        _ => {
            let hint = "write each group under its name, as in `groups: { web: { count: 3 } }`";
            Field::new("groups", tree).wrong("a mapping", hint, out);
            return Vec::new();
        }
    }
    let mut groups = Vec::new();
    let mut lower: BTreeMap<String, Spanned<GroupName>> = BTreeMap::new();
    for (key, tree) in tree.as_map().unwrap_or_default() {
        let Some(name) = names::group(key, out) else { continue };
        if let Some(other) = lower.get(&name.as_str().to_ascii_lowercase()) {
            let message = format!("the groups `{}` and `{name}` differ only in capitals", other.value);
            let found = Diagnostic::error(
                codes::NODE_NAME_CLASH,
                message,
                "rename one of them: host names do not tell capitals from small letters",
            );
            out.push(found.at(key.span, "second name").related(other.span, "first name"));
        }
        lower.insert(name.as_str().to_ascii_lowercase(), Spanned { value: name.clone(), span: key.span });
        groups.push(group::read(name, key.span, tree, context, out));
    }
    groups
}
