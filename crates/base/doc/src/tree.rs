//! A YAML document with the place of every value; anchors and merge keys are resolved.

use crate::Span;

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

impl Tree {
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
