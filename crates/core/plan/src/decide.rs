//! The decision for each node, as a table in code.

use std::collections::{BTreeMap, BTreeSet};

use muster_types::{GroupName, MachineId, NodeName, Phase};

use crate::assign::{Assignment, assign};
use crate::{
    Action, Begun, BegunAction, Change, Desired, Facts, Fate, Health, Inputs, MachineState, Observed, Plan, Recorded,
    Verb,
};

/// Nodes named in a reason; the rest are counted.
const NODES_SHOWN_MAX: usize = 4;

/// Plans. Panics only where a rule of the plan itself is broken, never because of what a provider or a file says.
pub fn plan(inputs: &Inputs) -> Plan {
    let known = Known::new(inputs);
    let mut actions = Vec::new();
    for desired in &inputs.desired {
        if inputs.policy.asks_for(&desired.name) {
            actions.push(known.decide(desired));
            actions.extend(known.extras(&desired.name, &desired.group));
        } else {
            actions.push(known.leave_alone(desired));
        }
    }
    actions.extend(known.removals());
    actions.retain(|action| action.verb == Verb::Keep || inputs.policy.asks_for(&action.node));
    check(inputs, &actions);
    let images = images(inputs, &actions);
    Plan::new(inputs.cluster.clone(), inputs.provider.clone(), (images, actions))
}

/// What has to be there before the machines that will be made.
fn images(inputs: &Inputs, actions: &[Action]) -> Vec<String> {
    let made = actions.iter().filter(|action| matches!(action.verb, Verb::Create | Verb::Replace));
    let images: BTreeSet<&String> = made.filter_map(|action| inputs.unbaked.get(&action.node)).collect();
    images.into_iter().cloned().collect()
}

/// The inputs by name.
struct Known<'a> {
    inputs: &'a Inputs,
    assignment: Assignment,
    machines: BTreeMap<&'a MachineId, &'a Observed>,
    records: BTreeMap<&'a NodeName, &'a Recorded>,
    begun: BTreeMap<&'a NodeName, Vec<&'a Begun>>,
}

/// A verb and why, before it is dressed up as an action.
struct Decision {
    verb: Verb,
    reason: String,
    follows: bool,
}

impl Decision {
    fn new(verb: Verb, reason: impl Into<String>) -> Self {
        Self { verb, reason: reason.into(), follows: false }
    }
}

impl<'a> Known<'a> {
    fn new(inputs: &'a Inputs) -> Self {
        let mut begun: BTreeMap<&NodeName, Vec<&Begun>> = BTreeMap::new();
        for intent in &inputs.begun {
            begun.entry(&intent.node).or_default().push(intent);
        }
        Self {
            inputs,
            assignment: assign(&inputs.observed, &inputs.recorded),
            machines: inputs.observed.iter().map(|machine| (&machine.id, machine)).collect(),
            records: inputs.recorded.iter().map(|record| (&record.name, record)).collect(),
            begun,
        }
    }

    fn machine(&self, node: &NodeName) -> Option<(&'a Observed, bool)> {
        let assigned = self.assignment.machines.get(node)?;
        self.machines.get(&assigned.machine).map(|machine| (*machine, assigned.recorded))
    }

