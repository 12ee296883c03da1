//! Sections with a closed set of keys, as tables: which keys there are, which must be there, and what their values are.

use muster_doc::read::{Field, Findings, MapReader, Read as _, int};
use muster_doc::{Diagnostic, Severity, Tree, codes, suggest};

/// What the value of a key is. Nothing at all is fine everywhere: it stands for Python's `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Any,
    /// A text or a number.
    Single,
    Bool,
    /// A whole number of at least 0.
    Count,
    Number,
    List,
    Mapping,
    /// One of these words, whatever their capitals.
    Word(&'static [&'static str]),
    /// A mapping with keys of its own; others are taken too.
    Open(&'static [KeyOf]),
    /// Taken, but nothing uses it; the text says why.
    Idle(&'static str),
    /// Refused; the text says what to do.
    Gone(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyOf {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) kind: Kind,
}

/// A key that must be there.
pub(crate) const fn must(name: &'static str, kind: Kind) -> KeyOf {
    KeyOf { name, required: true, kind }
}

/// A key that may be there.
pub(crate) const fn may(name: &'static str, kind: Kind) -> KeyOf {
    KeyOf { name, required: false, kind }
}

/// Checks a section against its table. `what` is how messages call it.
pub(crate) fn check(tree: &Tree, what: &str, keys: &[KeyOf], out: &mut Findings) {
    closed(tree, what, keys, true, out);
}

fn closed(tree: &Tree, what: &str, keys: &[KeyOf], only_these: bool, out: &mut Findings) {
    let Some(mut map) = MapReader::new(tree, what, out) else { return };
    map.get("type");
    for key in keys {
        match (map.entry(key.name), key.kind) {
            (Some((name, _)), Kind::Gone(hint)) => {
                let message = format!("{what} cannot have the key `{}`", key.name);
                out.push(Diagnostic::error(codes::READ_UNKNOWN_KEY, message, hint).at(name.span, "not taken"));
            }
            (Some((name, _)), Kind::Idle(why)) => {
                let message = format!("`{}` has no effect: {why}", key.name);
                let found = Diagnostic::warning(codes::OCCOPUS_IGNORED, message, "remove the key");
                out.push(found.at(name.span, "without effect"));
            }
            (Some((_, tree)), kind) => typed(&Field::new(key.name, tree), kind, out),
            (None, _) if key.required => {
                map.missing(key.name, &format!("{what} must have the key `{}`", key.name), out);
            }
            (None, _) => {}
        }
    }
    if only_these {
        map.finish(out);
    }
}

/// Occopus looks at keys alone when it reads: a value of another type (such as `replace_with_…` for a number) is told of,
/// and in the way only of whoever uses it. Sizes of volumes and keys inside of a section are the exceptions.
fn typed(field: &Field<'_>, kind: Kind, out: &mut Findings) {
    let mut found = Findings { templates: out.templates, ..Findings::default() };
    value(field, kind, &mut found);
    for mut found in found.diagnostics {
        if !matches!(kind, Kind::Count | Kind::Open(_)) {
            found.severity = Severity::Warning;
        }
        out.push(found);
    }
}

fn value(field: &Field<'_>, kind: Kind, out: &mut Findings) {
    if field.tree.is_null() || out.pending(field.tree) {
        return;
    }
    match kind {
        Kind::Single => {
            field.scalar("a single value", "write one value behind the key", out);
        }
        Kind::Bool => {
            bool::read(field, out);
        }
        Kind::Count => {
            int(field, 0, i128::from(u32::MAX), out);
        }
        Kind::Number => {
            f64::read(field, out);
        }
        Kind::List => {
            field.items(false, out);
        }
        Kind::Mapping if field.tree.as_map().is_none() => {
            field.wrong("a mapping", "write `key: value` lines below the key", out);
        }
        Kind::Word(words) => word(field, words, out),
        Kind::Open(keys) => closed(field.tree, &format!("`{}`", field.name), keys, false, out),
        Kind::Any | Kind::Mapping | Kind::Idle(_) | Kind::Gone(_) => {}
    }
}

fn word(field: &Field<'_>, words: &[&str], out: &mut Findings) {
    let Some(scalar) = field.scalar(&format!("one of {}", words.join(", ")), &words.join(", "), out) else { return };
    if words.iter().any(|word| word.eq_ignore_ascii_case(&scalar.text)) {
        return;
    }
    let message = format!("`{}` cannot be `{}`", field.name, scalar.text);
    let hint = suggest::hint(&scalar.text, words, "choice");
    out.push(Diagnostic::error(codes::READ_CHOICE, message, hint).at(field.tree.span, "not a choice"));
}
