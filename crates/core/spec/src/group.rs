//! One group of a cluster file.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Node, Span, Spanned, Tree, codes};
use muster_types::GroupName;

use crate::cluster::Context;
use crate::model::{CloudInit, Count, DEFAULT_TIMEOUT, GroupSpec, OnFailure, Population, SizeSpec};
use crate::{files, health, hosts, names, values, variant};

/// Endings that tell a path from a text.
const CLOUD_INIT_ENDINGS: [&str; 3] = [".yaml", ".yml", ".cfg"];

pub(crate) fn read(name: GroupName, span: Span, tree: &Tree, context: &Context<'_>, out: &mut Findings) -> GroupSpec {
    // Everything has a default, so `web:` alone is a group of one node.
    let nothing = values::empty(span);
    let tree = if tree.is_null() { &nothing } else { tree };
    let what = format!("the group `{name}`");
    let Some(mut map) = MapReader::new(tree, &what, out) else { return empty(name, span) };
    let group = GroupSpec {
        recipe: map.field("recipe").and_then(|field| values::recipe(&field, out)),
        population_span: map.get("count").or_else(|| map.get("hosts")).map_or(span, |tree| tree.span),
        population: population(&mut map, out),
        needs: needs(&mut map, out),
        providers: values::providers(&mut map, context, out),
        image: map.optional("image", out),
        agent: map.optional("agent", out),
        size: map.field("size").map_or_else(SizeSpec::default, |field| values::size(&field, out)),
        tags: values::tags(&mut map, out),
        vars: values::vars(&mut map, out),
        files: files::read(&mut map, out),
        cloud_init: map.field("cloud_init").and_then(|field| cloud_init(&field, out)),
        health: map.get("health").filter(|tree| !tree.is_null()).cloned(),
        ports: values::ports(&mut map, out),
        publish: map.get("publish").cloned(),
        mounts: map.get("mounts").cloned(),
        on_failure: values::on_failure(&mut map, out),
        timeout: values::timeout(&mut map, DEFAULT_TIMEOUT, out),
        blocks: values::blocks(&mut map, context),
        variants: variant::read(&mut map, context, out),
        filter: filter(&mut map, out),
        name,
        span,
    };
    map.finish(out);
    // Only what is wrong whatever the templates say; the rest is found once they are rendered.
    if let Some(tree) = &group.health {
        health::read_health(tree, out);
    }
    if !group.variants.is_empty() && group.candidates().next().is_none() {
        let message = format!("no variant of `{}` passes its filter", group.name);
        let hint = "give a variant the keys and values of `filter`, or loosen the filter";
        let at = group.filter.as_ref().map_or(span, |filter| filter.span);
        out.push(Diagnostic::error(codes::VARIANT_NONE, message, hint).at(at, "nothing passes this"));
    }
    group
}

impl GroupSpec {
    /// A group of one node, about which nothing else is said.
    pub fn new(name: GroupName, span: Span) -> Self {
        empty(name, span)
    }
}

fn empty(name: GroupName, span: Span) -> GroupSpec {
    GroupSpec {
        name,
        span,
        recipe: None,
        population: Population::Count(Count { min: 1, max: 1 }),
        population_span: span,
        needs: Vec::new(),
        providers: Vec::new(),
        image: None,
        agent: None,
        size: SizeSpec::default(),
        tags: std::collections::BTreeMap::new(),
        vars: values::empty(span),
        files: Vec::new(),
        cloud_init: None,
        health: None,
        ports: Vec::new(),
        publish: None,
        mounts: None,
        on_failure: Spanned { value: OnFailure::default(), span },
        timeout: DEFAULT_TIMEOUT,
        blocks: std::collections::BTreeMap::new(),
        variants: Vec::new(),
        filter: None,
    }
}

fn population(map: &mut MapReader<'_>, out: &mut Findings) -> Population {
    let one = Population::Count(Count { min: 1, max: 1 });
    let count = map.entry("count");
    let hosts = map.entry("hosts");
    match (count, hosts) {
        (None, None) => one,
        (Some((count, _)), Some((hosts, _))) => {
            let hint = "keep `count` to have machines made, or `hosts` for machines that exist";
            let found = Diagnostic::error(codes::COUNT_AND_HOSTS, "a group has either a count or hosts", hint);
            out.push(found.at(hosts.span, "hosts").related(count.span, "and a count"));
            one
        }
        (Some((_, tree)), None) => values::count(&Field::new("count", tree), out).map_or(one, Population::Count),
        (None, Some((key, tree))) => {
            let hosts = hosts::read(key, tree, out);
            if hosts.is_empty() { one } else { Population::Hosts(hosts) }
        }
    }
}

fn needs(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<Spanned<GroupName>> {
    let Some(field) = map.field("needs").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    field.items(true, out).iter().filter_map(|item| names::reference(item, out)).collect()
}

pub(crate) fn cloud_init(field: &Field<'_>, out: &mut Findings) -> Option<CloudInit> {
    match &field.tree.node {
        Node::Map(_) => Some(CloudInit::Mapping(field.tree.clone())),
        Node::Scalar(scalar) => {
            let text = scalar.text.trim();
            let path = !text.contains('\n') && CLOUD_INIT_ENDINGS.iter().any(|ending| text.ends_with(ending));
            Some(if path {
                CloudInit::Path(Spanned { value: text.to_owned(), span: field.tree.span })
            } else {
                CloudInit::Text(field.tree.clone())
            })
        }
        _ => {
            let hint = "write cloud-config as a mapping or as text behind `|`, or the path of a file that holds it";
            field.wrong("a cloud-config", hint, out);
            None
        }
    }
}

fn filter(map: &mut MapReader<'_>, out: &mut Findings) -> Option<Tree> {
    let field = map.field("filter")?;
    if field.tree.as_map().is_none() {
        field.wrong("a mapping", "write keys and values that a variant must have, as in `{ provider: local }`", out);
        return None;
    }
    Some(field.tree.clone())
}