    fn begun(&self, node: &NodeName, action: BegunAction) -> Option<&'a Begun> {
        self.begun.get(node)?.iter().find(|intent| intent.action == action).copied()
    }

    /// Nobody asked for it in this run.
    fn leave_alone(&self, desired: &Desired) -> Action {
        Action {
            verb: Verb::Keep,
            node: desired.name.clone(),
            group: desired.group.clone(),
            reason: "not asked for".to_owned(),
            machine: self.machine(&desired.name).map(|(machine, _)| machine.id.clone()),
            extra: false,
            follows: false,
            needs: Vec::new(),
            waits_for: Vec::new(),
            steps: Vec::new(),
            token: None,
        }
    }

    fn decide(&self, desired: &Desired) -> Action {
        let machine = self.machine(&desired.name);
        let decision = match machine {
            None => self.decide_absent(desired),
            Some((machine, recorded)) => self.decide_present(desired, machine, recorded),
        };
        let mut action = Action {
            verb: decision.verb,
            node: desired.name.clone(),
            group: desired.group.clone(),
            reason: decision.reason,
            machine: machine.map(|(machine, _)| machine.id.clone()),
            extra: false,
            follows: decision.follows,
            needs: if decision.verb == Verb::Keep || decision.follows { Vec::new() } else { desired.needs.clone() },
            waits_for: Vec::new(),
            steps: Vec::new(),
            token: None,
        };
        match decision.verb {
            Verb::Create => action.token = self.token_to_take_up(desired),
            Verb::Configure | Verb::Start | Verb::Replace => {
                match self.inputs.facts.get(&desired.name).map(|facts| &facts.change) {
                    Some(Change::Apply { steps, .. } | Change::Replace { steps, .. }) => action.steps.clone_from(steps),
                    Some(Change::Unknown { waits_for }) => action.waits_for = waits_for.iter().cloned().collect(),
                    Some(Change::None | Change::Later { .. }) | None => {}
                }
            }
            Verb::Keep | Verb::Remove => {}
        }
        action
    }

    /// The token of a create that was begun, or of a machine that is not listed now: a provider whose list lags behind
    /// then answers with the machine it has. What was made from something else is not taken up.
    fn token_to_take_up(&self, desired: &Desired) -> Option<muster_types::ClientToken> {
        let record = self.records.get(&desired.name)?;
        let removing = self.begun(&desired.name, BegunAction::Remove).is_some();
        (record.machine_hash == desired.machine_hash && !removing).then(|| record.token.clone())
    }

    fn decide_absent(&self, desired: &Desired) -> Decision {
        let reason = match self.records.get(&desired.name) {
            None => "new in the file".to_owned(),
            Some(record) => match &record.machine {
                _ if self.begun(&desired.name, BegunAction::Remove).is_some() => {
                    "its machine was being removed and is gone".to_owned()
                }
                Some(id) => format!("its machine {id} is gone"),
                None if self.begun(&desired.name, BegunAction::Create).is_some() => {
                    "an earlier run began to make it and did not finish".to_owned()
                }
                None if record.reason.is_empty() => "not made yet".to_owned(),
                None => format!("not made yet: {}", record.reason),
            },
        };
        Decision::new(Verb::Create, reason)
    }

    fn decide_present(&self, desired: &Desired, machine: &Observed, recorded: bool) -> Decision {
        if let Some(reason) = self.reason_to_replace(desired, machine, recorded) {
            return Decision::new(Verb::Replace, reason);
        }
        let detail = machine.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        match machine.state {
            MachineState::Stopped => Decision::new(Verb::Start, format!("its machine is stopped{detail}")),
            MachineState::Paused => Decision::new(Verb::Start, format!("its machine is paused{detail}")),
            MachineState::Failed => Decision::new(Verb::Start, format!("its machine has failed{detail}")),
            MachineState::Creating => Decision::new(Verb::Configure, "its machine is still starting"),
            MachineState::Running | MachineState::Removing => self.decide_running(&desired.name, recorded),
        }
    }

    fn reason_to_replace(&self, desired: &Desired, machine: &Observed, recorded: bool) -> Option<String> {
        let name = &desired.name;
        let record = self.records.get(name);
        let facts = self.inputs.facts.get(name);
        let removal_begun = self.begun.get(name).is_some_and(|begun| {
            begun.iter().any(|b| b.action == BegunAction::Remove && b.machine.as_ref() == Some(&machine.id))
        });
        if self.inputs.policy.replace.contains(name) {
            return Some("asked for".to_owned());
        }
        if machine.state == MachineState::Removing || removal_begun {
            return Some("the removal of its machine was begun".to_owned());
        }
        if !recorded && facts.is_none_or(|facts| facts.health != Health::Answers) {
            return Some("nobody recorded its machine, and it does not answer as one of ours".to_owned());
        }
        if record.is_some_and(|record| record.machine_hash != desired.machine_hash) {
            return Some("what its machine is made from has changed (image, size or provider settings)".to_owned());
        }
        if let Some(Facts { change: Change::Replace { reason, .. }, .. }) = facts {
            return Some(reason.clone());
        }
        let failed =
            machine.state == MachineState::Failed || record.is_some_and(|record| record.phase == Phase::Failed);
        (failed && desired.replace_failed).then(|| "it has failed, and its group replaces what fails".to_owned())
    }

    fn decide_running(&self, name: &NodeName, recorded: bool) -> Decision {
        let facts = self.inputs.facts.get(name);
        match facts.map_or(&Health::Unasked, |facts| &facts.health) {
            Health::Silent { reason } => {
                return Decision::new(Verb::Configure, format!("its agent does not answer: {reason}"));
            }
            Health::NotJoined => return Decision::new(Verb::Configure, "it has not joined yet"),
            Health::Unasked => return Decision::new(Verb::Configure, "its agent was not asked yet"),
            Health::Answers => {}
        }
        let phase = self.records.get(name).map(|record| (record.phase, &record.reason));
        match facts.map(|facts| &facts.change) {
            Some(Change::Apply { reason, .. }) => Decision::new(Verb::Configure, reason.clone()),
            Some(Change::Unknown { .. }) => {
                Decision::new(Verb::Configure, "its configuration speaks of nodes that have no address yet")
            }
            Some(Change::None | Change::Replace { .. } | Change::Later { .. }) | None => match phase {
                _ if !recorded => Decision::new(Verb::Configure, "its machine answers and nobody recorded it"),
                _ if self.begun.contains_key(name) => {
                    Decision::new(Verb::Configure, "an earlier run changed it and did not finish")
                }
                Some((Phase::Ready, _)) => match facts.map(|facts| &facts.change) {
                    Some(Change::Later { nodes }) => {
                        Decision { follows: true, ..Decision::new(Verb::Configure, speaks_of(nodes)) }
                    }
                    _ => Decision::new(Verb::Keep, "as the file says"),
                },
                Some((Phase::Failed, reason)) => Decision::new(Verb::Configure, format!("it failed: {reason}")),
                Some((Phase::Draining | Phase::Removing, _)) => {
                    Decision::new(Verb::Configure, "it was to leave, and is to stay")
                }
                Some((phase, _)) => Decision::new(Verb::Configure, format!("an earlier run left it {phase}")),
                None => Decision::new(Verb::Configure, "nobody recorded it"),
            },
        }
    }

    fn extras(&self, node: &NodeName, group: &GroupName) -> Vec<Action> {
        let extras = self.assignment.extras.iter().filter(|extra| extra.node == *node);
        extras.map(|extra| removal(node, group, Some(&extra.machine), true, extra.reason.clone())).collect()
    }

    /// Nodes that should not be: by group, the highest index first.
    fn removals(&self) -> Vec<Action> {
        let desired: BTreeSet<&NodeName> = self.inputs.desired.iter().map(|desired| &desired.name).collect();
        let groups: BTreeSet<&GroupName> = self.inputs.desired.iter().map(|desired| &desired.group).collect();
        let mut gone: BTreeMap<&NodeName, (GroupName, Option<&MachineId>)> = BTreeMap::new();
        for record in self.inputs.recorded.iter().filter(|record| !desired.contains(&record.name)) {
            // Removing what is not listed now is asked for all the same: a list may lag behind.
            let machine = record.machine.as_ref().filter(|id| !self.machines.contains_key(id));
            gone.insert(&record.name, (record.group.clone(), machine));
        }
        for (name, assigned) in self.assignment.machines.iter().filter(|(name, _)| !desired.contains(name)) {
            let entry = gone.entry(name).or_insert_with(|| (group_of(name), None));
            entry.1 = Some(&assigned.machine);
        }
        let mut gone: Vec<_> = gone.into_iter().collect();
        gone.sort_by(|(a, (a_group, _)), (b, (b_group, _))| (a_group, b.index(), b).cmp(&(b_group, a.index(), a)));
        let mut actions = Vec::new();
        for (name, (group, machine)) in gone {
            let reason = if !self.records.contains_key(name) {
                "nobody recorded it, and it carries this cluster's tag".to_owned()
            } else if groups.contains(&group) {
                format!("the file asks for fewer nodes in group {group}")
            } else {
                format!("group {group} is not in the file any more")
            };
            actions.push(removal(name, &group, machine, false, reason));
            actions.extend(self.extras(name, &group));
        }
        actions
    }
}

