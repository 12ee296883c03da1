//! `muster recipe show`: everything that a recipe does, on one page.

use std::collections::BTreeMap;
use std::path::Path;

use muster_doc::template::to_value;
use muster_doc::{Node, Tree, scalar, suggest};
use muster_engine::compile::find_recipe;
use muster_recipe::{Function, HookSpec, Recipe, Schema, Var, VarKind};
use serde_json::{Value, json};

use super::place;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::Printer;
use crate::output::printer::Tone;
use crate::output::table::{duration, table};

pub(super) fn run(name: &str, folder: &Path, context: &Context) -> Result<ExitStatus, Failure> {
    let (name, role) = name.split_once('/').map_or((name, None), |(name, role)| (name, Some(role)));
    let listed = find_recipe(folder, name).map_err(|hint| {
        Failure::usage(format!("there is no recipe `{name}`"), format!("{hint}; `muster recipe ls`"))
    })?;
    let from = place(&listed);
    let recipe = listed
        .recipe
        .map_err(|rejected| Failure::Rejected { sources: rejected.sources, diagnostics: rejected.diagnostics })?;
    let function = function(&recipe, role)?;
    if context.printer.is_text() {
        context.printer.line(page(&function, role, &from, &context.printer).trim_end());
    } else {
        context.printer.json(&document(&function, role, &from))?;
    }
    Ok(ExitStatus::DONE)
}

/// A recipe with roles is shown by what they share where none is named.
fn function<'r>(recipe: &'r Recipe, role: Option<&str>) -> Result<Function<'r>, Failure> {
    if role.is_none() {
        return Ok(Function { recipe, parts: vec![&recipe.common] });
    }
    recipe.function(role).map_err(|fault| {
        let roles: Vec<&str> = recipe.roles.keys().map(String::as_str).collect();
        Failure::usage(fault, suggest::hint(role.unwrap_or_default(), &roles, "role"))
    })
}

fn description<'r>(function: &Function<'r>, role: Option<&str>) -> &'r str {
    let own = role.and_then(|role| function.recipe.roles.get(role)).map(|role| role.description.trim());
    own.filter(|own| !own.is_empty()).unwrap_or(function.recipe.description.trim())
}

/// A title, and rows without a header.
type Section = (&'static str, Vec<Vec<String>>);

fn page(function: &Function<'_>, role: Option<&str>, from: &str, printer: &Printer) -> String {
    let recipe = function.recipe;
    let name = role.map_or_else(|| recipe.name.clone(), |role| format!("{}/{role}", recipe.name));
    let mut text = format!("{} ({from})\n{}\n", printer.data_tone(&name, Tone::Strong), description(function, role));
    if role.is_none() && !recipe.roles.is_empty() {
        let rows = recipe.roles.iter().map(|(role, part)| vec![role.clone(), part.description.trim().to_owned()]);
        add(&mut text, ("Roles, each with variables of its own", rows.collect()), printer);
    }
    let mut vars = Vec::new();
    flatten("", &function.vars(), &mut vars);
    let vars = vars.into_iter().map(|(path, var)| vec![path, kind(&var.schema), default(var), explained(var)]);
    add(&mut text, ("Variables: name, type, default", vars.collect()), printer);
    for section in sections(function) {
        add(&mut text, section, printer);
    }
    text
}

fn add(text: &mut String, (title, rows): Section, printer: &Printer) {
    if rows.is_empty() {
        return;
    }
    let rows = table(printer, &[], rows);
    // A header without columns still takes a line.
    let rows = rows.lines().filter(|line| !line.is_empty()).map(|line| format!("  {line}\n"));
    text.extend(["\n".to_owned(), printer.data_tone(title, Tone::Strong), "\n".to_owned()].into_iter().chain(rows));
}

fn sections(function: &Function<'_>) -> Vec<Section> {
    let one = |text: String| vec![text];
    let when = |when: Option<&String>| when.map(|when| format!("when `{when}` is set")).unwrap_or_default();
    let parts = &function.parts;
    let files = parts.iter().flat_map(|part| &part.files);
    let files = files.map(|file| vec![file.path.value.clone(), when(file.when.as_ref().map(|when| &when.value))]);
    let folders = function.shared_folders().into_iter();
    let folders = folders
        .map(|folder| vec![folder.path.display().to_string(), when(folder.when.as_ref().map(|when| &when.value))]);
    let secrets = function.secrets().into_iter().map(|(name, secret)| {
        let shape = format!("{} bytes as {}", secret.bytes, secret.form.as_str());
        vec![name.to_owned(), shape, secret.help.clone()]
    });
    let reloads = reloads(function).into_iter().map(|(name, files, command)| vec![name, command, files.join(", ")]);
    let hooks = hooks(function).into_iter().map(|(name, hook)| {
        let on = hook.on.as_ref().map_or_else(|| "on the node".to_owned(), |on| format!("on {}", on.value));
        let within = format!("within {}", duration(hook.timeout.as_millis()));
        vec![name.to_owned(), on, within, first_line(&hook.command)]
    });
    vec![
        ("Needs these roles to be ready first", function.needs().iter().map(|need| one(need.value.clone())).collect()),
        ("Packages", packages(function).into_iter().map(one).collect()),
        ("Ports", function.ports().iter().map(|port| one(port.to_string())).collect()),
        ("Secrets, made once for each cluster", secrets.collect()),
        ("Files", files.collect()),
        ("Reloads, when a file changes", reloads.collect()),
        ("Shared folders", folders.collect()),
        ("Hooks", hooks.collect()),
    ]
}

fn hooks<'r>(function: &Function<'r>) -> Vec<(&'static str, &'r HookSpec)> {
    let hooks = [("drain", function.drain()), ("resume", function.resume())];
    hooks.into_iter().filter_map(|(name, hook)| Some((name, hook?))).collect()
}

