//! Between trees and the values that templates see.

use minijinja::value::{Value, ValueKind};

use crate::{Node, Span, Tree, scalar};

/// Deepest nesting of a value that becomes a tree.
const DEPTH_MAX: usize = 64;

/// A tree as templates see it: plain scalars are numbers and booleans where YAML 1.2 says so.
pub fn to_value(tree: &Tree) -> Value {
    match &tree.node {
        Node::Null => Value::from(()),
        Node::Scalar(written) if written.is_plain() => plain(&written.text),
        Node::Scalar(written) => Value::from(written.text.as_str()),
        Node::Seq(items) => items.iter().map(to_value).collect(),
        Node::Map(entries) => Value::from_pairs(entries.iter().map(|(key, value)| (key.text.clone(), to_value(value)))),
    }
}

fn plain(text: &str) -> Value {
    if let Some(value) = scalar::bool(text) {
        return Value::from(value);
    }
    // A leading zero is a mode or a serial number more often than a decimal; its text must not change.
    let padded = text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match (scalar::int(text), scalar::float(text)) {
        (Some(number), _) if !padded => i64::try_from(number).map_or_else(|_| Value::from(text), Value::from),
        (None, Some(number)) if text.contains(['.', 'e', 'E']) => Value::from(number),
        _ => Value::from(text),
    }
}

/// What a whole expression yields; `None` leaves it to the text.
pub(super) fn to_tree(value: &Value, span: Span) -> Option<Tree> {
    convert(value, span, 0)
}

fn convert(value: &Value, span: Span, depth: usize) -> Option<Tree> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value.kind() {
        ValueKind::None => Some(Tree::null(span)),
        ValueKind::Bool => Some(Tree::plain(if value.is_true() { "true" } else { "false" }, span)),
        ValueKind::Number => Some(Tree::plain(value.to_string(), span)),
        ValueKind::String => Some(Tree::text(value.to_string(), span)),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Option<Vec<Tree>> = value.try_iter().ok()?.map(|item| convert(&item, span, depth + 1)).collect();
            Some(Tree::seq(items?, span))
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter().ok()? {
                let child = value.get_item(&key).ok()?;
                entries.push((key.to_string(), convert(&child, span, depth + 1)?));
            }
            Some(Tree::map(entries, span))
        }
        _ => None,
    }
}
