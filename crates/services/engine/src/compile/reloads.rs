//! Reloads that watch files which a variable has switched off.

use std::collections::BTreeSet;

use muster_doc::{Node, Tree};

/// Removes files that are not written from what reloads watch, and reloads that have nothing left to watch.
pub(super) fn forget(config: &mut Tree, left_out: &BTreeSet<&str>) {
    let files = config.get("write_files").and_then(Tree::as_seq).unwrap_or_default();
    let written: BTreeSet<String> =
        files.iter().filter_map(|file| Some(file.get("path")?.as_str()?.to_owned())).collect();
    let gone = |path: &Tree| path.as_str().is_some_and(|path| left_out.contains(path) && !written.contains(path));
    let Some(reloads) = child(config, "muster").and_then(|block| child(block, "reload")) else { return };
    let Node::Seq(items) = &mut reloads.node else { return };
    items.retain_mut(|item| {
        let Some(Tree { node: Node::Seq(watched), .. }) = child(item, "files") else { return true };
        let before = watched.len();
        watched.retain(|path| !gone(path));
        !watched.is_empty() || before == 0
    });
}

fn child<'t>(tree: &'t mut Tree, key: &str) -> Option<&'t mut Tree> {
    let Node::Map(entries) = &mut tree.node else { return None };
    entries.iter_mut().find(|(known, _)| known.text == key).map(|(_, value)| value)
}
