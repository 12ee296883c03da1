//! What a cluster file refers to: recipes and other files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use muster_doc::read::is_template;
use muster_doc::{Diagnostic, Node, Scalar, SourceMap, Span, Spanned, Style, Tree, codes, suggest};
use muster_recipe::Recipe;
use rust_embed::RustEmbed;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files of one recipe, and deepest folder.
const RECIPE_FILES_MAX: usize = 200;
const RECIPE_DEPTH_MAX: usize = 4;

/// Recipes beside the cluster file stand in this folder.
const RECIPES: &str = "recipes";

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../../recipes"]
struct BuiltIn;

/// Reads what is referred to, relative to the cluster file's folder.
pub(super) struct Loader<'a> {
    folder: &'a Path,
    recipes: BTreeMap<String, Option<Recipe>>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, recipes: BTreeMap::new() }
    }

    /// A recipe by name: a folder beside the cluster file wins over what is built in. Each is read once; its own
    /// mistakes are reported the first time.
    pub(super) fn recipe(
        &mut self,
        name: &Spanned<String>,
        sources: &mut SourceMap,
        out: &mut Vec<Diagnostic>,
    ) -> Option<&Recipe> {
        if !self.recipes.contains_key(&name.value) {
            let recipe = self.read_recipe(name, sources, out);
            self.recipes.insert(name.value.clone(), recipe);
        }
        self.recipes.get(&name.value).and_then(Option::as_ref)
    }

    /// The recipes that were asked for and are whole.
    pub(super) fn loaded(&self) -> impl Iterator<Item = &Recipe> {
        self.recipes.values().flatten()
    }

    fn read_recipe(
        &self,
        name: &Spanned<String>,
        sources: &mut SourceMap,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Recipe> {
        let RecipeFolder { shown, files, .. } = match recipe_folder(self.folder, &name.value) {
            Ok(Some(folder)) => folder,
            Ok(None) => {
                let names = recipe_names(self.folder);
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let message = format!("there is no recipe `{}`", name.value);
                let hint = suggest::hint(&name.value, &known, "recipe");
                let unknown = Diagnostic::error(codes::RECIPE_UNKNOWN, message, hint);
                out.push(unknown.at(name.span, "no such recipe"));
                return None;
            }
            Err(unreadable) => {
                out.push(unreadable.at(name.span, "asked for here"));
                return None;
            }
        };
        let (recipe, mut diagnostics) = Recipe::read(&name.value, &shown, &files, sources);
        for diagnostic in &mut diagnostics {
            if diagnostic.span.is_none() {
                *diagnostic = diagnostic.clone().at(name.span, "asked for here");
            }
        }
        let broken = diagnostics.iter().any(Diagnostic::is_error);
        out.append(&mut diagnostics);
        recipe.filter(|_| !broken)
    }

    /// The bytes of a file that the cluster file names.
    fn bytes(&self, path: &Spanned<String>, out: &mut Vec<Diagnostic>) -> Option<Vec<u8>> {
        let full: PathBuf = self.folder.join(&path.value);
        let reason = match read_bounded(&full) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => {
                let message = format!("`{}` is larger than {} MiB", path.value, FILE_BYTES_MAX >> 20);
                let hint = "have the node fetch large files itself, for instance in `runcmd`";
                out.push(Diagnostic::error(codes::FILE_TOO_LARGE, message, hint).at(path.span, "too large"));
                return None;
            }
            Err(reason) => reason,
        };
        let message = format!("`{}` cannot be read: {reason}", path.value);
        let hint = "write the path as seen from the folder of the cluster file, or from `/`";
        out.push(Diagnostic::error(codes::FILE_MISSING, message, hint).at(path.span, "refers to a file"));
        None
    }

    /// A file that is to be rendered, as a scalar whose span points into it.
    pub(super) fn template(
        &self,
        path: &Spanned<String>,
        sources: &mut SourceMap,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Tree> {
        let bytes = self.bytes(path, out)?;
        let Ok(text) = String::from_utf8(bytes) else {
            let message = format!("`{}` is not UTF-8 and cannot be a template", path.value);
            let found = Diagnostic::error(codes::YAML_ENCODING, message, "copy it as it is, with `source:`");
            out.push(found.at(path.span, "not a text"));
            return None;
        };
        let source = sources.add(path.value.clone(), text.clone());
        let span = Span { source, start: 0, end: text.len() };
        Some(Tree { node: Node::Scalar(Scalar { text, style: Style::Block }), span })
    }

    /// A file that is copied as it is.
    pub(super) fn verbatim(&self, path: &Spanned<String>, out: &mut Vec<Diagnostic>) -> Option<Verbatim> {
        self.bytes(path, out).map(|bytes| Verbatim::of(bytes, path.span))
    }

    /// A file that holds YAML.
    pub(super) fn yaml(
        &self,
        path: &Spanned<String>,
        sources: &mut SourceMap,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Tree> {
        let bytes = self.bytes(path, out)?;
        let (tree, mut diagnostics) = muster_doc::parse_bytes(sources, &path.value, &bytes);
        out.append(&mut diagnostics);
        tree
    }
}

/// Content that no template touches. What is not text, or would be taken for a template, goes as base64.
pub(super) struct Verbatim {
    pub(super) content: Tree,
    pub(super) base64: bool,
}

impl Verbatim {
    pub(super) fn of(bytes: Vec<u8>, span: Span) -> Self {
        let text = match String::from_utf8(bytes) {
            Ok(text) if !is_template(&text) => return Self { content: Tree::text(text, span), base64: false },
            Ok(text) => base64::engine::general_purpose::STANDARD.encode(text),
            Err(error) => base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
        };
        Self { content: Tree::text(text, span), base64: true }
    }
}

/// `None` if the file is too large.
pub(super) fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, String> {
    // The kind of error is enough here: the path is in the message already.
    let reason = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    };
    let metadata = fs_err::metadata(path).map_err(reason)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    fs_err::read(path).map(Some).map_err(reason)
}

