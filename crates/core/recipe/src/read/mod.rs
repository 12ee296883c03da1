//! `recipe.yaml` and the files beside it.

mod parts;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use muster_doc::read::{Findings, MapReader};
use muster_doc::{Diagnostic, Key, Node, Scalar, SourceId, SourceMap, Span, Spanned, Style, Tree, codes, suggest};

use crate::model::{Recipe, RecipeFile, Role, SecretSpec};

/// The file that makes a folder a recipe.
const MAIN: &str = "recipe.yaml";

impl Recipe {
    /// Reads a recipe from the files of its folder. `folder` is how the folder is called in messages.
    pub fn read(
        name: &str,
        folder: &str,
        files: &BTreeMap<String, String>,
        sources: &mut SourceMap,
    ) -> (Option<Recipe>, Vec<Diagnostic>) {
        let Some(text) = files.get(MAIN) else {
            let message = format!("the folder `{folder}` has no `{MAIN}`");
            let hint = format!("write `{folder}/{MAIN}`, or remove the folder");
            return (None, vec![Diagnostic::error(codes::RECIPE_BAD, message, hint)]);
        };
        let (tree, diagnostics) = muster_doc::parse(sources, &format!("{folder}/{MAIN}"), text);
        let mut out = Findings { diagnostics, templates: true };
        let Some(tree) = tree else { return (None, out.diagnostics) };
        let mut texts = Texts { folder, files, sources, added: BTreeMap::new(), used: BTreeSet::new() };
        let recipe = recipe(name, &tree, &mut texts, &mut out);
        texts.unused(&tree, &mut out);
        (recipe, out.diagnostics)
    }
}

fn recipe(name: &str, tree: &Tree, texts: &mut Texts<'_>, out: &mut Findings) -> Option<Recipe> {
    let mut map = MapReader::new(tree, "the recipe", out)?;
    if let Some(given) = map.optional::<Spanned<String>>("name", out)
        && given.value != name
    {
        let message = format!("the recipe calls itself `{}`, but its folder is `{name}`", given.value);
        let found = Diagnostic::error(codes::RECIPE_BAD, message, "give both the same name");
        out.push(found.at(given.span, "not the folder's name"));
    }
    let common = role(&mut map, texts, out);
    let mut roles = BTreeMap::new();
    if let Some(tree) = map.get("roles").filter(|tree| !tree.is_null()) {
        let entries = MapReader::new(tree, "`roles`", out).map_or(&[][..], |map| map.entries());
        for (key, tree) in entries {
            let what = format!("the role `{}`", key.text);
            let nothing = Tree { node: Node::Map(Vec::new()), span: key.span };
            let tree = if tree.is_null() { &nothing } else { tree };
            let Some(mut map) = MapReader::new(tree, &what, out) else { continue };
            let read = role(&mut map, texts, out);
            map.finish(out);
            roles.insert(key.text.clone(), read);
        }
    }
    map.finish(out);
    let description = common.description.clone();
    let recipe = Recipe { name: name.to_owned(), description, common, roles };
    refer(&recipe, out);
    shared_secrets(&recipe, out);
    Some(recipe)
}

/// A secret is the recipe's: roles that share one say the same of it.
fn shared_secrets(recipe: &Recipe, out: &mut Findings) {
    let mut first: BTreeMap<&String, &SecretSpec> = BTreeMap::new();
    let parts = std::iter::once(&recipe.common).chain(recipe.roles.values());
    for (name, secret) in parts.flat_map(|part| &part.secrets) {
        let known = first.entry(name).or_insert(secret);
        if (known.bytes, known.form) != (secret.bytes, secret.form) {
            let message = format!("the secret `{name}` is described twice, and not alike");
            let found = Diagnostic::error(codes::RECIPE_BAD, message, "describe it once, above the roles");
            out.push(found.at(secret.span, "again").related(known.span, "first"));
        }
    }
}

/// What parts say of variables and of other roles.
fn refer(recipe: &Recipe, out: &mut Findings) {
    let roles: Vec<&str> = recipe.roles.keys().map(String::as_str).collect();
    let parts =
        std::iter::once((None, &recipe.common)).chain(recipe.roles.iter().map(|(name, role)| (Some(name), role)));
    for (name, part) in parts {
        let shared = recipe.common.vars.keys().chain(part.vars.keys());
        let vars: BTreeSet<&str> = shared.map(String::as_str).collect();
        let vars: Vec<&str> = vars.into_iter().collect();
        let files = part.files.iter().filter_map(|file| file.when.as_ref());
        let folders = part.shared_folders.iter().filter_map(|folder| folder.when.as_ref());
        for when in files.chain(folders).filter(|when| !vars.contains(&when.value.as_str())) {
            let message = format!("`when` names `{}`, which is no variable of the recipe", when.value);
            let hint = suggest::hint(&when.value, &vars, "variable");
            out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(when.span, "no such variable"));
        }
        let on = [&part.drain, &part.resume].into_iter().flatten().filter_map(|hook| hook.on.as_ref());
        for role in on.chain(&part.needs).filter(|role| !roles.contains(&role.value.as_str())) {
            let message = format!("the recipe has no role `{}`", role.value);
            let hint = suggest::hint(&role.value, &roles, "role");
            out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(role.span, "no such role"));
        }
        for need in part.needs.iter().filter(|need| Some(&need.value) == name) {
            let message = format!("the role `{}` needs itself", need.value);
            let hint = "remove it from its own `needs`";
            out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(need.span, "itself"));
        }
    }
}

