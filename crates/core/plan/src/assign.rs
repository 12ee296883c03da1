//! Which of the listed machines is which node's, and which are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use muster_types::{MachineId, NodeName};

use crate::{Observed, Recorded};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub machine: MachineId,
    /// False for a machine that carries the ownership tag and the node's name, and that no record knows.
    pub recorded: bool,
}

/// A machine too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    pub machine: MachineId,
    pub node: NodeName,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    pub machines: BTreeMap<NodeName, Assigned>,
    /// By node, then by machine.
    pub extras: Vec<Extra>,
}

/// Gives each node at most one machine: the one its record names, else the one that carries its record's token (the
/// reply of a create was lost), else the oldest that carries its name.
pub fn assign(observed: &[Observed], recorded: &[Recorded]) -> Assignment {
    let by_id: BTreeMap<&MachineId, &Observed> = observed.iter().map(|machine| (&machine.id, machine)).collect();
    let mut by_token: BTreeMap<_, &Observed> = BTreeMap::new();
    for machine in oldest_first(observed) {
        by_token.entry(&machine.token).or_insert(machine);
    }
    let mut assignment = Assignment::default();
    let mut taken: BTreeSet<&MachineId> = BTreeSet::new();
    for record in recorded {
        let named = record.machine.as_ref().and_then(|id| by_id.get(id));
        let found = named.or_else(|| by_token.get(&record.token));
        if let Some(machine) = found.filter(|machine| taken.insert(&machine.id)) {
            let assigned = Assigned { machine: machine.id.clone(), recorded: true };
            assignment.machines.insert(record.name.clone(), assigned);
        }
    }
    for machine in oldest_first(observed) {
        if taken.contains(&machine.id) {
            continue;
        }
        match assignment.machines.get(&machine.name) {
            None => {
                let assigned = Assigned { machine: machine.id.clone(), recorded: false };
                assignment.machines.insert(machine.name.clone(), assigned);
            }
            Some(kept) => assignment.extras.push(Extra {
                machine: machine.id.clone(),
                node: machine.name.clone(),
                reason: format!("a second machine of {}; {} is the one that is kept", machine.name, kept.machine),
            }),
        }
    }
    assignment.extras.sort_by(|a, b| (&a.node, &a.machine).cmp(&(&b.node, &b.machine)));
    assignment
}

fn oldest_first(observed: &[Observed]) -> Vec<&Observed> {
    let mut machines: Vec<&Observed> = observed.iter().collect();
    machines.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    machines
}
