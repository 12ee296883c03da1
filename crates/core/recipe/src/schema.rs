//! Variables of a recipe: their types, their limits, and what is filled in.

use std::collections::BTreeMap;
use std::fmt;

use muster_doc::{Key, Node, Span, Tree, scalar};
use regex::{Regex, RegexBuilder};

/// A pattern for names and the like compiles to less than this.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A variable that people may set, or a key of a mapping.
#[derive(Debug, Clone)]
pub struct Var {
    pub span: Span,
    pub schema: Schema,
    /// Without one, somebody must set it.
    pub default: Option<Tree>,
    pub help: String,
}

/// What a value must be.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub kind: VarKind,
    pub pattern: Option<Pattern>,
    /// Empty: any.
    pub choices: Vec<String>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// What the items of a list are.
    pub items: Option<Box<Schema>>,
    /// The keys of a mapping; without them it may have any.
    pub keys: Option<BTreeMap<String, Var>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VarKind {
    #[default]
    Any,
    Text,
    Number,
    Bool,
    List,
    Mapping,
    /// The name of a group of the cluster file.
    Group,
}

/// A regular expression that the whole text must match.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&format!(r"\A(?:{text})\z")).size_limit(PATTERN_BYTES_MAX).build()?;
        Ok(Self { text: text.to_owned(), regex })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl VarKind {
    pub(crate) const CHOICES: [(&'static str, VarKind); 8] = [
        ("any", VarKind::Any),
        ("text", VarKind::Text),
        ("number", VarKind::Number),
        ("bool", VarKind::Bool),
        ("list", VarKind::List),
        ("mapping", VarKind::Mapping),
        ("group", VarKind::Group),
        ("string", VarKind::Text),
    ];

    /// As a recipe writes it.
    pub fn as_str(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, kind)| *kind == self).map_or("any", |(name, _)| name)
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::List => "a list",
            Self::Mapping => "a mapping",
            Self::Group => "the name of a group",
        }
    }

    pub(crate) fn fits(self, tree: &Tree) -> bool {
        match (self, &tree.node) {
            (Self::Any, _)
            | (Self::Text | Self::Group, Node::Scalar(_))
            | (Self::List, Node::Seq(_))
            | (Self::Mapping, Node::Map(_)) => true,
            (Self::Number, Node::Scalar(written)) => written.is_plain() && number(&written.text).is_some(),
            (Self::Bool, Node::Scalar(written)) => written.is_plain() && scalar::bool(&written.text).is_some(),
            _ => false,
        }
    }
}

/// Limits are compared as people write numbers; beyond 2^53 nobody does.
#[expect(clippy::cast_precision_loss, reason = "a limit on numbers that large would be a slip")]
pub(crate) fn number(text: &str) -> Option<f64> {
    scalar::int(text).map(|number| number as f64).or_else(|| scalar::float(text))
}

impl Schema {
    /// A value with the defaults of the keys that it leaves out, at every depth.
    #[must_use]
    pub fn completed(&self, value: &Tree) -> Tree {
        let node = match (&value.node, &self.items, &self.keys) {
            (Node::Seq(items), Some(schema), _) => Node::Seq(items.iter().map(|item| schema.completed(item)).collect()),
            (Node::Map(entries), _, Some(keys)) => {
                let given = entries.iter().map(|(key, value)| {
                    let value = keys.get(&key.text).map_or_else(|| value.clone(), |var| var.schema.completed(value));
                    (key.clone(), value)
                });
                let left_out = keys.iter().filter(|(name, _)| value.get(name).is_none());
                let defaults = left_out.filter_map(|(name, var)| {
                    let default = var.default.as_ref()?;
                    let key = Key { text: name.clone(), span: value.span };
                    Some((key, var.schema.completed(default)))
                });
                Node::Map(given.chain(defaults).collect())
            }
            _ => return value.clone(),
        };
        Tree { node, span: value.span }
    }
}