fn role(map: &mut MapReader<'_>, texts: &mut Texts<'_>, out: &mut Findings) -> Role {
    let cloud_init = map.field("cloud_init").filter(|field| !field.tree.is_null());
    if let Some(field) = cloud_init.filter(|field| field.tree.as_map().is_none()) {
        field.wrong("a mapping", "write cloud-config as a mapping", out);
    }
    let (drain, resume) = parts::hooks(map, out);
    Role {
        description: map.optional("description", out).unwrap_or_default(),
        vars: schema::vars(map, out),
        secrets: parts::secrets(map, out),
        packages: map.get("packages").filter(|tree| !tree.is_null()).cloned(),
        ports: map.list("ports", true, out),
        health: map.get("health").filter(|tree| !tree.is_null()).cloned(),
        cloud_init: cloud_init.map(|field| field.tree.clone()),
        files: files(map, texts, out),
        shared_folders: parts::shared_folders(map, out),
        reload: parts::reload(map, out),
        drain,
        resume,
        needs: parts::needs(map, out),
    }
}

fn files(map: &mut MapReader<'_>, texts: &mut Texts<'_>, out: &mut Findings) -> Vec<RecipeFile> {
    let Some(tree) = map.get("files").filter(|tree| !tree.is_null()) else { return Vec::new() };
    let entries = MapReader::new(tree, "`files`", out).map_or(&[][..], |map| map.entries());
    entries.iter().filter_map(|(key, tree)| file(key, tree, texts, out)).collect()
}

fn file(key: &Key, tree: &Tree, texts: &mut Texts<'_>, out: &mut Findings) -> Option<RecipeFile> {
    let path = Spanned { value: key.text.clone(), span: key.span };
    let what = format!("the file `{}`", key.text);
    let mut map = MapReader::new(tree, &what, out)?;
    let template: Option<Spanned<String>> = map.optional("template", out);
    let source: Option<Spanned<String>> = map.optional("source", out);
    let mode = map.optional::<String>("mode", out);
    let owner = map.get("owner").cloned();
    let when = map.optional("when", out);
    map.finish(out);
    let rendered = template.is_some();
    let Some(name) = template.or(source) else {
        let message = format!("{what} has neither `template` nor `source`");
        let hint = "name a file of the recipe's folder: `template` is rendered, `source` is copied";
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(key.span, "this file"));
        return None;
    };
    let content = texts.scalar(&name, out)?;
    Some(RecipeFile { path, content, rendered, mode, owner, when })
}

/// The other files of the folder; each that is used becomes a source.
struct Texts<'a> {
    folder: &'a str,
    files: &'a BTreeMap<String, String>,
    sources: &'a mut SourceMap,
    added: BTreeMap<String, SourceId>,
    used: BTreeSet<String>,
}

impl Texts<'_> {
    fn scalar(&mut self, name: &Spanned<String>, out: &mut Findings) -> Option<Tree> {
        let Some(text) = self.files.get(&name.value) else {
            let known: Vec<&str> = self.files.keys().map(String::as_str).filter(|file| *file != MAIN).collect();
            let message = format!("the folder `{}` has no file `{}`", self.folder, name.value);
            let hint = suggest::hint(&name.value, &known, "file");
            out.push(Diagnostic::error(codes::FILE_MISSING, message, hint).at(name.span, "no such file"));
            return None;
        };
        self.used.insert(name.value.clone());
        let source = *self
            .added
            .entry(name.value.clone())
            .or_insert_with(|| self.sources.add(format!("{}/{}", self.folder, name.value), text.clone()));
        let span = Span { source, start: 0, end: text.len() };
        Some(Tree { node: Node::Scalar(Scalar { text: text.clone(), style: Style::Block }), span })
    }

    /// A template that nothing refers to is a slip; notes for people are not.
    fn unused(&self, tree: &Tree, out: &mut Findings) {
        let notes = |name: &str| name == MAIN || name.to_ascii_lowercase().ends_with(".md");
        for name in self.files.keys().filter(|name| !notes(name) && !self.used.contains(*name)) {
            let message = format!("nothing in the recipe refers to `{}/{name}`", self.folder);
            let hint = "name it under `files`, or remove it";
            let at = Span { end: tree.span.start, ..tree.span };
            out.push(Diagnostic::warning(codes::RECIPE_BAD, message, hint).at(at, "this recipe"));
        }
    }
}
