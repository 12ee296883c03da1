//! Filters of queries: whom a query is for.

use std::collections::BTreeMap;

use regex::RegexBuilder;

use crate::wire::limits;
use crate::wire::msgpack::Reader;
use crate::wire::record::{Field as _, Record as _};
use crate::wire::serf::{TagFilter, kind};

/// Memory that a compiled expression may take; one comes from whoever has the key.
const EXPRESSION_SIZE_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Nodes(Vec<String>),
    /// The expression is searched for anywhere in the tag's value; a tag that is not there has an empty value.
    Tag {
        tag: String,
        expression: String,
    },
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the expression `{expression}` of the filter by tag `{tag}` is not valid")]
pub struct FilterError {
    tag: String,
    expression: String,
    #[source]
    source: regex::Error,
}

impl Filter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Nodes(names) => {
                let mut out = vec![kind::FILTER_NODES];
                names.write(&mut out);
                out
            }
            Self::Tag { tag, expression } => {
                let mut out = vec![kind::FILTER_TAG];
                TagFilter { tag: tag.clone(), expression: expression.clone() }.encode(&mut out);
                out
            }
        }
    }

    /// `None` for filters that are not known or damaged: such a query is for nobody.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        match reader.byte().ok()? {
            kind::FILTER_NODES => {
                let names = reader.array("a filter", limits::NAMES_MAX).ok()?;
                let name = |reader: &mut Reader<'_>| reader.text("a name", limits::TEXT_MAX).ok().map(str::to_owned);
                (0..names).map(|_| name(&mut reader)).collect::<Option<_>>().map(Self::Nodes)
            }
            kind::FILTER_TAG => {
                let TagFilter { expression, tag } = TagFilter::decode(&mut reader).ok()?;
                Some(Self::Tag { tag, expression })
            }
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), FilterError> {
        match self {
            Self::Nodes(_) => Ok(()),
            Self::Tag { tag, expression } => match compiled(expression) {
                Ok(_) => Ok(()),
                Err(source) => Err(FilterError { tag: tag.clone(), expression: expression.clone(), source }),
            },
        }
    }

    pub(crate) fn passes(&self, name: &str, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Nodes(names) => names.iter().any(|other| other == name),
            Self::Tag { tag, expression } => {
                let value = tags.get(tag).map_or("", String::as_str);
                compiled(expression).is_ok_and(|expression| expression.is_match(value))
            }
        }
    }
}

fn compiled(expression: &str) -> Result<regex::Regex, regex::Error> {
    RegexBuilder::new(expression).size_limit(EXPRESSION_SIZE_MAX).dfa_size_limit(EXPRESSION_SIZE_MAX).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_by_name_and_by_tag() {
        let tags = BTreeMap::from([("role".to_owned(), "webserver".to_owned())]);
        let tag = |tag: &str, expression: &str| Filter::Tag { tag: tag.to_owned(), expression: expression.to_owned() };
        assert!(tag("role", "serv").passes("a", &tags), "not anchored");
        assert!(!tag("role", "^serv").passes("a", &tags));
        assert!(tag("other", "^$").passes("a", &tags), "what is not there is empty");
        assert!(!tag("role", "*.").passes("a", &tags));
        assert!(tag("role", "*.").check().is_err());
        assert!(Filter::Nodes(vec!["a".to_owned()]).passes("a", &tags));
        assert!(!Filter::Nodes(vec!["a".to_owned()]).passes("b", &tags));
    }

    #[test]
    fn filters_survive_the_wire() {
        let tag = Filter::Tag { tag: "a".to_owned(), expression: "b".to_owned() };
        for filter in [Filter::Nodes(vec!["x".to_owned(), "y".to_owned()]), tag] {
            assert_eq!(Filter::decode(&filter.encode()), Some(filter));
        }
        assert_eq!(Filter::decode(&[7, 0xc0]), None);
        assert_eq!(Filter::decode(&[]), None);
    }
}
