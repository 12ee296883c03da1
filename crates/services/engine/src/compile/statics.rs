//! What says which machines are made is rendered before it is typed: it cannot wait for addresses, and it is the same for
//! all nodes of a group. Templates there see `cluster`, `vars` and `group.name`.

use muster_doc::template::{Templates, Value, holds_template, to_value};
use muster_doc::{Diagnostic, Key, Node, SourceMap, Tree};

/// Keys whose values are rendered late, for each node, or are values rather than templates.
const LATE: [&str; 5] = ["files", "cloud_init", "health", "vars", "variants"];

pub(super) struct Statics<'a> {
    pub(super) templates: &'a mut Templates,
    pub(super) sources: &'a SourceMap,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Statics<'_> {
    pub(super) fn render(&mut self, file: &Tree) -> Tree {
        let Node::Map(entries) = &file.node else { return file.clone() };
        let cluster = file.get("cluster").and_then(Tree::as_str).unwrap_or_default();
        let vars = file.get("vars").filter(|vars| vars.as_map().is_some());
        let context = |group: Option<&Key>, vars: Option<&Tree>| {
            let vars = vars.map_or_else(|| Value::from_pairs(std::iter::empty::<(String, Value)>()), to_value);
            let mut pairs = vec![("cluster", Value::from(cluster)), ("vars", vars)];
            pairs.extend(group.map(|key| ("group", Value::from_pairs([("name", key.text.as_str())]))));
            Value::from_pairs(pairs)
        };
        let entries = entries.iter().map(|(key, value)| {
            let value = match key.text.as_str() {
                "groups" => self.groups(value, |key, group| {
                    let own = group.get("vars").filter(|vars| vars.as_map().is_some());
                    let merged = match (vars, own) {
                        (Some(vars), Some(own)) => Some(vars.merged(own)),
                        (vars, own) => own.or(vars).cloned(),
                    };
                    context(Some(key), merged.as_ref())
                }),
                "vars" | "cluster" => value.clone(),
                _ => self.value(value, &context(None, vars)),
            };
            (key.clone(), value)
        });
        Tree { node: Node::Map(entries.collect()), span: file.span }
    }

    fn groups(&mut self, tree: &Tree, context: impl Fn(&Key, &Tree) -> Value) -> Tree {
        let Node::Map(entries) = &tree.node else { return tree.clone() };
        let entries = entries.iter().map(|(key, group)| {
            let group = if holds_template(group) { self.group(group, &context(key, group)) } else { group.clone() };
            (key.clone(), group)
        });
        Tree { node: Node::Map(entries.collect()), span: tree.span }
    }

    /// A group or a variant.
    fn group(&mut self, tree: &Tree, context: &Value) -> Tree {
        let Node::Map(entries) = &tree.node else { return tree.clone() };
        let entries = entries.iter().map(|(key, value)| {
            let value = match (key.text.as_str(), &value.node) {
                ("variants", Node::Seq(variants)) => {
                    Tree::seq(variants.iter().map(|variant| self.group(variant, context)).collect(), value.span)
                }
                (name, _) if LATE.contains(&name) => value.clone(),
                _ => self.value(value, context),
            };
            (key.clone(), value)
        });
        Tree { node: Node::Map(entries.collect()), span: tree.span }
    }

    fn value(&mut self, tree: &Tree, context: &Value) -> Tree {
        if !holds_template(tree) {
            return tree.clone();
        }
        let rendered = match self.templates.prepare(tree, self.sources) {
            Ok(prepared) => self.templates.render(&prepared, context, self.sources),
            Err(diagnostics) => Err(diagnostics),
        };
        rendered.unwrap_or_else(|mut diagnostics| {
            self.diagnostics.append(&mut diagnostics);
            tree.clone()
        })
    }
}
