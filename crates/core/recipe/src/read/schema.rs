//! `vars` of a recipe: types, limits, defaults.

use std::collections::BTreeMap;

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Key, Tree, codes};

use crate::check::check_default;
use crate::schema::{Pattern, Schema, Var, VarKind};

pub(super) fn vars(map: &mut MapReader<'_>, out: &mut Findings) -> BTreeMap<String, Var> {
    let Some(tree) = map.get("vars").filter(|tree| !tree.is_null()) else { return BTreeMap::new() };
    let vars = named(tree, "`vars`", out);
    for (name, var) in &vars {
        // What stands inside of it was looked at where it was read.
        if let Some(default) = &var.default {
            let found = check_default(name, var, default).into_iter();
            out.diagnostics.extend(found.map(|found| Diagnostic { code: codes::RECIPE_BAD, ..found }));
        }
    }
    vars
}

fn named(tree: &Tree, what: &str, out: &mut Findings) -> BTreeMap<String, Var> {
    let entries = MapReader::new(tree, what, out).map_or(&[][..], |map| map.entries());
    entries.iter().filter_map(|(key, tree)| Some((key.text.clone(), var(key, tree, out)?))).collect()
}

fn var(key: &Key, tree: &Tree, out: &mut Findings) -> Option<Var> {
    let what = format!("the variable `{}`", key.text);
    let mut map = MapReader::new(tree, &what, out)?;
    let schema = schema(&mut map, out);
    let default = map.get("default").cloned();
    let help = map.optional("help", out).unwrap_or_default();
    map.finish(out);
    Some(Var { span: key.span, schema, default, help })
}

/// `type` and the limits that go with it.
fn schema(map: &mut MapReader<'_>, out: &mut Findings) -> Schema {
    let kind = map.field("type").and_then(|field| field.choice(&VarKind::CHOICES, out)).unwrap_or_default();
    let mut limit = |key: &'static str, kinds: &[VarKind], out: &mut Findings| {
        let (name, tree) = map.entry(key)?;
        if kinds.contains(&kind) {
            return Some(Field::new(key, tree));
        }
        let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let message = format!("`{key}` is no limit of the type `{}`", kind.as_str());
        let hint = format!("it goes with the type {}", words.join(" or "));
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(name.span, "not for this type"));
        None
    };
    let pattern = limit("pattern", &[VarKind::Text], out).and_then(|field| pattern(&field, out));
    let choices = limit("choices", &[VarKind::Text], out).map(|field| field.list(false, out)).unwrap_or_default();
    let min = limit("min", &[VarKind::Number], out).and_then(|field| read(&field, out));
    let max = limit("max", &[VarKind::Number], out).and_then(|field| read(&field, out));
    let items = limit("items", &[VarKind::List], out).and_then(|field| {
        let mut map = MapReader::new(field.tree, "`items`", out)?;
        let schema = schema(&mut map, out);
        map.finish(out);
        Some(Box::new(schema))
    });
    let keys = limit("keys", &[VarKind::Mapping], out).map(|field| named(field.tree, "`keys`", out));
    Schema { kind, pattern, choices, min, max, items, keys }
}

fn read(field: &Field<'_>, out: &mut Findings) -> Option<f64> {
    muster_doc::read::Read::read(field, out)
}

fn pattern(field: &Field<'_>, out: &mut Findings) -> Option<Pattern> {
    const HINT: &str = "write a regular expression for the whole text, in quotes, as in \"[a-z][a-z0-9-]*\"";
    let scalar = field.scalar("a pattern", HINT, out)?;
    let pattern = Pattern::new(&scalar.text);
    if pattern.is_err() {
        let message = format!("`{}` is not a regular expression", scalar.text);
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, HINT).at(field.tree.span, "not a pattern"));
    }
    pattern.ok()
}
