//! YAML text to trees. Nothing else knows which parser stands behind it.
//!
//! The parser (the one of serde-saphyr) yields events; composing them here keeps what deserialising through serde
//! would lose: the style of each scalar, every span, and the chance to report more than the first mistake.

mod compose;
mod syntax;

use crate::offsets::OffsetMap;
use crate::{Diagnostic, Node, SourceId, SourceMap, Span, Tree, codes};

/// Largest text that is read.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

/// Most values in one document once aliases are expanded.
pub const NODES_MAX: usize = 200_000;

/// Most bytes of scalars in one document once aliases are expanded.
pub const EXPANDED_BYTES_MAX: usize = 32 << 20;

/// Reads one YAML document. The tree is there unless the text could not be understood as a whole; there may be errors
/// (such as a key that stands twice) even with a tree, so that one reading finds as much as it can.
pub fn parse(sources: &mut SourceMap, name: &str, text: &str) -> (Option<Tree>, Vec<Diagnostic>) {
    let id = sources.add(name, text);
    parse_source(sources, id)
}

/// The same for what was read from a file and may not even be text.
pub fn parse_bytes(sources: &mut SourceMap, name: &str, bytes: &[u8]) -> (Option<Tree>, Vec<Diagnostic>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(sources, name, text),
        Err(error) => {
            let at = error.valid_up_to();
            let id = sources.add(name, String::from_utf8_lossy(bytes));
            let byte = bytes[at];
            let replacement = '\u{fffd}'.len_utf8();
            let found = Diagnostic::error(
                codes::YAML_ENCODING,
                format!("`{name}` is not UTF-8: byte {at} is 0x{byte:02x}"),
                "save the file as UTF-8; if it is compressed or a binary file, it is the wrong file",
            );
            (None, vec![found.at(Span { source: id, start: at, end: at + replacement }, "not UTF-8 from here")])
        }
    }
}

/// A value that stands behind a tag of the application, as in `!include other.yaml`. An alias of it has the same span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// As written, with its `!`.
    pub tag: String,
    pub span: Span,
}

/// Reads a text that is among the sources already.
pub fn parse_source(sources: &SourceMap, id: SourceId) -> (Option<Tree>, Vec<Diagnostic>) {
    let (tree, _, diagnostics) = parse_tagged(sources, id, &[]);
    (tree, diagnostics)
}

/// The same for a format that has tags of its own: `taken` (each with its `!`) are not refused, and it is said where they
/// stand.
pub fn parse_tagged(sources: &SourceMap, id: SourceId, taken: &[&str]) -> (Option<Tree>, Vec<Tagged>, Vec<Diagnostic>) {
    let text = sources.text(id);
    if text.len() > TEXT_BYTES_MAX {
        let found = Diagnostic::error(
            codes::YAML_TOO_LARGE,
            format!("`{}` has {} bytes; at most {TEXT_BYTES_MAX} are read", sources.name(id), text.len()),
            "keep large contents in files of their own and refer to them with `source:`",
        );
        return (None, Vec::new(), vec![found.at(Span { source: id, start: 0, end: 0 }, "")]);
    }
    compose::tagged_document(text, id, taken)
}

/// Where the comments of a text stand, in its order: from their `#` to the end of the line. As far as the text is YAML.
pub fn comments(sources: &SourceMap, id: SourceId) -> Vec<Span> {
    let text = sources.text(id);
    if text.len() > TEXT_BYTES_MAX { Vec::new() } else { compose::comments(text, id) }
}

/// Reads YAML that stands inside a scalar of another document, such as `cloud_init: |`. Its spans point into the outer
/// file if the scalar is written there as it reads; else `name` becomes a source of its own.
pub fn parse_embedded(sources: &mut SourceMap, scalar: &Tree, name: &str) -> (Option<Tree>, Vec<Diagnostic>) {
    let text = scalar.as_str().unwrap_or_default().to_owned();
    let Some(map) = OffsetMap::of(sources, scalar) else {
        return parse(sources, name, &text);
    };
    if text.len() > TEXT_BYTES_MAX {
        return parse(sources, name, &text);
    }
    let outer = scalar.span.source;
    let (mut tree, mut diagnostics) = compose::document(&text, outer);
    let shift = |span: &mut Span| *span = map.span(span.start, span.end);
    if let Some(tree) = &mut tree {
        shift_tree(tree, &shift);
    }
    for diagnostic in &mut diagnostics {
        diagnostic.span.iter_mut().for_each(shift);
        diagnostic.related.iter_mut().for_each(|(span, _)| shift(span));
    }
    (tree, diagnostics)
}

fn shift_tree(tree: &mut Tree, shift: &impl Fn(&mut Span)) {
    shift(&mut tree.span);
    match &mut tree.node {
        Node::Null | Node::Scalar(_) => {}
        Node::Seq(items) => items.iter_mut().for_each(|item| shift_tree(item, shift)),
        Node::Map(entries) => {
            for (key, value) in entries {
                shift(&mut key.span);
                shift_tree(value, shift);
            }
        }
    }
}

/// Whether a text, written as a plain scalar, would be read back as a text and not as null, a boolean or a number.
/// YAML 1.1's forms count too, since other programs read what we write.
pub(crate) fn is_plain_text(text: &str) -> bool {
    const ELEVEN: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"];
    let lower = text.to_ascii_lowercase();
    let numeric = text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    !(text.is_empty() || ELEVEN.contains(&lower.as_str()) || numeric)
}
