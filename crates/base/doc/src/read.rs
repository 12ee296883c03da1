//! Typed reading of trees. Mistakes are collected, so that one reading finds them all; each has a place and a hint.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::{Diagnostic, Key, Node, Scalar, Severity, Span, Spanned, Tree, codes, scalar, suggest};

/// Where mistakes go.
#[derive(Debug, Default)]
pub struct Findings {
    pub diagnostics: Vec<Diagnostic>,
    /// Values that hold a template are not known yet, so their type is not judged.
    pub templates: bool,
}

impl Findings {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether a value is a template that is not rendered yet.
    pub fn pending(&self, tree: &Tree) -> bool {
        self.templates && tree.as_str().is_some_and(is_template)
    }
}

/// Whether a text is a Jinja2 template rather than a fixed value. A comment (`{#`) alone does not make one: shell scripts
/// are full of `${#name}`.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// What a value is called in messages, and the value.
#[derive(Debug, Clone, Copy)]
pub struct Field<'t> {
    pub name: &'t str,
    pub tree: &'t Tree,
}

impl<'t> Field<'t> {
    pub fn new(name: &'t str, tree: &'t Tree) -> Self {
        Self { name, tree }
    }

    /// Notes that the value is not what it must be.
    pub fn wrong(&self, expected: &str, hint: impl Into<String>, out: &mut Findings) {
        let found = match &self.tree.node {
            Node::Null => "has no value".to_owned(),
            Node::Scalar(Scalar { text, .. }) => format!("is `{}`", shortened(text)),
            _ => format!("is {}", self.tree.kind()),
        };
        let message = format!("`{}` must be {expected}, but it {found}", self.name);
        out.push(Diagnostic::error(codes::READ_TYPE, message, hint).at(self.tree.span, format!("not {expected}")));
    }

    /// The text of a single value.
    pub fn scalar(&self, expected: &str, hint: &str, out: &mut Findings) -> Option<&'t Scalar> {
        match &self.tree.node {
            Node::Scalar(_) if out.pending(self.tree) => None,
            Node::Scalar(scalar) => Some(scalar),
            _ => {
                self.wrong(expected, hint, out);
                None
            }
        }
    }

    /// A value read by its type's own `FromStr`; its error becomes the message.
    pub fn parsed<T>(&self, code: &'static str, hint: &str, out: &mut Findings) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let scalar = self.scalar("a single value", hint, out)?;
        match scalar.text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("`{}`: {error}", self.name);
                out.push(Diagnostic::error(code, message, hint).at(self.tree.span, "cannot be read"));
                None
            }
        }
    }

    /// One of a fixed set of words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], out: &mut Findings) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let scalar = self.scalar(&format!("one of {}", words.join(", ")), &words.join(", "), out)?;
        let chosen = choices.iter().find(|(word, _)| *word == scalar.text);
        if chosen.is_none() {
            let message = format!("`{}` cannot be `{}`", self.name, shortened(&scalar.text));
            let hint = suggest::hint(&scalar.text, &words, "choice");
            out.push(Diagnostic::error(codes::READ_CHOICE, message, hint).at(self.tree.span, "not a choice"));
        }
        chosen.map(|(_, value)| *value)
    }

    /// The items of a list; a value that is not a list stands for a list of one if `one` allows it.
    pub fn items(&self, one: bool, out: &mut Findings) -> Vec<Field<'t>> {
        match &self.tree.node {
            Node::Seq(items) => items.iter().map(|tree| Field { name: self.name, tree }).collect(),
            Node::Scalar(_) | Node::Map(_) if one => vec![*self],
            _ if out.pending(self.tree) => Vec::new(),
            _ => {
                self.wrong("a list", "write a list, as in `[a, b]`", out);
                Vec::new()
            }
        }
    }

    pub fn list<T: Read>(&self, one: bool, out: &mut Findings) -> Vec<T> {
        let items = self.items(one, out);
        items.iter().filter_map(|item| T::read(item, out)).collect()
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(SHOWN).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
}

/// A type that one value of a document can be.
pub trait Read: Sized {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self>;
}

impl Read for String {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
        if let Node::Scalar(scalar) = &field.tree.node {
            return Some(scalar.text.clone());
        }
        field.wrong("a text", "write one value behind the key", out);
        None
    }
}

impl<T: Read> Read for Spanned<T> {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
        T::read(field, out).map(|value| Spanned { value, span: field.tree.span })
    }
}

impl Read for Tree {
    fn read(field: &Field<'_>, _: &mut Findings) -> Option<Self> {
        Some(field.tree.clone())
    }
}

impl Read for bool {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
        let scalar = field.scalar("true or false", "write `true` or `false`", out)?;
        let value = scalar::bool(&scalar.text).filter(|_| scalar.is_plain());
        if value.is_none() {
            let message = format!("`{}` must be true or false, but it is `{}`", field.name, shortened(&scalar.text));
            let hint = "write `true` or `false` without quotes; YAML 1.2 takes `yes` and `on` for texts";
            out.push(Diagnostic::error(codes::READ_BOOL, message, hint).at(field.tree.span, "neither true nor false"));
        }
        value
    }
}

impl Read for Duration {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
        const HINT: &str = "write a number with its unit, as in 500ms, 30s, 5m, 1h30m or 2d";
        let scalar = field.scalar("a span of time", HINT, out)?;
        let value = scalar::duration(&scalar.text);
        if value.is_none() {
            let message = format!("`{}` is not a span of time: `{}`", field.name, shortened(&scalar.text));
            out.push(Diagnostic::error(codes::READ_DURATION, message, HINT).at(field.tree.span, "not a span of time"));
        }
        value
    }
}

