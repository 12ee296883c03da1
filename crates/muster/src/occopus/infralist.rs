//! `~/.occopus/infralist.yaml`, as Occopus keeps it: a list of ids, which other programs read. What is true stands in our own
//! records.

use std::io::ErrorKind;
use std::path::PathBuf;

use muster_doc::{SourceMap, Span, Tree};

use crate::error::Failure;
use crate::occopus::place::lock;

fn folder() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".occopus"))
}

pub(crate) fn add(id: &str) -> Result<(), Failure> {
    change(|ids| {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    })
}

pub(crate) fn remove(id: &str) -> Result<(), Failure> {
    change(|ids| ids.retain(|known| known != id))
}

/// Ids of the real Occopus stay where they are.
fn change(change: impl FnOnce(&mut Vec<String>)) -> Result<(), Failure> {
    // Who has no home has nobody who reads the list.
    let Some(folder) = folder() else { return Ok(()) };
    muster_stdx::create_private_dir(&folder)?;
    let _lock = lock(&folder)?;
    let path = folder.join("infralist.yaml");
    let text = match fs_err::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => "[]\n".to_owned(),
        text => text?,
    };
    let mut sources = SourceMap::default();
    let id = sources.add(path.display().to_string(), text.clone());
    let (tree, _, _) = muster_doc::parse_tagged(&sources, id, &[]);
    let span = Span { source: id, start: 0, end: 0 };
    let items = tree.as_ref().and_then(Tree::as_seq);
    let Some(items) = items.or_else(|| text.trim().is_empty().then_some(&[])) else {
        // Something else than a list is not ours to write over.
        tracing::warn!(path = %path.display(), "is no list of ids and stays as it is");
        return Ok(());
    };
    let mut ids: Vec<String> = items.iter().filter_map(Tree::as_str).map(str::to_owned).collect();
    let before = ids.clone();
    change(&mut ids);
    if ids == before {
        return Ok(());
    }
    let list = Tree::seq(ids.into_iter().map(|id| Tree::text(id, span)).collect(), span);
    Ok(muster_stdx::write_atomic(&path, muster_doc::emit(&list).as_bytes(), 0o644)?)
}
