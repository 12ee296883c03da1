//! Reads fixtures. A line is a kind, its names, and `key=value` words; `_` stands for a blank.
//!
//! ```text
//! desired NODE GROUP hash=H [needs=G,G] [replace-failed]
//! observed MACHINE NODE token=T STATE [created=SECONDS] [detail=WORDS]
//! recorded NODE GROUP token=T hash=H phase=PHASE [machine=M] [reason=WORDS]
//! begun ACTION NODE token=T [machine=M]
//! facts NODE answers|joins|silent=WHY [none|apply=STEPS|replace=WHY|unknown=NODES|
//!     comes=NODES|joins-late=NODES|moves=NODES|leaves=NODES]
//! unbaked NODE WORDS
//! replace NODE
//! only NODE
//! ```

use muster_plan::{
    Begun, BegunAction, Change, Desired, Facts, Fate, Health, Inputs, MachineState, Observed, Policy, Recorded,
};
use muster_types::{ClientToken, ClusterName, GroupName, MachineId, NodeName, Phase, Timestamp};

struct Line<'a> {
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn word(&self, index: usize) -> &'a str {
        self.words[index]
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn value(&self, key: &str) -> Option<String> {
        self.words.iter().find_map(|word| {
            let (name, value) = word.split_once('=')?;
            (name == key).then(|| value.replace('_', " "))
        })
    }

    fn node(&self, index: usize) -> NodeName {
        NodeName::new(self.word(index)).unwrap()
    }

    fn group(&self, index: usize) -> GroupName {
        GroupName::new(self.word(index)).unwrap()
    }

    fn machine(&self) -> Option<MachineId> {
        self.value("machine").map(MachineId::new)
    }

    fn token(&self) -> ClientToken {
        ClientToken::new(self.value("token").unwrap())
    }
}

pub(crate) fn empty() -> Inputs {
    Inputs {
        cluster: ClusterName::new("demo").unwrap(),
        provider: "local".to_owned(),
        desired: Vec::new(),
        observed: Vec::new(),
        recorded: Vec::new(),
        begun: Vec::new(),
        facts: std::collections::BTreeMap::new(),
        unbaked: std::collections::BTreeMap::new(),
        policy: Policy::default(),
    }
}

pub(crate) fn parse(text: &str) -> Inputs {
    let mut inputs = empty();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let line = Line { words: line.split_whitespace().collect() };
        match line.word(0) {
            "desired" => inputs.desired.push(desired(&line)),
            "observed" => inputs.observed.push(observed(&line)),
            "recorded" => inputs.recorded.push(recorded(&line)),
            "begun" => inputs.begun.push(begun(&line)),
            "facts" => drop(inputs.facts.insert(line.node(1), facts(&line))),
            "unbaked" => drop(inputs.unbaked.insert(line.node(1), line.word(2).replace('_', " "))),
            "only" => drop(inputs.policy.only.get_or_insert_default().insert(line.node(1))),
            "replace" => drop(inputs.policy.replace.insert(line.node(1))),
            other => panic!("`{other}` begins no line of a fixture"),
        }
    }
    inputs
}

fn desired(line: &Line<'_>) -> Desired {
    let needs = line.value("needs").unwrap_or_default();
    Desired {
        name: line.node(1),
        group: line.group(2),
        needs: needs.split(',').filter(|name| !name.is_empty()).map(|name| GroupName::new(name).unwrap()).collect(),
        machine_hash: line.value("hash").unwrap(),
        replace_failed: line.has("replace-failed"),
    }
}

fn observed(line: &Line<'_>) -> Observed {
    let states = [
        ("creating", MachineState::Creating),
        ("running", MachineState::Running),
        ("paused", MachineState::Paused),
        ("stopped", MachineState::Stopped),
        ("failed", MachineState::Failed),
        ("removing", MachineState::Removing),
    ];
    Observed {
        id: MachineId::new(line.word(1)),
        name: line.node(2),
        token: line.token(),
        state: states.iter().find(|(word, _)| line.has(word)).unwrap().1,
        created_at: Timestamp::from_second(line.value("created").map_or(0, |seconds| seconds.parse().unwrap()))
            .unwrap(),
        detail: line.value("detail"),
    }
}

fn recorded(line: &Line<'_>) -> Recorded {
    let phase = line.value("phase").unwrap();
    let phases = [Phase::Planned, Phase::Creating, Phase::Booting, Phase::Ready, Phase::Failed];
    Recorded {
        name: line.node(1),
        group: line.group(2),
        machine: line.machine(),
        token: line.token(),
        machine_hash: line.value("hash").unwrap(),
        phase: *phases.iter().find(|known| known.as_str() == phase).unwrap(),
        reason: line.value("reason").unwrap_or_default(),
    }
}

fn begun(line: &Line<'_>) -> Begun {
    let action = match line.word(1) {
        "create" => BegunAction::Create,
        "start" => BegunAction::Start,
        "configure" => BegunAction::Configure,
        "remove" => BegunAction::Remove,
        other => panic!("`{other}` is no action"),
    };
    Begun { node: line.node(2), action, machine: line.machine(), token: line.token() }
}

fn facts(line: &Line<'_>) -> Facts {
    let health = match line.value("silent") {
        Some(reason) => Health::Silent { reason },
        None if line.has("joins") => Health::NotJoined,
        None if line.has("answers") => Health::Answers,
        None => Health::Unasked,
    };
    let change = if let Some(steps) = line.value("apply") {
        let steps = steps.split(',').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        Change::Apply { steps, reason: "its configuration changed".to_owned() }
    } else if let Some(reason) = line.value("replace") {
        Change::Replace { steps: vec!["runcmd[0]".to_owned()], reason }
    } else if let Some(nodes) = line.value("unknown") {
        Change::Unknown { waits_for: nodes.split(',').map(|name| NodeName::new(name).unwrap()).collect() }
    } else {
        let fates =
            [("comes", Fate::Comes), ("joins-late", Fate::Joins), ("moves", Fate::Moves), ("leaves", Fate::Leaves)];
        let named = |(key, fate): (&str, Fate)| -> Vec<(NodeName, Fate)> {
            let nodes = line.value(key).unwrap_or_default();
            let nodes = nodes.split(',').filter(|name| !name.is_empty());
            nodes.map(|name| (NodeName::new(name).unwrap(), fate)).collect()
        };
        let nodes: std::collections::BTreeMap<_, _> = fates.into_iter().flat_map(named).collect();
        if nodes.is_empty() { Change::None } else { Change::Later { nodes } }
    };
    Facts { change, health }
}
