//! What templates of cluster files yield, for trying out what was made of one of Occopus' templates. The engine, whose
//! functions these are, compares whole documents afterwards.

use std::sync::Arc;

use base64::Engine as _;
use muster_doc::template::{TemplateError, TemplateErrorKind, Templates, Value, to_value};
use muster_doc::{SourceMap, Tree, emit, parse};

use super::views::View;

/// A node of a view as templates see it.
fn node(view: &View, group: usize, index: usize) -> Value {
    let group = &view.groups[group];
    let instance = &group.instances[index];
    let addresses: Value = instance.addresses.iter().map(String::as_str).collect();
    Value::from_pairs([
        ("name", Value::from(format!("{}-{}", group.name, index + 1))),
        ("group", Value::from(group.name.as_str())),
        ("index", Value::from(index + 1)),
        ("id", Value::from(instance.node_id.as_str())),
        ("address", Value::from(instance.addresses.first().map_or("", String::as_str))),
        ("addresses", addresses),
    ])
}

fn nodes(view: &View, group: usize) -> Vec<Value> {
    (0..view.groups[group].instances.len()).map(|index| node(view, group, index)).collect()
}

fn group(view: &View, group: usize) -> Value {
    let nodes = nodes(view, group);
    Value::from_pairs([
        ("name", Value::from(view.groups[group].name.as_str())),
        ("count", Value::from(nodes.len())),
        ("nodes", nodes.into_iter().collect()),
    ])
}

/// All names of one view. `vars` are those of the group.
pub(super) fn context(view: &Arc<View>, vars: &Tree) -> Value {
    let all = 0..view.groups.len();
    let groups = Value::from_pairs(all.clone().map(|index| (view.groups[index].name.clone(), group(view, index))));
    let addresses = |private: bool| {
        let view = Arc::clone(view);
        move |of: &str| -> Result<Vec<String>, TemplateError> {
            let Some(group) = view.groups.iter().find(|group| group.name == of) else {
                return Err(TemplateError::new(TemplateErrorKind::InvalidOperation, format!("no group `{of}`")));
            };
            let pick = |list: &Vec<String>| if private { list.last().cloned() } else { list.first().cloned() };
            Ok(group.instances.iter().filter_map(|instance| pick(&instance.addresses)).collect())
        }
    };
    let first = |list: Vec<String>| list.into_iter().next().unwrap_or_default();
    let (public, private, every) = (addresses(false), addresses(true), addresses(false));
    Value::from_pairs([
        ("cluster".to_owned(), Value::from(view.cluster.as_str())),
        ("cluster_id".to_owned(), Value::from(view.infra_id.as_str())),
        ("vars".to_owned(), to_value(vars)),
        ("node".to_owned(), node(view, view.group, view.index)),
        ("group".to_owned(), group(view, view.group)),
        ("groups".to_owned(), groups),
        ("nodes".to_owned(), all.flat_map(|index| nodes(view, index)).collect()),
        ("getip".to_owned(), Value::from_function(move |of: &str| public(of).map(first))),
        ("getprivip".to_owned(), Value::from_function(move |of: &str| private(of).map(first))),
        ("getipall".to_owned(), Value::from_function(move |of: &str| every(of))),
    ])
}

/// What a scalar yields once it is written into a cluster file and read back.
pub(super) fn rendered(leaf: &Tree, context: &Value) -> Option<Tree> {
    let mut sources = SourceMap::default();
    let written = emit(&Tree::map([("value", leaf.clone())], leaf.span));
    let (tree, found) = parse(&mut sources, "value", &written);
    let tree = tree.filter(|_| found.is_empty())?;
    let mut templates = Templates::new(|environment| {
        environment.add_filter("b64encode", |text: &str| base64::engine::general_purpose::STANDARD.encode(text));
        environment.add_function("cut", |text: &str, start: usize, end: usize| -> String {
            text.chars().skip(start).take(end.saturating_sub(start)).collect()
        });
    });
    let prepared = templates.prepare(&tree, &sources).ok()?;
    templates.render(&prepared, context, &sources).ok()?.get("value").cloned()
}
