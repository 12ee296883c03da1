//! `muster`: what cloud-init has no key for. It is ours, so a key that is not known here is an error.

use std::collections::BTreeSet;

use muster_doc::{Key, Tree, codes, suggest};

use super::commands::shell;
use super::files::plain_path;
use crate::document::Draft;
use crate::fields::{Fields, present};
use crate::step::{Reload, StepKind};

/// Longest name of a reload step.
const NAME_LENGTH_MAX: usize = 64;

/// The reload steps, given the steps that stand before them.
pub(crate) fn reloads(fields: &mut Fields, tree: &Tree, before: &[Draft]) -> Vec<Draft> {
    let Some(block) = present(tree, "muster") else { return Vec::new() };
    let Some(entries) = fields.mapping(block, "`muster`") else { return Vec::new() };
    closed_keys(fields, entries, "`muster`", &["reload"]);
    let items = present(block, "reload").and_then(|tree| fields.list(tree, "`reload`")).unwrap_or_default();
    let written: BTreeSet<&str> = before.iter().filter_map(written_path).collect();
    let written: Vec<&str> = written.into_iter().collect();
    let mut names = BTreeSet::new();
    let mut drafts = Vec::new();
    for item in items.iter().filter(|item| !item.is_null()) {
        let Some((name, reload)) = reload(fields, item, &written) else { continue };
        if !names.insert(name.clone()) {
            let place = present(item, "name").unwrap_or(item);
            let message = format!("the reload step `{name}` is described twice");
            fields.unsuitable(place, message, "put both together, or give one another name");
            continue;
        }
        drafts.push(Draft::once(format!("reload[{name}]"), StepKind::Reload(reload), true));
    }
    drafts
}

fn written_path(draft: &Draft) -> Option<&str> {
    match &draft.kind {
        StepKind::File(file) => Some(&file.path),
        _ => None,
    }
}

fn reload(fields: &mut Fields, item: &Tree, written: &[&str]) -> Option<(String, Reload)> {
    let entries = fields.mapping(item, "an item of `reload`")?;
    closed_keys(fields, entries, "an item of `reload`", &["name", "files", "command"]);
    let name = name(fields, item);
    let files = files(fields, item, written);
    let command = match present(item, "command") {
        Some(command) => shell(fields, "command", command).filter(|text| is_command(fields, command, text)),
        None => {
            fields.missing(item, "an item of `reload`", "command");
            None
        }
    };
    Some((name?, Reload { files: files?, text: command?, watched: Vec::new() }))
}

fn name(fields: &mut Fields, item: &Tree) -> Option<String> {
    let Some(tree) = present(item, "name") else {
        fields.missing(item, "an item of `reload`", "name");
        return None;
    };
    let name = fields.text(tree, "`name`")?;
    let good = name.len() <= NAME_LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._@-".contains(c));
    if !good {
        let message = format!("`{name}` cannot be the name of a reload step");
        let hint = "use at most 64 letters, digits, dots, dashes, underscores and @, and begin with a letter or digit";
        fields.unsuitable(tree, message, hint);
        return None;
    }
    Some(name)
}

/// In order and without repetitions, so that neither makes another step of it.
fn files(fields: &mut Fields, item: &Tree, written: &[&str]) -> Option<Vec<String>> {
    let Some(tree) = present(item, "files") else {
        fields.missing(item, "an item of `reload`", "files");
        return None;
    };
    let items = fields.list(tree, "`files`")?;
    let mut files = BTreeSet::new();
    let mut good = true;
    for item in items.iter().filter(|item| !item.is_null()) {
        let Some(text) = fields.text(item, "an item of `files`") else {
            good = false;
            continue;
        };
        let path = plain_path(&text);
        if text.starts_with('/') && written.contains(&path.as_str()) {
            files.insert(path);
        } else {
            let message = format!("no item of `write_files` writes `{text}`, so its changes are not seen");
            fields.unsuitable(item, message, &suggest::hint(&text, written, "file"));
            good = false;
        }
    }
    if good && files.is_empty() {
        let message = "a reload step has no `files`, so nothing would ever start it again".to_owned();
        fields.error(codes::READ_EMPTY, tree.span, message, "name the files of `write_files` that it waits for");
        return None;
    }
    good.then(|| files.into_iter().collect())
}

fn is_command(fields: &mut Fields, tree: &Tree, text: &str) -> bool {
    if text.trim().is_empty() {
        let message = "`command` of a reload step is empty".to_owned();
        fields.error(codes::READ_EMPTY, tree.span, message, "write a command, such as `systemctl reload nginx`");
    } else if text.contains('\0') {
        fields.unsuitable(tree, "`command` holds a zero byte".to_owned(), "remove it: no shell can read it");
    } else {
        return true;
    }
    false
}

fn closed_keys(fields: &mut Fields, entries: &[(Key, Tree)], what: &str, known: &[&str]) {
    for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
        let message = format!("`{}` is not a key of {what}", key.text);
        fields.error(codes::READ_UNKNOWN_KEY, key.span, message, &suggest::hint(&key.text, known, "key"));
    }
}