/// `its files speak of web-3 and web-4, which are new, and of web-1, which leaves`
fn speaks_of(nodes: &BTreeMap<NodeName, Fate>) -> String {
    let mut parts = Vec::new();
    let words = [
        (Fate::Comes, "is new", "are new"),
        (Fate::Joins, "has not joined yet", "have not joined yet"),
        (Fate::Moves, "gets another machine", "get other machines"),
        (Fate::Leaves, "leaves", "leave"),
    ];
    for (fate, one, several) in words {
        let named: Vec<&NodeName> = nodes.iter().filter(|(_, of)| **of == fate).map(|(node, _)| node).collect();
        let shown: Vec<&str> = named.iter().take(NODES_SHOWN_MAX).map(|node| node.as_str()).collect();
        let more = named.len() - shown.len();
        let list = match (shown.as_slice(), more) {
            ([], _) => continue,
            ([only], 0) => format!("{only}, which {one}"),
            ([first @ .., last], 0) => format!("{} and {last}, which {several}", first.join(", ")),
            (_, more) => format!("{} and {more} more, which {several}", shown.join(", ")),
        };
        parts.push(list);
    }
    format!("its files speak of {}", parts.join(", and of "))
}

fn removal(node: &NodeName, group: &GroupName, machine: Option<&MachineId>, extra: bool, reason: String) -> Action {
    Action {
        verb: Verb::Remove,
        node: node.clone(),
        group: group.clone(),
        reason,
        machine: machine.cloned(),
        extra,
        follows: false,
        needs: Vec::new(),
        waits_for: Vec::new(),
        steps: Vec::new(),
        token: None,
    }
}

