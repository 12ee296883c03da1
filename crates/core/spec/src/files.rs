//! Files that the nodes of a group are given.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Key, Node, Spanned, Tree, codes};

use crate::model::{Content, FileSpec};

pub(crate) fn read(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<FileSpec> {
    let Some(field) = map.field("files").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    let Some(entries) = field.tree.as_map() else {
        field.wrong("a mapping", "write paths and contents, as in `/etc/motd: welcome`", out);
        return Vec::new();
    };
    entries.iter().filter_map(|(key, tree)| file(key, tree, out)).collect()
}

fn file(key: &Key, tree: &Tree, out: &mut Findings) -> Option<FileSpec> {
    let path = Spanned { value: key.text.clone(), span: key.span };
    if !key.text.starts_with('/') && !muster_doc::read::is_template(&key.text) || key.text.ends_with('/') {
        let message = format!("`{}` is not the path of a file on a node", key.text);
        let hint = "write the whole path, beginning with `/` and ending with the file's name";
        out.push(Diagnostic::error(codes::FILE_PATH, message, hint).at(key.span, "not a whole path"));
        return None;
    }
    if matches!(tree.node, Node::Scalar(_)) {
        return Some(FileSpec { path, content: Content::Inline(tree.clone()), mode: None, owner: None });
    }
    let what = format!("the file `{}`", key.text);
    let mut map = MapReader::new(tree, &what, out)?;
    let content = content(key, &mut map, out);
    let mode = map.field("mode").and_then(|field| mode(&field, out));
    let owner = map.field("owner").and_then(|field| {
        field.scalar("a user", "write a user, or a user and a group, as in `www-data:www-data`", out)?;
        Some(field.tree.clone())
    });
    map.finish(out);
    Some(FileSpec { path, content: content?, mode, owner })
}

fn content(key: &Key, map: &mut MapReader<'_>, out: &mut Findings) -> Option<Content> {
    let inline = map.field("content").and_then(|field| {
        field.scalar("a text", "write the text behind `content:`, or below it behind `|`", out)?;
        Some(Content::Inline(field.tree.clone()))
    });
    let source = map.optional("source", out).map(Content::Source);
    let template = map.optional("template", out).map(Content::Template);
    let mut given = [inline, source, template].into_iter().flatten();
    let first = given.next();
    if first.is_none() || given.next().is_some() {
        let message = format!("`{}` takes exactly one of `content`, `source` and `template`", key.text);
        let hint = "`content` is the text, `source` a file that is copied, `template` a file that is rendered";
        out.push(Diagnostic::error(codes::READ_MISSING, message, hint).at(key.span, "this file"));
        return None;
    }
    first
}

/// Three or four octal digits, with or without quotes.
fn mode(field: &Field<'_>, out: &mut Findings) -> Option<String> {
    const HINT: &str = "write three or four octal digits, as in \"0644\"";
    let scalar = field.scalar("a mode", HINT, out)?;
    let digits = scalar.text.strip_prefix("0o").unwrap_or(&scalar.text);
    if (3..=4).contains(&digits.len()) && digits.chars().all(|c| c.is_digit(8)) {
        return Some(format!("{digits:0>4}"));
    }
    let message = format!("`{}` is not the mode of a file", scalar.text);
    out.push(Diagnostic::error(codes::FILE_MODE, message, HINT).at(field.tree.span, "not a mode"));
    None
}
