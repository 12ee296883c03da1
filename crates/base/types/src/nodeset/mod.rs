//! Sets of nodes as `ClusterShell` writes them: `web-[1-3,7]`, `cn[01-20]`, `@group`, `*`, joined by commas.
//!
//! This is the part of the notation that needs no knowledge of the cluster beyond names and groups. Its operators (`!`,
//! `&`, `^`), wildcards within names and steps (`1-9/2`) are refused with a hint.

mod fold;
mod parse;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub use fold::fold;
pub use parse::split_cluster;

use crate::{GroupName, NodeName, natural_order};

/// Names that one expression stands for at most.
pub const NODE_SET_NAMES_MAX: usize = 65_536;

/// A set of nodes before it is known which nodes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSet {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    All,
    Group(GroupName),
    Nodes(Vec<NodeName>),
}

/// Why a text is not a set of nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", position + 1)]
pub struct NodeSetError {
    /// Characters of the text before the mistake.
    pub position: usize,
    pub message: String,
    /// What to write instead; never empty.
    pub hint: String,
}

/// Names of an expression that stand for no node; groups with their `@`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {}", names.join(", no "))]
pub struct Unknown {
    pub names: Vec<String>,
}

impl NodeSet {
    /// Every node there is.
    pub fn all() -> Self {
        Self { parts: vec![Part::All] }
    }

    pub fn parse(text: &str) -> Result<Self, NodeSetError> {
        Ok(Self { parts: parse::parts(text)? })
    }

    /// The nodes that the set stands for, out of those there are with their groups: each once, in natural order.
    /// A group without nodes is as unknown as one that does not exist.
    pub fn select<'a>(
        &self,
        nodes: impl Iterator<Item = (&'a NodeName, &'a GroupName)>,
    ) -> Result<Vec<NodeName>, Unknown> {
        let mut known = HashSet::new();
        let mut groups: BTreeMap<&GroupName, Vec<&NodeName>> = BTreeMap::new();
        for (node, group) in nodes {
            known.insert(node);
            groups.entry(group).or_default().push(node);
        }
        let mut selected = HashSet::new();
        let mut unknown = Vec::new();
        for part in &self.parts {
            match part {
                Part::All => selected.extend(known.iter().copied()),
                Part::Group(group) => match groups.get(group) {
                    Some(nodes) => selected.extend(nodes.iter().copied()),
                    None => unknown.push(format!("@{group}")),
                },
                Part::Nodes(names) => {
                    let (there, missing): (Vec<_>, Vec<_>) = names.iter().partition(|name| known.contains(name));
                    selected.extend(there);
                    unknown.extend(missing.into_iter().map(NodeName::to_string));
                }
            }
        }
        if unknown.is_empty() { Ok(sorted(selected)) } else { Err(Unknown { names: each_once(unknown) }) }
    }
}

fn sorted(names: HashSet<&NodeName>) -> Vec<NodeName> {
    let mut names: Vec<NodeName> = names.into_iter().cloned().collect();
    names.sort_by(|left, right| natural_order(left.as_str(), right.as_str()));
    names
}

/// In the order in which they were written.
fn each_once(names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

#[cfg(test)]
mod tests;