/// The group of a node that no record and no file knows, from its name.
fn group_of(name: &NodeName) -> GroupName {
    let text = name.as_str();
    let group = text.rsplit_once('-').map_or(text, |(group, _)| group);
    GroupName::new(group).unwrap_or_else(|_| GroupName::new(text).expect("a node's name is a name"))
}

/// The rules that hold for every plan.
fn check(inputs: &Inputs, actions: &[Action]) {
    let mut mains: BTreeMap<&NodeName, Verb> = BTreeMap::new();
    for action in actions.iter().filter(|action| !action.extra) {
        assert!(mains.insert(&action.node, action.verb).is_none(), "a node has one action");
    }
    for desired in &inputs.desired {
        let verb = mains.get(&desired.name);
        assert!(verb.is_some_and(|verb| *verb != Verb::Remove), "a desired node is not removed");
    }
    let mut spoken_of: BTreeMap<&MachineId, usize> = BTreeMap::new();
    for machine in actions.iter().filter_map(|action| action.machine.as_ref()) {
        *spoken_of.entry(machine).or_default() += 1;
    }
    for machine in inputs.observed.iter().filter(|_| inputs.policy.only.is_none()) {
        assert_eq!(spoken_of.get(&machine.id), Some(&1), "every listed machine is in one action");
    }
    assert!(actions.iter().all(|a| a.verb == Verb::Remove || !a.extra), "a machine too many is removed");
    assert!(actions.iter().all(|a| a.token.is_none() || a.verb == Verb::Create), "only a create takes a token up");
}
