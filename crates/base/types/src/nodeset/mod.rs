//! Sets of nodes as `ClusterShell` writes them: `web-[1-3,7]`, `cn[01-20/2]`, `r[1-2]n[1-8]`, `@group`, `role=worker`,
//! `~regex`, `web-*`, joined by `,` (and), `!` (without), `&` (in both) and `^` (in one of them), from left to right.

mod expand;
mod fold;
mod glob;
mod parse;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use fold::{fold, fold_names};
pub use parse::split_cluster;

use crate::{GroupName, NodeName, natural_order};
use glob::Glob;

/// Names that one expression stands for at most.
pub const NODE_SET_NAMES_MAX: usize = 65_536;

/// A set of nodes before it is known which nodes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSet {
    first: Term,
    rest: Vec<(Operator, Term)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Union,
    Difference,
    Intersection,
    SymmetricDifference,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    All,
    Names(Vec<String>),
    /// Each stands for the names that it fits.
    Globs(Vec<Glob>),
    Groups(Vec<Glob>),
    Attribute {
        key: String,
        values: Vec<Glob>,
    },
    Regex(Regex),
}

/// Fits whole names, so that `~web-1` does not stand for `web-10`.
#[derive(Debug, Clone)]
struct Regex {
    /// As it was written.
    text: String,
    whole: regex::Regex,
}

/// What a set is chosen from.
#[derive(Debug, Clone, Default)]
pub struct Candidate<'a> {
    pub name: &'a str,
    pub group: &'a str,
    /// What `key=value` looks at besides `name` and `group`.
    pub attributes: Vec<(&'a str, &'a str)>,
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

/// Parts of an expression that stand for no node, as they are written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {}", names.join(", no "))]
pub struct Unknown {
    pub names: Vec<String>,
}

impl NodeSet {
    /// Every node there is.
    pub fn all() -> Self {
        Self { first: Term::All, rest: Vec::new() }
    }

    pub fn parse(text: &str) -> Result<Self, NodeSetError> {
        parse::set(text)
    }

    /// The nodes that the set stands for, out of those there are with their groups: each once, in natural order.
    /// A group without nodes is as unknown as one that does not exist.
    pub fn select<'a>(
        &self,
        nodes: impl Iterator<Item = (&'a NodeName, &'a GroupName)>,
    ) -> Result<Vec<NodeName>, Unknown> {
        let nodes: Vec<_> = nodes.collect();
        let by_name: HashMap<&str, &NodeName> = nodes.iter().map(|(name, _)| (name.as_str(), *name)).collect();
        let candidates = nodes.iter().map(|(name, group)| Candidate {
            name: name.as_str(),
            group: group.as_str(),
            attributes: Vec::new(),
        });
        let selected = self.select_from(&candidates.collect::<Vec<_>>())?;
        Ok(selected.into_iter().filter_map(|name| by_name.get(name).map(|name| (*name).clone())).collect())
    }

    /// As `select`, where more is known of the nodes than their groups.
    pub fn select_from<'a>(&self, nodes: &[Candidate<'a>]) -> Result<Vec<&'a str>, Unknown> {
        let known: HashSet<&str> = nodes.iter().map(|node| node.name).collect();
        let mut unknown = Vec::new();
        let mut selected = self.first.among(nodes, &known, &mut unknown);
        for (operator, term) in &self.rest {
            let right = term.among(nodes, &known, &mut unknown);
            selected = operator.apply(selected, right);
        }
        if unknown.is_empty() { Ok(sorted(selected)) } else { Err(Unknown { names: each_once(unknown) }) }
    }

    /// The names that the expression itself holds: each once, in natural order. `None` if it speaks of nodes in a way
    /// that takes a cluster to answer.
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut names: HashSet<&str> = self.first.own()?.collect();
        for (operator, term) in &self.rest {
            names = operator.apply(names, term.own()?.collect());
        }
        Some(sorted(names))
    }
}

impl Operator {
    fn apply<'a>(self, mut left: HashSet<&'a str>, right: HashSet<&'a str>) -> HashSet<&'a str> {
        match self {
            Self::Union => left.extend(right),
            Self::Difference => left.retain(|name| !right.contains(name)),
            Self::Intersection => left.retain(|name| right.contains(name)),
            Self::SymmetricDifference => return left.symmetric_difference(&right).copied().collect(),
        }
        left
    }
}

impl Term {
    /// The names that are written out.
    fn own(&self) -> Option<impl Iterator<Item = &str>> {
        if let Self::Names(names) = self { Some(names.iter().map(String::as_str)) } else { None }
    }

    fn among<'a>(
        &self,
        nodes: &[Candidate<'a>],
        known: &HashSet<&'a str>,
        unknown: &mut Vec<String>,
    ) -> HashSet<&'a str> {
        match self {
            Self::All => known.clone(),
            Self::Names(names) => {
                let found = |name: &String| {
                    let found = known.get(name.as_str()).copied();
                    if found.is_none() {
                        unknown.push(name.clone());
                    }
                    found
                };
                names.iter().filter_map(found).collect()
            }
            Self::Globs(globs) => fitting(nodes, globs, "", unknown, |node, glob| glob.fits(node.name)),
            Self::Groups(globs) => fitting(nodes, globs, "@", unknown, |node, glob| glob.fits(node.group)),
            Self::Attribute { key, values } => {
                let prefix = format!("{key}=");
                fitting(nodes, values, &prefix, unknown, |node, glob| node.has(key, glob))
            }
            Self::Regex(regex) => {
                let fits = nodes.iter().filter(|node| regex.whole.is_match(node.name));
                let found: HashSet<&str> = fits.map(|node| node.name).collect();
                if found.is_empty() {
                    unknown.push(format!("node whose whole name fits ~{}", regex.text));
                }
                found
            }
        }
    }
}

/// The nodes that fit one of several patterns. A pattern without any is noted, with what was written before it.
fn fitting<'a>(
    nodes: &[Candidate<'a>],
    globs: &[Glob],
    prefix: &str,
    unknown: &mut Vec<String>,
    fits: impl Fn(&Candidate<'a>, &Glob) -> bool,
) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    for glob in globs {
        let mut fitting = nodes.iter().filter(|node| fits(node, glob)).map(|node| node.name).peekable();
        if fitting.peek().is_none() {
            unknown.push(format!("{prefix}{glob}"));
        }
        found.extend(fitting);
    }
    found
}

impl Candidate<'_> {
    fn has(&self, key: &str, value: &Glob) -> bool {
        match key {
            "name" => value.fits(self.name),
            "group" => value.fits(self.group),
            key => self.attributes.iter().any(|(own, given)| *own == key && value.fits(given)),
        }
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable_by(|left, right| natural_order(left, right));
    names
}

/// In the order in which they were written.
fn each_once(names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

#[cfg(test)]
mod tests;
