//! A model of a cloud and a store: doing what a plan says leaves nothing to plan, from whatever half state.

use std::collections::{BTreeMap, BTreeSet};

use muster_plan::{
    Begun, BegunAction, Change, Desired, Facts, Health, Inputs, MachineState, Observed, Recorded, Verb, plan,
};
use muster_types::{ClientToken, GroupName, MachineId, NodeName, Phase, Timestamp};
use proptest::prelude::*;

use crate::fixture::empty;

const STATES: [MachineState; 6] = [
    MachineState::Creating,
    MachineState::Running,
    MachineState::Paused,
    MachineState::Stopped,
    MachineState::Failed,
    MachineState::Removing,
];

const PHASES: [Phase; 5] = [Phase::Planned, Phase::Creating, Phase::Booting, Phase::Ready, Phase::Failed];

const ACTIONS: [BegunAction; 4] =
    [BegunAction::Create, BegunAction::Start, BegunAction::Configure, BegunAction::Remove];

fn group(index: u32) -> GroupName {
    GroupName::new(["db", "web", "old"][index as usize % 3]).unwrap()
}

fn node(index: u32) -> NodeName {
    NodeName::of(&group(index), index / 3 + 1).unwrap()
}

fn machine(index: u32) -> MachineId {
    MachineId::new(format!("m{index}"))
}

fn token(index: u32) -> ClientToken {
    ClientToken::new(format!("t{index}"))
}

fn desired() -> impl Strategy<Value = Vec<Desired>> {
    proptest::collection::btree_map(0..9u32, (0..2u32, any::<bool>()), 0..7).prop_map(|nodes| {
        let make = |(index, (hash, replace_failed)): (u32, (u32, bool))| Desired {
            name: node(index),
            group: group(index),
            needs: Vec::new(),
            machine_hash: format!("h{hash}"),
            replace_failed,
        };
        nodes.into_iter().map(make).collect()
    })
}

fn observed() -> impl Strategy<Value = Vec<Observed>> {
    let one = (0..9u32, 0..9u32, proptest::sample::select(&STATES[..]), 0..5i64);
    proptest::collection::btree_map(0..9u32, one, 0..9).prop_map(|machines| {
        let make = |(id, (name, from, state, created)): (u32, (u32, u32, MachineState, i64))| Observed {
            id: machine(id),
            name: node(name),
            token: token(from),
            state,
            created_at: Timestamp::from_second(created).unwrap(),
            detail: None,
        };
        machines.into_iter().map(make).collect()
    })
}

fn recorded() -> impl Strategy<Value = Vec<Recorded>> {
    let one = (proptest::option::of(0..9u32), 0..9u32, 0..2u32, proptest::sample::select(&PHASES[..]));
    proptest::collection::btree_map(0..9u32, one, 0..9).prop_map(|records| {
        let make = |(name, (id, from, hash, phase)): (u32, (Option<u32>, u32, u32, Phase))| Recorded {
            name: node(name),
            group: group(name),
            machine: id.map(machine),
            token: token(from),
            machine_hash: format!("h{hash}"),
            phase,
            reason: String::new(),
        };
        records.into_iter().map(make).collect()
    })
}

fn begun() -> impl Strategy<Value = Vec<Begun>> {
    let one = (0..9u32, proptest::sample::select(&ACTIONS[..]), proptest::option::of(0..9u32), 0..9u32);
    proptest::collection::vec(one, 0..5).prop_map(|intents| {
        let make = |(name, action, id, from): (u32, BegunAction, Option<u32>, u32)| Begun {
            node: node(name),
            action,
            machine: id.map(machine),
            token: token(from),
        };
        intents.into_iter().map(make).collect()
    })
}

