//! Texts to trees: imports are put in their places, plain scalars get their values. Nothing is executed.

use std::path::{Path, PathBuf};

use muster_doc::read::{Findings, MapReader};
use muster_doc::{Diagnostic, Node, Scalar, SourceId, SourceMap, Span, Style, Tagged, Tree, codes, parse_tagged};

use crate::scalar::normalise;

/// Imports inside of imports, at most.
const DEPTH_MAX: usize = 16;

/// Files that one file may bring in, all in all.
const IMPORTS_MAX: usize = 256;

const YAML_IMPORT: &str = "!yaml_import";
const TEXT_IMPORT: &str = "!text_import";

/// Reads the file at a path; the error is the system's, in words.
pub type Loader<'a> = dyn FnMut(&Path) -> Result<Vec<u8>, String> + 'a;

struct Import<'a, 'l> {
    sources: &'a mut SourceMap,
    loader: &'a mut Loader<'l>,
    out: Vec<Diagnostic>,
    /// The files on the way to here.
    way: Vec<PathBuf>,
    count: usize,
}

/// Reads one file. `name` is its path, for messages, and what imports are relative to.
pub(crate) fn load(
    sources: &mut SourceMap,
    name: &str,
    text: &str,
    loader: &mut Loader<'_>,
) -> (Option<Tree>, Vec<Diagnostic>) {
    let id = sources.add(name, text);
    let mut import = Import { sources, loader, out: Vec::new(), way: vec![PathBuf::from(name)], count: 0 };
    let tree = import.document(id);
    (tree, import.out)
}

impl Import<'_, '_> {
    fn document(&mut self, id: SourceId) -> Option<Tree> {
        let (tree, tagged, mut found) = parse_tagged(self.sources, id, &[YAML_IMPORT, TEXT_IMPORT]);
        found.iter_mut().for_each(tag_hint);
        self.out.append(&mut found);
        let mut tree = tree?;
        // Spans tell tagged values apart, so they are looked for before imports bring in other files.
        normalise(&mut tree, &mut self.out);
        Some(if tagged.is_empty() { tree } else { self.replace(tree, &tagged) })
    }

    fn replace(&mut self, tree: Tree, tagged: &[Tagged]) -> Tree {
        let span = tree.span;
        if let Some(found) = tagged.iter().find(|found| found.span == span) {
            return self.import(&tree, &found.tag).unwrap_or_else(|| Tree::null(span));
        }
        let node = match tree.node {
            Node::Seq(items) => Node::Seq(items.into_iter().map(|item| self.replace(item, tagged)).collect()),
            Node::Map(entries) => {
                Node::Map(entries.into_iter().map(|(key, value)| (key, self.replace(value, tagged))).collect())
            }
            node => node,
        };
        Tree { node, span }
    }

    fn import(&mut self, tree: &Tree, tag: &str) -> Option<Tree> {
        let mut findings = Findings::default();
        let url = MapReader::new(tree, "an import", &mut findings).and_then(|mut map| {
            const HINT: &str = "write `url: file://path`, relative to this file";
            let url: Option<Tree> = map.required("url", HINT, &mut findings);
            map.finish(&mut findings);
            url
        });
        self.out.append(&mut findings.diagnostics);
        let url = url?;
        let path = self.path(&url)?;
        if self.way.contains(&path) || self.way.len() > DEPTH_MAX || self.count >= IMPORTS_MAX {
            let message = if self.way.contains(&path) {
                format!("`{}` imports itself, by way of {} files", path.display(), self.way.len())
            } else {
                format!("more than {DEPTH_MAX} imports inside each other, or {IMPORTS_MAX} in all")
            };
            self.fault(url.span, message, "write out what is needed in one of the files");
            return None;
        }
        self.count += 1;
        let name = path.display().to_string();
        let text = match (self.loader)(&path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                self.fault(url.span, format!("`{name}` is not UTF-8"), "save the file as UTF-8");
                return None;
            }
            Err(error) => {
                self.fault(
                    url.span,
                    format!("`{name}` cannot be read: {error}"),
                    "a relative path starts at the folder of the file that imports",
                );
                return None;
            }
        };
        let id = self.sources.add(name, text);
        if tag == TEXT_IMPORT {
            let text = self.sources.text(id).to_owned();
            let span = Span { source: id, start: 0, end: text.len() };
            return Some(Tree { node: Node::Scalar(Scalar { text, style: Style::Block }), span });
        }
        self.way.push(path);
        let tree = self.document(id);
        self.way.pop();
        tree
    }

    /// Where a `file://` address leads.
    fn path(&mut self, url: &Tree) -> Option<PathBuf> {
        const HINT: &str = "write `url: file://path`, relative to this file, or `url: file:///path` from the root";
        let text = url.as_str().unwrap_or_default();
        let Some(path) = text.strip_prefix("file://").filter(|path| !path.is_empty()) else {
            self.fault(url.span, format!("`{text}` is not the address of a file"), HINT);
            return None;
        };
        let folder = self.way.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
        Some(folder.join(path))
    }

    fn fault(&mut self, span: Span, message: String, hint: &str) {
        self.out.push(Diagnostic::error(codes::OCCOPUS_IMPORT, message, hint).at(span, "imported here"));
    }
}

/// The general hint about tags speaks of cluster files.
fn tag_hint(found: &mut Diagnostic) {
    if found.code == codes::YAML_TAG {
        found.hint = if found.message.contains("python") {
            "remove the tag: nothing in a file is ever executed".to_owned()
        } else {
            format!("remove the tag; `{YAML_IMPORT}` and `{TEXT_IMPORT}` are those that there are")
        };
    }
}

/// A text that no quotes stand around was told to lose them: texts and quoted texts are one here.
pub(crate) fn plain_hints(found: &mut [Diagnostic], sources: &SourceMap) {
    for found in found.iter_mut().filter(|found| found.code == codes::READ_NUMBER) {
        let written = found.span.and_then(|span| sources.get(span.source)?.get(span.start..));
        if found.hint == "remove the quotes" && !written.is_some_and(|text| text.starts_with(['"', '\''])) {
            "write a number".clone_into(&mut found.hint);
        }
    }
}