/// As written; they may be templates.
fn packages(function: &Function<'_>) -> Vec<String> {
    let trees = function.parts.iter().filter_map(|part| part.packages.as_ref());
    let items = trees.flat_map(|tree| tree.as_seq().map_or_else(|| vec![tree], |items| items.iter().collect()));
    items.map(|item| item.as_str().map_or_else(|| plain(item), str::to_owned)).collect()
}

/// Name, files and command of each; of one name the last stands.
fn reloads(function: &Function<'_>) -> Vec<(String, Vec<String>, String)> {
    let mut reloads: Vec<(String, Vec<String>, String)> = Vec::new();
    let items = function.parts.iter().filter_map(|part| part.reload.as_ref()?.as_seq()).flatten();
    for item in items {
        let text = |key: &str| item.get(key).map(first_line).unwrap_or_default();
        let files = item.get("files").and_then(Tree::as_seq).unwrap_or_default().iter().map(first_line).collect();
        reloads.retain(|(name, ..)| *name != text("name"));
        reloads.push((text("name"), files, text("command")));
    }
    reloads
}

fn first_line(tree: &Tree) -> String {
    let text = tree.as_str().unwrap_or_default().trim();
    let first = text.lines().next().unwrap_or_default();
    if first.len() < text.len() { format!("{first} …") } else { first.to_owned() }
}

/// Variables with the keys of their items, as `lanes[].name`.
fn flatten<'v>(prefix: &str, vars: &BTreeMap<&str, &'v Var>, out: &mut Vec<(String, &'v Var)>) {
    for (name, var) in vars {
        let mut path = format!("{prefix}{name}");
        out.push((path.clone(), var));
        let mut schema = &var.schema;
        while let Some(items) = &schema.items {
            path += "[]";
            schema = items;
        }
        if let Some(keys) = &schema.keys {
            let keys = keys.iter().map(|(name, var)| (name.as_str(), var)).collect();
            flatten(&format!("{path}."), &keys, out);
        }
    }
}

/// `list of text`
fn kind(schema: &Schema) -> String {
    match &schema.items {
        Some(items) => format!("list of {}", kind(items)),
        None => schema.kind.as_str().to_owned(),
    }
}

fn default(var: &Var) -> String {
    var.default.as_ref().map_or_else(|| "(must be set)".to_owned(), plain)
}

/// A value on one line.
fn plain(tree: &Tree) -> String {
    match value(tree) {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text,
        Value::Null => "(nothing)".to_owned(),
        value => value.to_string(),
    }
}

