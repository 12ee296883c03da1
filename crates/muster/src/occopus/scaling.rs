//! Wishes for other numbers of instances become numbers and names: relative ones count from what is there under the lease.

use std::collections::{BTreeMap, BTreeSet};

use muster_engine::Engine;
use muster_engine::compile::{Compiled, node_id};
use muster_server::occopus::Wish;
use muster_spec::Count;
use muster_types::{GroupName, NodeName};

use crate::error::Failure;
use crate::occopus::records::{Due, Record, Wished};
use crate::occopus::session::Session;

/// One node of an infrastructure as far as its number of instances goes.
struct Standing<'a> {
    id: &'a str,
    bounds: Count,
    /// Instances, the oldest first, with their addresses.
    instances: &'a [(NodeName, Vec<String>)],
}

/// Takes the wishes that wait, and tells the engine what they come to. What is due stays written down until a run has
/// made it its own, so that an end at any moment repeats numbers and not changes.
pub(crate) async fn settle(
    session: &Session,
    id: &str,
    (engine, compiled): (&Engine, &Compiled),
) -> Result<Due, Failure> {
    let record = session.records.get(id)?;
    let taken = record.wishes.len();
    if taken > 0 {
        let due = due(session, &record, (engine, compiled)).await?;
        session.records.change(id, |record| {
            // Further ones may have come meanwhile, behind these.
            record.wishes.drain(..taken.min(record.wishes.len()));
            record.due = due;
        })?;
    }
    let due = session.records.get(id)?.due;
    let numbers = due.counts.iter().filter_map(|(node, count)| Some((GroupName::new(node.as_str()).ok()?, *count)));
    engine.scale(numbers.collect()).await;
    engine.let_go(due.leaving.clone()).await;
    Ok(due)
}

async fn due(session: &Session, record: &Record, (engine, compiled): (&Engine, &Compiled)) -> Result<Due, Failure> {
    let cluster = &compiled.spec.name.value;
    let numbers = engine.numbers(compiled).await?;
    let ages = engine.by_age(cluster).await?;
    let status = engine.status(cluster).await?;
    let addresses: BTreeMap<&NodeName, &Vec<String>> =
        status.nodes.iter().map(|node| (&node.name, &node.addresses)).collect();
    let mut due = record.due.clone();
    for group in &compiled.spec.groups {
        let name = group.name.as_str();
        let wishes: Vec<&Wish> =
            record.wishes.iter().filter(|wished| wished.node == name).map(|wished| &wished.wish).collect();
        if wishes.is_empty() {
            continue;
        }
        let none = Vec::new();
        let instances: Vec<(NodeName, Vec<String>)> = ages
            .get(&group.name)
            .unwrap_or(&none)
            .iter()
            .map(|node| (node.clone(), addresses.get(node).map(|list| (*list).clone()).unwrap_or_default()))
            .collect();
        let standing = Standing { id: &record.id, bounds: group.population.bounds(), instances: &instances };
        let now = numbers.get(&group.name).copied().unwrap_or_default();
        let (count, leaving, warnings) = standing.resolve(due.counts.get(name).copied().unwrap_or(now), &wishes);
        for warning in warnings {
            session.voice.info(&format!("Scaling: {warning} for node '{name}'"));
        }
        due.counts.insert(name.to_owned(), count);
        due.leaving.extend(leaving);
    }
    Ok(due)
}

