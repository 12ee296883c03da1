//! What operators asked for beside the file: how many nodes groups have, and which of them go when there are too many.

use std::collections::{BTreeMap, BTreeSet};

use muster_store::ClusterRecord;
use muster_types::{GroupName, NodeName};

/// Written down with the first step of the run that carries them out, so that a later run chooses the same nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) scaled: BTreeMap<GroupName, u32>,
    pub(crate) leaving: BTreeSet<NodeName>,
}

impl Wishes {
    /// Those of earlier runs, with those of this one.
    pub(crate) fn of(record: Option<&ClusterRecord>, now: &Self) -> Self {
        let mut all = Self::default();
        if let Some(record) = record {
            all.scaled.clone_from(&record.scaled);
            all.leaving.clone_from(&record.leaving);
        }
        all.scaled.extend(now.scaled.clone());
        all.leaving.extend(now.leaving.clone());
        all
    }

    /// The nodes that are there, without those that were chosen to leave where a group has too many.
    pub(crate) fn staying(
        &self,
        mut existing: BTreeMap<GroupName, BTreeSet<NodeName>>,
    ) -> BTreeMap<GroupName, BTreeSet<NodeName>> {
        for (group, nodes) in &mut existing {
            let Some(wanted) = self.scaled.get(group) else { continue };
            let surplus = nodes.len().saturating_sub(usize::try_from(*wanted).unwrap_or(usize::MAX));
            let mut chosen: Vec<NodeName> = nodes.intersection(&self.leaving).cloned().collect();
            chosen.sort_by_key(|node| std::cmp::Reverse(node.index()));
            for node in chosen.into_iter().take(surplus) {
                nodes.remove(&node);
            }
        }
        existing
    }

    /// Forgets the choice of nodes that stay after all, or are gone.
    pub(crate) fn settle(&mut self, there: impl Fn(&NodeName) -> bool, desired: &BTreeSet<&NodeName>) {
        self.leaving.retain(|node| there(node) && !desired.contains(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_ones_leave_and_no_more_than_are_too_many() {
        let group = GroupName::new("web").unwrap();
        let node = |index| NodeName::of(&group, index).unwrap();
        let existing = BTreeMap::from([(group.clone(), (1..=4).map(node).collect::<BTreeSet<_>>())]);
        let wishes = |wanted, leaving: &[u32]| Wishes {
            scaled: BTreeMap::from([(group.clone(), wanted)]),
            leaving: leaving.iter().copied().map(node).collect(),
        };
        let staying = |wishes: Wishes| -> Vec<u32> {
            wishes.staying(existing.clone())[&group].iter().filter_map(NodeName::index).collect()
        };
        assert_eq!(staying(wishes(3, &[2])), [1, 3, 4]);
        assert_eq!(staying(wishes(3, &[1, 2])), [1, 3, 4]);
        assert_eq!(staying(wishes(4, &[2])), [1, 2, 3, 4]);
        assert_eq!(staying(Wishes { scaled: BTreeMap::new(), ..wishes(1, &[2]) }), [1, 2, 3, 4]);
        let mut left = wishes(3, &[2, 3, 9]);
        left.settle(|name| *name != node(9), &BTreeSet::from([&node(3)]));
        assert_eq!(left.leaving, BTreeSet::from([node(2)]));
    }
}