/// As templates see it.
fn value(tree: &Tree) -> Value {
    match &tree.node {
        Node::Null => Value::Null,
        Node::Scalar(written) => match (scalar::bool(&written.text), to_value(tree).as_str()) {
            (_, Some(text)) => json!(text),
            (Some(value), None) => json!(value),
            (None, None) => number(&written.text),
        },
        Node::Seq(items) => Value::Array(items.iter().map(value).collect()),
        Node::Map(entries) => {
            Value::Object(entries.iter().map(|(key, tree)| (key.text.clone(), value(tree))).collect())
        }
    }
}

fn number(text: &str) -> Value {
    let whole = scalar::int(text).and_then(|number| i64::try_from(number).ok());
    whole.map_or_else(|| json!(scalar::float(text)), |whole| json!(whole))
}

/// The help, and the limits behind it.
fn explained(var: &Var) -> String {
    let mut schema = &var.schema;
    while let Some(items) = &schema.items {
        schema = items;
    }
    let range = match (schema.min, schema.max) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}")),
        (Some(min), None) => Some(format!("at least {min}")),
        (None, Some(max)) => Some(format!("at most {max}")),
        (None, None) => None,
    };
    let choices = Some(schema.choices.join(" | ")).filter(|choices| !choices.is_empty());
    let pattern = schema.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
    let limits: Vec<String> = [range, choices, pattern].into_iter().flatten().collect();
    match (var.help.trim(), limits.join("; ")) {
        (help, limits) if limits.is_empty() => help.to_owned(),
        ("", limits) => format!("({limits})"),
        (help, limits) => format!("{help} ({limits})"),
    }
}

fn document(function: &Function<'_>, role: Option<&str>, from: &str) -> Value {
    let recipe = function.recipe;
    let roles = recipe.roles.iter().map(|(name, role)| json!({ "name": name, "description": role.description.trim() }));
    let secrets = function.secrets().into_iter().map(
        |(name, secret)| json!({ "name": name, "bytes": secret.bytes, "as": secret.form.as_str(), "help": secret.help }),
    );
    let files = function.parts.iter().flat_map(|part| &part.files);
    let files =
        files.map(|file| json!({ "path": file.path.value, "when": file.when.as_ref().map(|when| &when.value) }));
    let folders = function.shared_folders().into_iter();
    let folders =
        folders.map(|folder| json!({ "path": folder.path, "when": folder.when.as_ref().map(|when| &when.value) }));
    let reloads = reloads(function).into_iter();
    let reloads = reloads.map(|(name, files, command)| json!({ "name": name, "files": files, "command": command }));
    let hooks = hooks(function).into_iter().map(|(name, hook)| {
        json!({
            "name": name, "on": hook.on.as_ref().map(|on| &on.value), "command": hook.command.as_str(),
            "timeout_ms": u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX),
        })
    });
    json!({
        "version": 1, "name": recipe.name, "role": role, "from": from,
        "description": description(function, role), "roles": roles.collect::<Vec<_>>(),
        "vars": vars(&function.vars()),
        "needs": function.needs().iter().map(|need| &need.value).collect::<Vec<_>>(),
        "packages": packages(function), "ports": function.ports(), "secrets": secrets.collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(), "shared_folders": folders.collect::<Vec<_>>(),
        "reload": reloads.collect::<Vec<_>>(), "hooks": hooks.collect::<Vec<_>>(),
    })
}

fn vars(vars: &BTreeMap<&str, &Var>) -> Vec<Value> {
    let documents = vars.iter().map(|(name, var)| {
        let mut document = schema(&var.schema);
        document["name"] = json!(name);
        document["help"] = json!(var.help);
        document["required"] = json!(var.default.is_none());
        document["default"] = var.default.as_ref().map(value).unwrap_or_default();
        document
    });
    documents.collect()
}

fn schema(of: &Schema) -> Value {
    let mut document = json!({ "type": of.kind.as_str() });
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            document[key] = value;
        }
    };
    put("min", of.min.map(|min| number(&min.to_string())));
    put("max", of.max.map(|max| number(&max.to_string())));
    put("pattern", of.pattern.as_ref().map(|pattern| json!(pattern.as_str())));
    put("choices", Some(json!(of.choices)).filter(|_| !of.choices.is_empty()));
    put("items", of.items.as_ref().map(|items| schema(items)).filter(|_| of.kind == VarKind::List));
    let keys = of.keys.as_ref().map(|keys| keys.iter().map(|(name, var)| (name.as_str(), var)).collect());
    put("keys", keys.map(|keys| json!(vars(&keys))));
    document
}
