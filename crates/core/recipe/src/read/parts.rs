//! Secrets, shared folders, reloads, hooks and needs of a recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use muster_doc::read::{Field, Findings, MapReader, int};
use muster_doc::{Diagnostic, Key, Node, Spanned, Tree, codes};

use crate::model::{HookSpec, SecretForm, SecretSpec, SharedFolder};

/// Randomness of a secret, in bytes.
const SECRET_BYTES: usize = 32;
const SECRET_BYTES_MIN: i128 = 16;
const SECRET_BYTES_MAX: i128 = 1024;

const HOOK_TIMEOUT: Duration = Duration::from_mins(10);

const FORMS: [(&str, SecretForm); 3] =
    [("base64", SecretForm::Base64), ("hex", SecretForm::Hex), ("text", SecretForm::Text)];

pub(super) fn secrets(map: &mut MapReader<'_>, out: &mut Findings) -> BTreeMap<String, SecretSpec> {
    let Some(tree) = map.get("secrets").filter(|tree| !tree.is_null()) else { return BTreeMap::new() };
    let entries = MapReader::new(tree, "`secrets`", out).map_or(&[][..], |map| map.entries());
    entries.iter().filter_map(|(key, tree)| Some((key.text.clone(), secret(key, tree, out)?))).collect()
}

fn secret(key: &Key, tree: &Tree, out: &mut Findings) -> Option<SecretSpec> {
    let named = key.text.starts_with(|c: char| c.is_ascii_lowercase())
        && key.text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !named {
        let message = format!("`{}` cannot be the name of a secret", key.text);
        let hint = "use small letters, digits and `_`, as in `munge_key`: templates write `secrets.munge_key`";
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(key.span, "not a name"));
        return None;
    }
    let what = format!("the secret `{}`", key.text);
    let nothing = Tree { node: Node::Map(Vec::new()), span: key.span };
    let mut map = MapReader::new(if tree.is_null() { &nothing } else { tree }, &what, out)?;
    let bytes = map.field("bytes").and_then(|field| int(&field, SECRET_BYTES_MIN, SECRET_BYTES_MAX, out));
    let form = map.field("as").and_then(|field| field.choice(&FORMS, out));
    let help = map.optional("help", out).unwrap_or_default();
    map.finish(out);
    Some(SecretSpec {
        span: key.span,
        bytes: bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(SECRET_BYTES),
        form: form.unwrap_or(SecretForm::Text),
        help,
    })
}

pub(super) fn shared_folders(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<SharedFolder> {
    let Some(tree) = map.get("shared_folders").filter(|tree| !tree.is_null()) else { return Vec::new() };
    let entries = MapReader::new(tree, "`shared_folders`", out).map_or(&[][..], |map| map.entries());
    entries.iter().filter_map(|(key, tree)| shared_folder(key, tree, out)).collect()
}

fn shared_folder(key: &Key, tree: &Tree, out: &mut Findings) -> Option<SharedFolder> {
    let path = PathBuf::from(&key.text);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || !plain || path.parent().is_none() {
        let message = format!("`{}` cannot be a shared folder", key.text);
        let hint = "write the whole path of a folder on the nodes, as in `/home`";
        out.push(Diagnostic::error(codes::RECIPE_BAD, message, hint).at(key.span, "not a whole path"));
        return None;
    }
    let mut when = None;
    if !tree.is_null() {
        let what = format!("the shared folder `{}`", key.text);
        let mut map = MapReader::new(tree, &what, out)?;
        when = map.optional("when", out);
        map.finish(out);
    }
    Some(SharedFolder { path, span: key.span, when })
}

/// A list of `{name, files, command}`; the values may be templates, so it stays a tree.
pub(super) fn reload(map: &mut MapReader<'_>, out: &mut Findings) -> Option<Tree> {
    let field = map.field("reload").filter(|field| !field.tree.is_null())?;
    for item in field.items(false, out) {
        let Some(mut map) = MapReader::new(item.tree, "a reload", out) else { continue };
        let _: Option<String> = map.required("name", "give it the name of what it reloads", out);
        let files: Vec<String> = map.list("files", false, out);
        if files.is_empty() {
            map.missing("files", "list the files that it is for, as in `files: [/etc/app.conf]`", out);
        }
        let _: Option<String> = map.required("command", "write what takes the files over", out);
        map.finish(out);
    }
    Some(field.tree.clone())
}

/// `drain` and `resume`.
pub(super) fn hooks(map: &mut MapReader<'_>, out: &mut Findings) -> (Option<HookSpec>, Option<HookSpec>) {
    let Some(tree) = map.get("hooks").filter(|tree| !tree.is_null()) else { return (None, None) };
    let Some(mut map) = MapReader::new(tree, "`hooks`", out) else { return (None, None) };
    let drain = map.field("drain").and_then(|field| hook(&field, "the hook `drain`", out));
    let resume = map.field("resume").and_then(|field| hook(&field, "the hook `resume`", out));
    map.finish(out);
    (drain, resume)
}

fn hook(field: &Field<'_>, what: &str, out: &mut Findings) -> Option<HookSpec> {
    const HINT: &str = "write what a shell is to run, as in `command: drain-node {{ node.name }}`";
    let mut map = MapReader::new(field.tree, what, out)?;
    let on = map.optional("on", out);
    let command = map.required::<Tree>("command", HINT, out);
    let timeout = map.optional::<Duration>("timeout", out).unwrap_or(HOOK_TIMEOUT);
    map.finish(out);
    let command = command?;
    if command.as_str().is_none_or(|text| text.trim().is_empty()) {
        Field::new("command", &command).wrong("a command", HINT, out);
        return None;
    }
    Some(HookSpec { on, command, timeout })
}

pub(super) fn needs(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<Spanned<String>> {
    map.list("needs", true, out)
}