/// The files of a recipe, by path.
pub(super) struct RecipeFolder {
    /// `None` is built in.
    pub(super) place: Option<PathBuf>,
    /// As messages name it.
    pub(super) shown: String,
    pub(super) files: BTreeMap<String, String>,
}

/// Finds a recipe by name, as seen from the folder of a cluster file.
pub(super) fn recipe_folder(folder: &Path, name: &str) -> Result<Option<RecipeFolder>, Diagnostic> {
    let beside = folder.join(RECIPES).join(name);
    if !beside.is_dir() {
        let files = built_in(name);
        let found = RecipeFolder { place: None, shown: format!("built-in:{name}"), files };
        return Ok(Some(found).filter(|found| !found.files.is_empty()));
    }
    let mut files = BTreeMap::new();
    read_folder(&beside, "", 0, &mut files).map_err(|reason| {
        let message = format!("the recipe `{name}` cannot be read: {reason}");
        Diagnostic::error(codes::RECIPE_LOADING, message, "look at the files in the recipe's folder")
    })?;
    Ok(Some(RecipeFolder { place: Some(beside), shown: format!("{RECIPES}/{name}"), files }))
}

/// The recipes that a cluster file in a folder can ask for.
pub(super) fn recipe_names(folder: &Path) -> BTreeSet<String> {
    let beside = fs_err::read_dir(folder.join(RECIPES)).into_iter().flatten().flatten();
    let beside = beside.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok());
    let built_in = BuiltIn::iter().filter_map(|path| path.split_once('/').map(|(name, _)| name.to_owned()));
    beside.filter(|name| !name.starts_with('.')).chain(built_in).collect()
}

fn built_in(name: &str) -> BTreeMap<String, String> {
    let prefix = format!("{name}/");
    let paths = BuiltIn::iter().filter(|path| path.starts_with(&prefix));
    let files = paths.filter_map(|path| {
        let file = BuiltIn::get(&path)?;
        let text = String::from_utf8(file.data.into_owned()).ok()?;
        Some((path[prefix.len()..].to_owned(), text))
    });
    files.collect()
}

/// Reads the texts of a folder, by their path in it. Hidden files and editors' backups do not count.
fn read_folder(folder: &Path, prefix: &str, depth: usize, files: &mut BTreeMap<String, String>) -> Result<(), String> {
    if depth > RECIPE_DEPTH_MAX {
        return Err(format!("its folders are nested deeper than {RECIPE_DEPTH_MAX}"));
    }
    for entry in fs_err::read_dir(folder).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let Ok(name) = entry.file_name().into_string() else { return Err("a file name is not UTF-8".to_owned()) };
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            read_folder(&path, &format!("{prefix}{name}/"), depth + 1, files)?;
            continue;
        }
        if files.len() >= RECIPE_FILES_MAX {
            return Err(format!("it has more than {RECIPE_FILES_MAX} files"));
        }
        let bytes = read_bounded(&path)?.ok_or_else(|| format!("`{prefix}{name}` is too large"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("`{prefix}{name}` is not UTF-8"))?;
        files.insert(format!("{prefix}{name}"), text);
    }
    Ok(())
}
