//! Names that people give: of clusters, groups and nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name that is taken: a DNS label, since names become host names.
const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("`{name}` is longer than {NAME_BYTES_MAX} characters")]
    TooLong { name: String },
    #[error("`{name}` holds `{character}`; names are made of letters, digits and inner dashes")]
    Character { name: String, character: char },
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { name: name.to_owned() });
    }
    let bad = name.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-'));
    let edge = name.starts_with('-') || name.ends_with('-');
    match bad.or_else(|| edge.then_some('-')) {
        Some(character) => Err(NameError::Character { name: name.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Takes letters, digits and inner dashes, 1 to 63 of them.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// What one cluster file describes.
    ClusterName
);
name!(
    /// Nodes of one kind.
    GroupName
);
name!(
    /// One machine of a cluster: `group-1`, `group-2`….
    NodeName
);

impl NodeName {
    /// The name of the `index`-th node of a group; counting starts at 1.
    pub fn of(group: &GroupName, index: u32) -> Result<Self, NameError> {
        Self::new(format!("{group}-{index}"))
    }

    /// The number behind the last dash, which orders nodes as people count: `web-2` before `web-10`.
    pub fn index(&self) -> Option<u32> {
        self.0.rsplit_once('-')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "Head", "0", "x".repeat(63).as_str()] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "a.b", "ä", "a b", "x".repeat(64).as_str()] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn index_is_the_number_behind_the_last_dash() {
        let group = GroupName::new("big-web").unwrap();
        assert_eq!(NodeName::of(&group, 12).unwrap().index(), Some(12));
    }
}
