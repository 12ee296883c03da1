//! Whether two files ask for the same: nodes, what they are given, and how they are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use muster_api::{Check, CheckKind, NodeFacts};
use muster_doc::{Node, SourceMap, Tree, parse};
use muster_types::{GroupName, NodeName};

use super::occopus::import::without_mark;
use super::{Compiled, DesiredNode, Member, Members, Outside, RenderFault, Rendered};

/// Where two files differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A group or a node.
    pub of: String,
    pub what: String,
}

/// All differences between what two files ask for. Documents are compared as YAML, for several sets of addresses; the
/// agent's own check, which is no more than that it answers, does not count.
pub fn differences(one: &Compiled, other: &Compiled) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |of: &str, what: String| found.push(Difference { of: of.to_owned(), what });
    if one.spec.name.value != other.spec.name.value {
        differ(one.spec.name.value.as_str(), format!("the cluster's name: {}", other.spec.name.value));
    }
    for group in &one.spec.groups {
        match other.spec.group(&group.name) {
            Some(known) if known.population.bounds() == group.population.bounds() => {}
            Some(_) => differ(group.name.as_str(), "how many nodes there may be".to_owned()),
            None => differ(group.name.as_str(), "the group is not there".to_owned()),
        }
    }
    // As many as there must be, and as many as there may be within reason.
    for more in [0, 2] {
        let (nodes, others) = (desired(one, more), desired(other, more));
        let names = |nodes: &BTreeMap<NodeName, DesiredNode>| nodes.keys().cloned().collect::<BTreeSet<_>>();
        for name in names(&nodes).symmetric_difference(&names(&others)) {
            differ(name.as_str(), "only one of the files describes it".to_owned());
        }
        for (name, node) in &nodes {
            if others.get(name).is_some_and(|other| !alike(node, other)) {
                differ(name.as_str(), "the machine, or what it waits for".to_owned());
            }
        }
        for turn in 0..2 {
            let members = members(&nodes, turn);
            for name in nodes.keys().filter(|name| others.contains_key(*name)) {
                if let Some(what) = rendered(one.render(name, &members), other.render(name, &members)) {
                    differ(name.as_str(), what);
                }
            }
        }
    }
    found.sort_by(|a, b| (&a.of, &a.what).cmp(&(&b.of, &b.what)));
    found.dedup();
    found
}

fn desired(compiled: &Compiled, more: u32) -> BTreeMap<NodeName, DesiredNode> {
    let scaled: BTreeMap<GroupName, u32> = compiled
        .spec
        .groups
        .iter()
        .map(|group| (group.name.clone(), group.population.bounds().min.saturating_add(more)))
        .collect();
    let nodes = compiled.desired(&BTreeMap::new(), &scaled).into_iter();
    nodes.map(|node| (node.name.clone(), node)).collect()
}

fn alike(one: &DesiredNode, other: &DesiredNode) -> bool {
    let needs = |node: &DesiredNode| node.needs.iter().cloned().collect::<BTreeSet<_>>();
    one.machine_hash == other.machine_hash
        && needs(one) == needs(other)
        && (&one.provider, &one.packages, one.on_failure, one.timeout)
            == (&other.provider, &other.packages, other.on_failure, other.timeout)
}

/// Each with one address, or with two.
fn members(nodes: &BTreeMap<NodeName, DesiredNode>, turn: u8) -> Members {
    let mut members = Members::default();
    for (at, (name, node)) in nodes.iter().enumerate() {
        let [.., high, low] = u32::try_from(at + 1).unwrap_or(1).to_be_bytes();
        let private = IpAddr::from([10, 77 + turn, high, low]);
        let public = IpAddr::from([198, 18 + turn, high, low]);
        let addresses = if turn == 0 { vec![private] } else { vec![public, private] };
        let facts = NodeFacts { cpus: 2, memory_bytes: 2 << 30, ..NodeFacts::default() };
        members.0.insert(name.clone(), Member { group: node.group.clone(), addresses, facts: Some(facts) });
    }
    members
}

fn rendered(one: Result<Rendered, RenderFault>, other: Result<Rendered, RenderFault>) -> Option<String> {
    let (one, other) = match (one, other) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(_), Err(_)) => return None,
        _ => return Some("only one of the files says what it is given".to_owned()),
    };
    let document = match (read(&one.document), read(&other.document)) {
        (Some(one), Some(other)) => different(&one, &other, "").map(|path| format!("the document at `{path}`")),
        (None, None) => None,
        _ => Some("the document".to_owned()),
    };
    let own = |check: &&Check| check.kind != CheckKind::Agent;
    let checks = |rendered: &Rendered| rendered.checks.iter().filter(own).cloned().collect::<Vec<_>>();
    let outside = |rendered: &Rendered| {
        let nothing = |outside: &Outside| !outside.ping && outside.ports.is_empty() && outside.urls.is_empty();
        rendered.outside.clone().filter(|outside| !nothing(outside))
    };
    document
        .or_else(|| (checks(&one) != checks(&other)).then(|| "the checks on the node".to_owned()))
        .or_else(|| (outside(&one) != outside(&other)).then(|| "the checks from outside".to_owned()))
}

fn read(document: &str) -> Option<Tree> {
    let mut tree = parse(&mut SourceMap::default(), "document", document).0?;
    without_mark(&mut tree);
    Some(tree)
}

/// The first place where two documents say different things; the order of keys says nothing.
fn different(one: &Tree, other: &Tree, path: &str) -> Option<String> {
    match (&one.node, &other.node) {
        (Node::Map(left), Node::Map(right)) => {
            let inner = |key: &str| format!("{path}.{key}").trim_start_matches('.').to_owned();
            let missing = right.iter().find(|(key, _)| one.get(&key.text).is_none());
            missing.map(|(key, _)| inner(&key.text)).or_else(|| {
                left.iter().find_map(|(key, value)| match other.get(&key.text) {
                    Some(found) => different(value, found, &inner(&key.text)),
                    None => Some(inner(&key.text)),
                })
            })
        }
        (Node::Seq(left), Node::Seq(right)) if left.len() == right.len() => {
            let mut items = left.iter().zip(right).enumerate();
            items.find_map(|(at, (left, right))| different(left, right, &format!("{path}[{at}]")))
        }
        _ => (!one.same(other)).then(|| path.to_owned()),
    }
}
