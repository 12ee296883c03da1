//! Which files an infrastructure is read from.

use std::path::{Path, PathBuf};

use muster_doc::{Diagnostic, SourceMap, Span, Tree, codes, parse_tagged};
use muster_occopus::{Definitions, Infrastructure, read_definitions, read_infrastructure};
use muster_types::ClusterName;

use super::NodeDefinitions;
use crate::compile::Source;
use crate::compile::load::read_bounded;

/// Where node definitions stand, as seen from the infrastructure description's folder.
pub const DEFINITIONS_FILE: &str = "nodes/node_definitions.yaml";

/// What tells an infrastructure description from a cluster file.
const NAME_KEY: &str = "infra_name";

/// Tags that have a meaning in such files.
const TAGS: [&str; 2] = ["!yaml_import", "!text_import"];

/// The top level of a file, whatever else is wrong with it.
fn top(source: &Source) -> Option<Tree> {
    let text = std::str::from_utf8(&source.text).ok()?;
    let mut sources = SourceMap::default();
    let id = sources.add(source.path.as_str(), text);
    parse_tagged(&sources, id, &TAGS).0
}

/// Whether a file is an infrastructure description.
pub fn is_infrastructure(source: &Source) -> bool {
    // Most files are not, and need not be read twice.
    let Ok(text) = std::str::from_utf8(&source.text) else { return false };
    if !text.contains(NAME_KEY) {
        return false;
    }
    match top(source) {
        Some(tree) => tree.get(NAME_KEY).is_some() && tree.get("cluster").is_none(),
        None => text.lines().any(|line| line.starts_with(NAME_KEY)),
    }
}

/// The cluster that a file describes, without reading what it refers to.
pub fn cluster_name(source: &Source) -> Option<ClusterName> {
    let tree = top(source)?;
    let name = tree.get("cluster").or_else(|| tree.get(NAME_KEY))?;
    ClusterName::new(name.as_str()?).ok()
}

/// Reads files that a file imports: relative to its folder, wherever messages say that it is.
fn reader(source: &Source) -> impl FnMut(&Path) -> Result<Vec<u8>, String> {
    let shown = Path::new(&source.path).parent().unwrap_or(Path::new("")).to_owned();
    let folder = source.folder.clone();
    move |path: &Path| {
        let full: PathBuf = path.strip_prefix(&shown).map_or_else(|_| path.to_owned(), |rest| folder.join(rest));
        read_bounded(&full)?.ok_or_else(|| "it is too large".to_owned())
    }
}

fn text<'s>(source: &'s Source, out: &mut Vec<Diagnostic>) -> Option<&'s str> {
    let text = std::str::from_utf8(&source.text).ok();
    if text.is_none() {
        let message = format!("`{}` is not UTF-8", source.path);
        out.push(Diagnostic::error(codes::YAML_ENCODING, message, "save the file as UTF-8"));
    }
    text
}

pub(super) fn infrastructure(
    source: &Source,
    sources: &mut SourceMap,
    out: &mut Vec<Diagnostic>,
) -> Option<Infrastructure> {
    let text = text(source, out)?;
    let (infrastructure, mut found) = read_infrastructure(sources, &source.path, text, &mut reader(source));
    out.append(&mut found);
    infrastructure
}

/// All node definitions. None: there is no file of them, which is told at `place`.
pub(super) fn definitions(
    given: NodeDefinitions<'_>,
    (folder, place): (&Path, Span),
    sources: &mut SourceMap,
    out: &mut Vec<Diagnostic>,
) -> Option<Definitions> {
    match given {
        NodeDefinitions::Given(several) => Some(all(several, sources, out)),
        NodeDefinitions::File(path) => {
            let source = file(path).map_err(|reason| out.push(missing(path, &reason, place))).ok()?;
            Some(all(&[source], sources, out))
        }
        NodeDefinitions::Beside { imported } => {
            let path = folder.join(DEFINITIONS_FILE);
            match file(&path) {
                Ok(source) => Some(all(&[source], sources, out)),
                Err(_) if !imported.is_empty() && !path.exists() => Some(all(imported, sources, out)),
                Err(reason) => {
                    out.push(missing(&path, &reason, place));
                    None
                }
            }
        }
    }
}

fn missing(path: &Path, reason: &str, place: Span) -> Diagnostic {
    let message = format!("the node definitions cannot be read: {}: {reason}", path.display());
    let hint =
        format!("name their file with `--nodes FILE`, or put it at {DEFINITIONS_FILE} beside the infrastructure");
    Diagnostic::error(codes::FILE_MISSING, message, hint).at(place, "describes nodes by their types")
}

fn file(path: &Path) -> Result<Source, String> {
    let text = read_bounded(path)?.ok_or_else(|| "it is too large".to_owned())?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Source { path: path.display().to_string(), text, folder })
}

/// Of a type that several files describe, the last one's word stands.
fn all(given: &[Source], sources: &mut SourceMap, out: &mut Vec<Diagnostic>) -> Definitions {
    let mut all = Definitions::default();
    for source in given {
        let Some(text) = text(source, out) else { continue };
        let (definitions, mut found) = read_definitions(sources, &source.path, text, &mut reader(source));
        out.append(&mut found);
        for definition in definitions.unwrap_or_default().0 {
            all.0.retain(|known| known.name.value != definition.name.value);
            all.0.push(definition);
        }
    }
    all
}
