//! The node definitions that were imported: one file, in which each stands as it was resolved at its import.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use muster_doc::{Diagnostic, Key, Node, SourceMap, Tree};
use muster_engine::compile::Source;
use muster_occopus::{Definitions, read_definitions};

use crate::error::Failure;
use crate::occopus::place::Place;

const FILE: &str = "definitions.yaml";
/// What stands before a definition's name in files.
const PREFIX: &str = "node_def:";
/// The largest file that a definition may import; templates are short.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Node definitions without mistakes, and what is to be said of them.
pub(crate) struct Checked {
    definitions: Definitions,
    pub(crate) sources: SourceMap,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Checked {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.definitions.0.iter().map(|definition| definition.name.value.as_str()).collect()
    }
}

/// Reads a file of node definitions, and the files that it imports. All mistakes at once.
pub(crate) fn read(path: &Path) -> Result<Checked, Failure> {
    let text = bounded(path).map_err(|reason| {
        let hint = "name the file of node definitions, such as nodes/node_definitions.yaml";
        Failure::usage(reason, hint)
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display()), "save the file as UTF-8"))?;
    let mut sources = SourceMap::default();
    let (definitions, found) =
        read_definitions(&mut sources, &path.display().to_string(), &text, &mut |path| bounded(path));
    match definitions {
        Some(definitions) if !found.iter().any(Diagnostic::is_error) => {
            Ok(Checked { definitions, sources, warnings: found })
        }
        _ => Err(Failure::Rejected { sources, diagnostics: found }),
    }
}

fn bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {} MiB", path.display(), FILE_BYTES_MAX >> 20));
    }
    Ok(bytes)
}

/// Stores definitions: of a name that is there already, the new one stands.
pub(crate) fn store(place: &Place, checked: &Checked) -> Result<(), Failure> {
    let _lock = place.lock()?;
    let mut entries = entries(place)?;
    for definition in &checked.definitions.0 {
        let name = format!("{PREFIX}{}", definition.name.value);
        let span = definition.name.span;
        let ways = definition.implementations.iter().map(|way| way.tree.clone()).collect();
        entries.retain(|(key, _)| key.text != name);
        entries.push((Key { text: name, span }, Tree::seq(ways, span)));
    }
    let Some((first, _)) = entries.first() else { return Ok(()) };
    let span = first.span;
    let text = muster_doc::emit(&Tree { node: Node::Map(entries), span });
    muster_stdx::write_atomic(&path(place), text.as_bytes(), 0o600)?;
    Ok(())
}

fn path(place: &Place) -> PathBuf {
    place.file(FILE)
}

/// What is stored, as it is now: a whole file was put in the place of the one before.
pub(crate) fn imported(place: &Place) -> Result<Option<Source>, Failure> {
    let path = path(place);
    match fs_err::read(&path) {
        Ok(text) => Ok(Some(Source { path: path.display().to_string(), text, folder: PathBuf::new() })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn entries(place: &Place) -> Result<Vec<(Key, Tree)>, Failure> {
    let Some(source) = imported(place)? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&source.text);
    let mut sources = SourceMap::default();
    let (tree, found) = muster_doc::parse(&mut sources, &source.path, &text);
    match tree.map(|tree| tree.node) {
        Some(Node::Map(entries)) if !found.iter().any(Diagnostic::is_error) => Ok(entries),
        _ => {
            let message = format!("{} is damaged", source.path);
            Err(Failure::new(message, "remove it, then import the node definitions again", crate::ExitStatus::FAILED))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was imported means what the files meant, imports in them included.
    #[test]
    fn what_is_stored_is_what_was_read() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/occopus/tests/files");
        let folder = tempfile::tempdir().unwrap();
        let place = Place::in_folder(folder.path());
        let mut expected = Vec::new();
        for set in fs_err::read_dir(files).unwrap() {
            let checked = read(&set.unwrap().path().join("nodes/node_definitions.yaml")).unwrap();
            store(&place, &checked).unwrap();
            expected.retain(|(name, _): &(String, Vec<Tree>)| !checked.names().contains(&name.as_str()));
            expected.extend(checked.definitions.0.iter().map(|definition| {
                let ways = definition.implementations.iter().map(|way| way.tree.clone()).collect();
                (definition.name.value.clone(), ways)
            }));
        }
        let stored = read(&path(&place)).unwrap();
        assert!(expected.len() > 20, "{}", expected.len());
        assert_eq!(stored.definitions.0.len(), expected.len());
        for (name, ways) in expected {
            let found = &stored.definitions.get(&name).unwrap().implementations;
            assert_eq!(found.len(), ways.len(), "{name}");
            assert!(found.iter().zip(&ways).all(|(found, way)| found.tree.same(way)), "{name}");
        }
    }
}