fn facts() -> impl Strategy<Value = BTreeMap<NodeName, Facts>> {
    let health = prop_oneof![
        Just(Health::Answers),
        Just(Health::NotJoined),
        Just(Health::Unasked),
        Just(Health::Silent { reason: "no route".to_owned() })
    ];
    let change = prop_oneof![
        Just(Change::None),
        Just(Change::Apply { steps: vec!["runcmd[0]".to_owned()], reason: "changed".to_owned() }),
        Just(Change::Replace { steps: Vec::new(), reason: "changed".to_owned() }),
        Just(Change::Unknown { waits_for: BTreeSet::from([node(1)]) })
    ];
    proptest::collection::btree_map(0..9u32, (health, change), 0..9).prop_map(|facts| {
        facts.into_iter().map(|(name, (health, change))| (node(name), Facts { change, health })).collect()
    })
}

fn inputs() -> impl Strategy<Value = Inputs> {
    (desired(), observed(), recorded(), begun(), facts()).prop_map(|(desired, observed, recorded, begun, facts)| {
        Inputs { desired, observed, recorded, begun, facts, ..empty() }
    })
}

/// Does what the plan says, as an executor without failures would.
fn apply(inputs: &Inputs) -> Inputs {
    let plan = plan(inputs);
    let mut after = Inputs { begun: Vec::new(), facts: BTreeMap::new(), ..inputs.clone() };
    let mut fresh = 1000;
    for action in plan.actions() {
        let gone = matches!(action.verb, Verb::Remove | Verb::Replace);
        if let (true, Some(id)) = (gone, &action.machine) {
            after.observed.retain(|machine| machine.id != *id);
        }
        if action.verb == Verb::Remove {
            if !action.extra {
                after.recorded.retain(|record| record.name != action.node);
            }
            continue;
        }
        let wanted = inputs.desired.iter().find(|desired| desired.name == action.node).unwrap();
        let made = if matches!(action.verb, Verb::Create | Verb::Replace) {
            fresh += 1;
            let made = Observed {
                id: machine(fresh),
                name: action.node.clone(),
                token: action.token.clone().unwrap_or_else(|| token(fresh)),
                state: MachineState::Running,
                created_at: Timestamp::from_second(100).unwrap(),
                detail: None,
            };
            after.observed.push(made.clone());
            made
        } else {
            let id = action.machine.as_ref().unwrap();
            let kept = after.observed.iter_mut().find(|machine| machine.id == *id).unwrap();
            kept.state = MachineState::Running;
            kept.clone()
        };
        after.recorded.retain(|record| record.name != action.node);
        after.recorded.push(Recorded {
            name: action.node.clone(),
            group: wanted.group.clone(),
            machine: Some(made.id),
            token: made.token,
            machine_hash: wanted.machine_hash.clone(),
            phase: Phase::Ready,
            reason: String::new(),
        });
        after.facts.insert(action.node.clone(), Facts { change: Change::None, health: Health::Answers });
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn doing_what_a_plan_says_leaves_nothing_to_do(inputs in inputs()) {
        let after = apply(&inputs);
        let again = plan(&after);
        prop_assert!(again.is_empty(), "{}\nthen\n{}", plan(&inputs), again);
        prop_assert_eq!(after.observed.len(), inputs.desired.len(), "a machine for each node and no other");
    }

    #[test]
    fn the_order_of_what_is_told_does_not_matter(inputs in inputs()) {
        let mut turned = inputs.clone();
        turned.observed.reverse();
        turned.begun.reverse();
        prop_assert_eq!(plan(&inputs), plan(&turned));
    }

    #[test]
    fn what_works_is_kept(inputs in inputs()) {
        let healthy = apply(&inputs);
        // A second look at a healthy cluster that lost one agent touches that node alone, and removes nothing.
        if let Some(first) = healthy.desired.first() {
            let mut ill = healthy.clone();
            ill.facts.get_mut(&first.name).unwrap().health = Health::Silent { reason: "no route".to_owned() };
            let plan = plan(&ill);
            prop_assert!(!plan.is_destructive(), "{plan}");
            prop_assert_eq!(plan.summary().keep, ill.desired.len() - 1);
        }
    }
}