impl Standing<'_> {
    /// The number of instances that should be, those that go, and what is not done.
    fn resolve(&self, mut count: u32, wishes: &[&Wish]) -> (u32, BTreeSet<NodeName>, Vec<String>) {
        let Count { min, max } = self.bounds;
        let mut warnings = Vec::new();
        let mut chosen = BTreeSet::new();
        for wish in wishes {
            let wanted = match wish {
                Wish::More(more) => count.saturating_add(*more),
                Wish::To(number) => *number,
                Wish::Fewer(None) => count.saturating_sub(1),
                Wish::Fewer(Some(which)) => match self.find(which) {
                    Some(node) if count > min && !chosen.contains(node) => {
                        chosen.insert(node.clone());
                        count - 1
                    }
                    Some(node) if chosen.contains(node) => count,
                    Some(_) => count.saturating_sub(1),
                    None => {
                        warnings.push(format!("request ignored, there is no instance '{which}'"));
                        count
                    }
                },
            };
            if wanted > max {
                warnings.push(format!("request(s) ignored, maximum count ({max}) reached"));
            } else if wanted < min {
                warnings.push(format!("request(s) ignored, minimum count ({min}) reached"));
            }
            count = wanted.clamp(min, max);
        }
        let surplus = self.instances.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        let youngest = self.instances.iter().rev().map(|(node, _)| node).filter(|node| !chosen.contains(*node));
        let more: Vec<NodeName> = youngest.take(surplus.saturating_sub(chosen.len())).cloned().collect();
        chosen.extend(more);
        (count, chosen, warnings)
    }

    /// By Occopus' id, by an address, or by our own name.
    fn find(&self, which: &str) -> Option<&NodeName> {
        let is_meant = |(node, addresses): &&(NodeName, Vec<String>)| {
            node.as_str() == which || node_id(self.id, node) == which || addresses.iter().any(|own| own == which)
        };
        self.instances.iter().find(is_meant).map(|(node, _)| node)
    }
}

/// The number of instances that a node will have when all wishes are carried out, as far as can be told now.
pub(crate) fn target(record: &Record, node: &str, now: u32) -> u32 {
    let begin = record.due.counts.get(node).copied().unwrap_or(now);
    let own = record.wishes.iter().filter(|Wished { node: of, .. }| of == node);
    own.fold(begin, |count, wished| match &wished.wish {
        Wish::More(more) => count.saturating_add(*more),
        Wish::Fewer(_) => count.saturating_sub(1),
        Wish::To(number) => *number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(count: u32, wishes: &[Wish]) -> (u32, Vec<String>, usize) {
        // worker-2 was made anew, so it is the youngest.
        let node = |index: u32| NodeName::of(&GroupName::new("worker").unwrap(), index).unwrap();
        let instances: Vec<_> = [1, 3, 4, 2].map(|index| (node(index), vec![format!("10.0.0.{index}")])).into();
        let standing = Standing { id: "x", bounds: Count { min: 2, max: 6 }, instances: &instances };
        let (count, leaving, warnings) = standing.resolve(count, &wishes.iter().collect::<Vec<_>>());
        (count, leaving.iter().map(ToString::to_string).collect(), warnings.len())
    }

    #[test]
    fn the_youngest_go_first_and_bounds_hold() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(resolved(4, &[Wish::More(1)]), (5, vec![], 0));
        assert_eq!(resolved(4, &[Wish::More(9)]), (6, vec![], 1));
        assert_eq!(resolved(4, &[Wish::Fewer(None)]), (3, names(&["worker-2"]), 0));
        assert_eq!(resolved(4, &[Wish::To(1)]), (2, names(&["worker-2", "worker-4"]), 1));
        assert_eq!(resolved(4, &[Wish::Fewer(None), Wish::More(1)]), (4, vec![], 0));
    }

    #[test]
    fn one_that_is_named_goes_and_nobody_else() {
        let by = |which: &str| Wish::Fewer(Some(which.to_owned()));
        let id = node_id("x", &NodeName::new("worker-3").unwrap());
        for which in ["10.0.0.3", "worker-3", &id] {
            assert_eq!(resolved(4, &[by(which)]), (3, vec!["worker-3".to_owned()], 0), "{which}");
        }
        // Asked twice is asked once, and a wrong one is told of.
        assert_eq!(resolved(4, &[by("worker-1"), by("10.0.0.1")]), (3, vec!["worker-1".to_owned()], 0));
        assert_eq!(resolved(4, &[by("10.0.0.9")]), (4, vec![], 1));
        assert_eq!(resolved(2, &[by("worker-1")]).0, 2);
    }
}
