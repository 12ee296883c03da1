//! `write_files`.

use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use muster_doc::{Tree, codes};

use crate::document::Draft;
use crate::fields::{Fields, present};
use crate::step::{FileStep, Followed, Owner, StepKind};

/// Most bytes that one file may unpack to.
const CONTENT_BYTES_MAX: u64 = 8 << 20;

const KEYS: &[&str] = &["path", "content", "encoding", "owner", "permissions", "append", "defer", "source"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The files that are written at once, and those that are deferred.
pub(crate) fn read(fields: &mut Fields, tree: &Tree) -> (Vec<Draft>, Vec<Draft>) {
    let (mut early, mut deferred) = (Vec::new(), Vec::new());
    let items = present(tree, "write_files").and_then(|tree| fields.list(tree, "`write_files`"));
    for item in items.unwrap_or_default().iter().filter(|item| !item.is_null()) {
        let Some(file) = file(fields, item) else { continue };
        let draft = Draft::converge(format!("write_files[{}]", file.path), StepKind::File(file));
        let list = if fields.flag(item, "defer", false) { &mut deferred } else { &mut early };
        list.push(draft);
    }
    (early, deferred)
}

fn file(fields: &mut Fields, item: &Tree) -> Option<FileStep> {
    let entries = fields.mapping(item, "an item of `write_files`")?;
    fields.unknown_keys(entries, "an item of `write_files`", KEYS, &[]);
    let append = fields.flag(item, "append", false);
    let (path, content) = (path(fields, item), content(fields, item));
    let mode = present(item, "permissions").and_then(|tree| permissions(fields, tree));
    let owner = present(item, "owner").and_then(|tree| owner(fields, tree));
    Some(FileStep { path: path?, content: content?, append, mode, owner, followed: Followed::No })
}

fn path(fields: &mut Fields, item: &Tree) -> Option<String> {
    let Some(tree) = present(item, "path") else {
        fields.missing(item, "an item of `write_files`", "path");
        return None;
    };
    let path = fields.text(tree, "`path`")?;
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    if path.contains('\0') || names.clone().any(|name| name == "..") || names.clone().next().is_none() {
        fields.unsuitable(tree, format!("`{path}` is not the path of a file"), "name a file, without `..`");
        return None;
    }
    if !path.starts_with('/') {
        let message = format!("the path `{path}` is not absolute");
        fields.error(codes::FILE_PATH, tree.span, message, &format!("write `/{path}`"));
        return None;
    }
    Some(plain_path(&path))
}

/// An absolute path without what means nothing in it.
pub(crate) fn plain_path(path: &str) -> String {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    format!("/{}", names.collect::<Vec<_>>().join("/"))
}

/// Digits are octal however they are written: `"0644"`, `0644`, `0o644`, `644`.
fn permissions(fields: &mut Fields, tree: &Tree) -> Option<u32> {
    let text = fields.text(tree, "`permissions`")?;
    let digits = text.trim().trim_start_matches("0o").trim_start_matches("0O");
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777 && !digits.starts_with('+'));
    if mode.is_none() {
        let message = format!("`{text}` are not permissions");
        fields.error(
            codes::FILE_MODE,
            tree.span,
            message,
            "write three or four octal digits in quotes, such as \"0644\"",
        );
    }
    mode
}

/// `user:group`, `user` or `:group`, by name or number; `-1` and `none` leave a part as it is.
fn owner(fields: &mut Fields, tree: &Tree) -> Option<Owner> {
    let text = fields.text(tree, "`owner`")?;
    let mut parts = text.splitn(2, ':').map(|part| {
        let part = part.trim();
        let given = !matches!(part.to_ascii_lowercase().as_str(), "" | "-1" | "none");
        given.then(|| part.to_owned())
    });
    let (user, group) = (parts.next().flatten(), parts.next().flatten());
    if user.iter().chain(&group).any(|name| !super::is_field(name)) {
        fields.unsuitable(tree, format!("`{text}` is not an owner"), "write it as user:group");
        return None;
    }
    Some(Owner { user, group })
}

fn content(fields: &mut Fields, item: &Tree) -> Option<Vec<u8>> {
    let given = present(item, "content");
    if let Some(source) = present(item, "source") {
        let message = "`source` of an item of `write_files` is not done here".to_owned();
        if given.is_none() {
            fields.error(
                codes::CLOUD_KEY_NOT_DONE,
                source.span,
                message,
                "give `content`, or fetch the file in runcmd",
            );
            return None;
        }
        fields.warning(codes::CLOUD_KEY_NOT_DONE, source.span, message, "`content` is taken; remove `source`");
    }
    let Some(tree) = given else { return Some(Vec::new()) };
    let text = fields.text(tree, "`content`")?;
    let encoding = fields.optional_text(item, "encoding").unwrap_or_default();
    match decode(&text, encoding.trim().to_ascii_lowercase().as_str()) {
        Ok(content) => Some(content),
        Err(Undecodable::Encoding) => {
            let message = format!("`{encoding}` is not an encoding");
            let place = present(item, "encoding").unwrap_or(item);
            fields.error(codes::READ_CHOICE, place.span, message, "write one of text/plain, b64, gz or gz+b64");
            None
        }
        Err(Undecodable::Content(why)) => {
            let message = format!("the content cannot be decoded as `{encoding}`: {why}");
            fields.error(codes::CLOUD_CONTENT, tree.span, message, "encode it anew, or correct `encoding`");
            None
        }
    }
}

enum Undecodable {
    Encoding,
    Content(String),
}

fn decode(text: &str, encoding: &str) -> Result<Vec<u8>, Undecodable> {
    match encoding {
        "" | "text/plain" => Ok(text.as_bytes().to_vec()),
        "b64" | "base64" => unbase64(text),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => gunzip(&unbase64(text)?),
        // YAML carries bytes as `!!binary`, which is base64; a writer that escapes them gives one character a byte.
        "gz" | "gzip" => match latin1(text) {
            Some(bytes) if bytes.starts_with(&[0x1f, 0x8b]) => gunzip(&bytes),
            _ => gunzip(&unbase64(text)?),
        },
        _ => Err(Undecodable::Encoding),
    }
}

fn unbase64(text: &str) -> Result<Vec<u8>, Undecodable> {
    let packed: String = text.split_ascii_whitespace().collect();
    BASE64.decode(packed).map_err(|error| Undecodable::Content(error.to_string()))
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Undecodable> {
    let mut content = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(CONTENT_BYTES_MAX + 1);
    reader.read_to_end(&mut content).map_err(|error| Undecodable::Content(error.to_string()))?;
    if content.len() as u64 > CONTENT_BYTES_MAX {
        return Err(Undecodable::Content(format!("it unpacks to more than {CONTENT_BYTES_MAX} bytes")));
    }
    Ok(content)
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// A file that another key asks for.
pub(crate) fn made_file(path: &str, content: String, mode: u32) -> StepKind {
    let content = content.into_bytes();
    let followed = Followed::No;
    StepKind::File(FileStep { path: path.to_owned(), content, append: false, mode: Some(mode), owner: None, followed })
}