impl Read for f64 {
    fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
        let scalar = field.scalar("a number", "write a number, as in 0.5", out)?;
        let value = scalar::float(&scalar.text).filter(|_| scalar.is_plain());
        if value.is_none() {
            not_a_number(field, scalar, "a number", out);
        }
        value
    }
}

macro_rules! read_int {
    ($($int:ty),*) => {$(
        impl Read for $int {
            fn read(field: &Field<'_>, out: &mut Findings) -> Option<Self> {
                int(field, i128::from(<$int>::MIN), i128::from(<$int>::MAX), out).and_then(|value| value.try_into().ok())
            }
        }
    )*};
}

read_int!(u8, u16, u32, u64, i64);

/// A whole number within bounds.
pub fn int(field: &Field<'_>, min: i128, max: i128, out: &mut Findings) -> Option<i128> {
    let scalar = field.scalar("a whole number", "write a whole number", out)?;
    let Some(value) = scalar::int(&scalar.text).filter(|_| scalar.is_plain()) else {
        not_a_number(field, scalar, "a whole number", out);
        return None;
    };
    if (min..=max).contains(&value) {
        return Some(value);
    }
    let message = format!("`{}` is {value}, which is out of range", field.name);
    let hint = format!("write a whole number from {min} to {max}");
    out.push(Diagnostic::error(codes::READ_NUMBER, message, hint).at(field.tree.span, "out of range"));
    None
}

fn not_a_number(field: &Field<'_>, scalar: &Scalar, expected: &str, out: &mut Findings) {
    let hint = if scalar.is_plain() { format!("write {expected}") } else { "remove the quotes".to_owned() };
    let message = format!("`{}` must be {expected}, but it is the text `{}`", field.name, shortened(&scalar.text));
    out.push(Diagnostic::error(codes::READ_NUMBER, message, hint).at(field.tree.span, format!("not {expected}")));
}

/// Reads a mapping key by key; `finish` reports the keys that nobody asked for.
#[derive(Debug)]
pub struct MapReader<'t> {
    /// What the mapping is, as in "a group".
    what: &'t str,
    span: Span,
    entries: &'t [(Key, Tree)],
    asked: Vec<&'t str>,
}

impl<'t> MapReader<'t> {
    pub fn new(tree: &'t Tree, what: &'t str, out: &mut Findings) -> Option<Self> {
        match &tree.node {
            Node::Map(entries) => Some(Self { what, span: tree.span, entries, asked: Vec::new() }),
            _ => {
                let message = format!("{what} must be a mapping, but it is {}", tree.kind());
                let found = Diagnostic::error(codes::READ_TYPE, message, "write `key: value` lines, indented alike");
                out.push(found.at(tree.span, "not a mapping"));
                None
            }
        }
    }

    pub fn span(&self) -> Span {
        self.span
    }

    pub fn entries(&self) -> &'t [(Key, Tree)] {
        self.entries
    }

    /// The value under a key, whatever it is, null included.
    pub fn get(&mut self, key: &'t str) -> Option<&'t Tree> {
        self.entry(key).map(|(_, tree)| tree)
    }

    pub fn entry(&mut self, key: &'t str) -> Option<(&'t Key, &'t Tree)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|(known, _)| known.text == key).map(|(key, tree)| (key, tree))
    }

    pub fn field(&mut self, key: &'t str) -> Option<Field<'t>> {
        self.get(key).map(|tree| Field { name: key, tree })
    }

    pub fn optional<T: Read>(&mut self, key: &'t str, out: &mut Findings) -> Option<T> {
        let (name, tree) = self.entry(key)?;
        if tree.is_null() {
            let message = format!("`{key}` has no value");
            let hint = "write a value behind the key, or remove the key";
            out.push(Diagnostic::error(codes::READ_EMPTY, message, hint).at(name.span, "no value"));
            return None;
        }
        T::read(&Field { name: key, tree }, out)
    }

    pub fn required<T: Read>(&mut self, key: &'t str, hint: &str, out: &mut Findings) -> Option<T> {
        if self.entry(key).is_none() {
            self.missing(key, hint, out);
            return None;
        }
        self.optional(key, out)
    }

    pub fn missing(&self, key: &str, hint: &str, out: &mut Findings) {
        let message = format!("{} has no `{key}`", self.what);
        let at = self.entries.first().map_or(self.span, |(key, _)| key.span);
        out.push(Diagnostic::error(codes::READ_MISSING, message, hint).at(at, format!("`{key}` is missing here")));
    }

    pub fn list<T: Read>(&mut self, key: &'t str, one: bool, out: &mut Findings) -> Vec<T> {
        self.field(key).filter(|field| !field.tree.is_null()).map_or_else(Vec::new, |field| field.list(one, out))
    }

    /// Reports keys that were not asked for as errors.
    pub fn finish(self, out: &mut Findings) {
        self.unknown(Severity::Error, out);
    }

    /// Reports keys that were not asked for as warnings.
    pub fn finish_with_warnings(self, out: &mut Findings) {
        self.unknown(Severity::Warning, out);
    }

    fn unknown(self, severity: Severity, out: &mut Findings) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.asked.contains(&key.text.as_str())) {
            let message = format!("{} has no key `{}`", self.what, shortened(&key.text));
            let taken: Vec<&str> = self
                .asked
                .iter()
                .filter(|asked| !self.entries.iter().any(|(key, _)| key.text == **asked))
                .copied()
                .collect();
            let hint = suggest::hint(&key.text, &taken, "key");
            let found = Diagnostic::error(codes::READ_UNKNOWN_KEY, message, hint).at(key.span, "unknown key");
            out.push(Diagnostic { severity, ..found });
        }
    }
}
