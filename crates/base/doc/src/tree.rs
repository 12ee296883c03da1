//! A YAML document with the place of every value; anchors and merge keys are resolved.

use crate::{Span, scalar};

/// How a scalar was written; only plain ones can be numbers, booleans or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    Plain,
    Quoted,
    Block,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scalar {
    /// The text as written, escapes and folds resolved. `0644` stays `0644` until a typed reader asks.
    pub text: String,
    pub style: Style,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    Null,
    Scalar(Scalar),
    Seq(Vec<Tree>),
    /// In the order of the file; keys are unique.
    Map(Vec<(Key, Tree)>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tree {
    pub node: Node,
    pub span: Span,
}

impl Scalar {
    pub fn is_plain(&self) -> bool {
        self.style == Style::Plain
    }

    /// Quotes matter only to what would be a number, a boolean or nothing without them.
    fn meaning(&self) -> bool {
        let text = self.text.as_str();
        let special = scalar::bool(text).is_some() || scalar::float(text).is_some() || scalar::int(text).is_some();
        special && self.is_plain()
    }
}

impl Tree {
    pub fn null(span: Span) -> Self {
        Self { node: Node::Null, span }
    }

    /// A text that is never taken for a number or a boolean.
    pub fn text(text: impl Into<String>, span: Span) -> Self {
        Self { node: Node::Scalar(Scalar { text: text.into(), style: Style::Quoted }), span }
    }

    /// A number or a boolean.
    pub fn plain(value: impl Into<String>, span: Span) -> Self {
        Self { node: Node::Scalar(Scalar { text: value.into(), style: Style::Plain }), span }
    }

    pub fn seq(items: Vec<Tree>, span: Span) -> Self {
        Self { node: Node::Seq(items), span }
    }

    /// The keys take the mapping's span.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Tree)>, span: Span) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Key { text: key.into(), span }, value)).collect();
        Self { node: Node::Map(entries), span }
    }

    /// Whether two trees say the same, wherever and with whichever quotes they are written.
    pub fn same(&self, other: &Tree) -> bool {
        match (&self.node, &other.node) {
            (Node::Null, Node::Null) => true,
            (Node::Scalar(a), Node::Scalar(b)) => a.text == b.text && a.meaning() == b.meaning(),
            (Node::Seq(a), Node::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Node::Map(a), Node::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0.text == b.0.text && a.1.same(&b.1))
            }
            _ => false,
        }
    }

    /// `over` laid over this tree: mappings merge key by key at every depth, anything else is replaced.
    #[must_use]
    pub fn merged(&self, over: &Tree) -> Tree {
        let (Node::Map(base), Node::Map(top)) = (&self.node, &over.node) else { return over.clone() };
        let mut entries = base.clone();
        for (key, value) in top {
            match entries.iter_mut().find(|(known, _)| known.text == key.text) {
                Some(entry) => *entry = (key.clone(), entry.1.merged(value)),
                None => entries.push((key.clone(), value.clone())),
            }
        }
        Tree { node: Node::Map(entries), span: over.span }
    }

    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        match &self.node {
            Node::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    pub fn as_seq(&self) -> Option<&[Tree]> {
        match &self.node {
            Node::Seq(items) => Some(items),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(Key, Tree)]> {
        match &self.node {
            Node::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// What the value is, in the words of messages.
    pub fn kind(&self) -> &'static str {
        match &self.node {
            Node::Null => "nothing",
            Node::Scalar(_) => "a single value",
            Node::Seq(_) => "a list",
            Node::Map(_) => "a mapping",
        }
    }
}
