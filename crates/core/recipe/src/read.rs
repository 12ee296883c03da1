//! `recipe.yaml` and the files beside it.

use std::collections::{BTreeMap, BTreeSet};

use muster_doc::read::{Findings, MapReader};
use muster_doc::{Diagnostic, Key, Node, Scalar, SourceId, SourceMap, Span, Spanned, Style, Tree, codes, suggest};

use crate::model::{Recipe, RecipeFile, Role, Var, VarKind};

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
    Some(Recipe { name: name.to_owned(), description, common, roles })
}

fn role(map: &mut MapReader<'_>, texts: &mut Texts<'_>, out: &mut Findings) -> Role {
    let cloud_init = map.field("cloud_init").filter(|field| !field.tree.is_null());
    if let Some(field) = cloud_init.filter(|field| field.tree.as_map().is_none()) {
        field.wrong("a mapping", "write cloud-config as a mapping", out);
    }
    Role {
        description: map.optional("description", out).unwrap_or_default(),
        vars: vars(map, out),
        packages: map.get("packages").filter(|tree| !tree.is_null()).cloned(),
        ports: map.list("ports", true, out),
        health: map.get("health").filter(|tree| !tree.is_null()).cloned(),
        cloud_init: cloud_init.map(|field| field.tree.clone()),
        files: files(map, texts, out),
    }
}

fn vars(map: &mut MapReader<'_>, out: &mut Findings) -> BTreeMap<String, Var> {
    let mut vars = BTreeMap::new();
    let Some(tree) = map.get("vars").filter(|tree| !tree.is_null()) else { return vars };
    for (key, tree) in MapReader::new(tree, "`vars`", out).map_or(&[][..], |map| map.entries()) {
        if let Some(var) = var(key, tree, out) {
            vars.insert(key.text.clone(), var);
        }
    }
    vars
}

fn var(key: &Key, tree: &Tree, out: &mut Findings) -> Option<Var> {
    let what = format!("the variable `{}`", key.text);
    let mut map = MapReader::new(tree, &what, out)?;
    let kind = map.field("type").and_then(|field| field.choice(&VarKind::CHOICES, out)).unwrap_or(VarKind::Any);
    let default = map.get("default").cloned();
    let help = map.optional("help", out).unwrap_or_default();
    map.finish(out);
    if let Some(default) = default.as_ref().filter(|default| !default.is_null() && !kind.fits(default)) {
        let message = format!("the default of `{}` does not have its type", key.text);
        let found = Diagnostic::error(codes::RECIPE_BAD, message, "change the type or the default");
        out.push(found.at(default.span, "another type"));
    }
    Some(Var { span: key.span, kind, default, help })
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
    map.finish(out);
    let rendered = template.is_some();
    let Some(name) = template.or(source) else {
        let message = format!("{what} has neither `template` nor `source`");
        let hint = "name a file of the recipe's folder: `template` is rendered, `source` is copied";
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(key.span, "this file"));
        return None;
    };
    let content = texts.scalar(&name, out)?;
    Some(RecipeFile { path, content, rendered, mode, owner })
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
