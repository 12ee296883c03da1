//! Trees to YAML text that reads back as the same tree and that people like to read.

use crate::{Node, Scalar, Style, Tree, scalar, yaml};

const INDENT: usize = 2;

/// Writes a tree as a block-style document that ends with a newline. Texts of several lines become literal blocks.
pub fn emit(tree: &Tree) -> String {
    let mut out = String::new();
    match &tree.node {
        Node::Map(entries) if !entries.is_empty() => mapping(&mut out, tree, 0),
        Node::Seq(items) if !items.is_empty() => sequence(&mut out, tree, 0),
        _ => value(&mut out, tree, 0),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn mapping(out: &mut String, tree: &Tree, indent: usize) {
    for (index, (key, child)) in tree.as_map().unwrap_or_default().iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        if is_plain_key(&key.text) {
            out.push_str(&key.text);
        } else {
            quoted(out, &key.text);
        }
        out.push(':');
        match &child.node {
            Node::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                pad(out, indent + INDENT);
                mapping(out, child, indent + INDENT);
            }
            Node::Seq(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent + INDENT);
                sequence(out, child, indent + INDENT);
            }
            _ => {
                out.push(' ');
                value(out, child, indent);
                end_line(out);
            }
        }
    }
}

fn sequence(out: &mut String, tree: &Tree, indent: usize) {
    for (index, child) in tree.as_seq().unwrap_or_default().iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match &child.node {
            Node::Map(entries) if !entries.is_empty() => mapping(out, child, indent + INDENT),
            Node::Seq(items) if !items.is_empty() => sequence(out, child, indent + INDENT),
            _ => {
                value(out, child, indent);
                end_line(out);
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// What fits behind `key: ` or `- `; `indent` is that of the key.
fn value(out: &mut String, tree: &Tree, indent: usize) {
    match &tree.node {
        Node::Null => out.push_str("null"),
        Node::Seq(_) => out.push_str("[]"),
        Node::Map(_) => out.push_str("{}"),
        Node::Scalar(scalar) => scalar_value(out, scalar, indent),
    }
}

fn scalar_value(out: &mut String, scalar: &Scalar, indent: usize) {
    let text = scalar.text.as_str();
    if text.contains('\n') && fits_literal(text) {
        literal(out, text, indent + INDENT);
    } else if scalar.style == Style::Plain {
        if is_plain_safe(text) && !scalar::is_null(text) { out.push_str(text) } else { quoted(out, text) }
    } else if yaml::is_plain_text(text) && is_plain_safe(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
    out.push('\n');
    out.extend(std::iter::repeat_n('\n', (text.len() - body.len()).saturating_sub(1)));
}

/// A literal block knows no escapes, and its first line sets the indentation.
fn fits_literal(text: &str) -> bool {
    let printable = text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c));
    printable && !text.starts_with(char::is_whitespace) && !text.trim().is_empty()
}

/// Printable in the sense of YAML, less what some programs take for a line break.
fn is_printable(c: char) -> bool {
    !(c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

/// Whether a text on one line keeps its meaning without quotes, in block style.
fn is_plain_safe(text: &str) -> bool {
    const FIRST: &[char] =
        &['?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '<', '='];
    let dash = text.strip_prefix('-').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    !text.is_empty()
        && !text.starts_with(FIRST)
        && !dash
        && text.chars().all(is_printable)
        && text.trim() == text
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && !text.starts_with("...")
        && text.len() <= 1024
}

fn is_plain_key(text: &str) -> bool {
    yaml::is_plain_text(text)
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => escape(out, 'x', 2, c),
            c if u32::from(c) <= 0xffff => escape(out, 'u', 4, c),
            c => escape(out, 'U', 8, c),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, kind: char, width: usize, c: char) {
    let digits = format!("{:0width$x}", u32::from(c));
    out.extend(['\\', kind]);
    out.push_str(&digits);
}
