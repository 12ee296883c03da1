//! Killed at any step, run again: the same end, nothing twice, nothing forgotten.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use muster_testkit::{Sandbox, Traces, can_make_nodes, count, figure};
use serde_json::Value;

const LINE_TIMEOUT: Duration = Duration::from_mins(1);
const FILE: &str =
    "cluster: killed\ngroups:\n  db: { count: 1 }\n  web:\n    count: 3\n    recipe: hello\n    needs: [db]\n";
/// Kills of each command.
const KILLS: (u64, u64) = (6, 50);

/// A fixed sequence, so that a failing run can be had again; the seed is printed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn seed() -> u64 {
    let seed = std::env::var("MUSTER_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_120);
    figure("seed", seed);
    seed
}

/// Steps that a run writes down: what it is about to do and what it has done.
fn steps(place: &Sandbox, arguments: &[&str]) -> Vec<String> {
    let events = place.muster(arguments).success().json_lines();
    events.iter().map(step).collect()
}

/// An event without what differs from run to run.
fn step(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let parts = [text("type"), text("action"), text("phase"), text("step"), text("outcome")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs a command until it has told `after` events, then kills it. Returns the last event, and whether it was running.
fn kill_after(place: &Sandbox, arguments: &[&str], after: usize) -> (String, bool) {
    let mut running = place.start(arguments);
    let mut seen = 0;
    let line = running.wait_line(LINE_TIMEOUT, |_| {
        seen += 1;
        seen > after
    });
    let alive = running.is_running();
    let last = line.map_or_else(|| "its end".to_owned(), |line| step(&serde_json::from_str(&line).unwrap()));
    // A process that has ended by itself is as good a case, only not one that was asked for.
    let output = running.kill();
    (last, alive && output.code == 137)
}

/// The nodes of the cluster with what must not differ between runs.
fn state(place: &Sandbox) -> Vec<(String, String, String)> {
    let status = place.muster(&["status", "--json"]).success().json();
    let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let nodes = status["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| (text(node, "name"), text(node, "group"), text(node, "phase"))).collect()
}

/// Machines of the cluster on this machine, by their folders: what the provider lists, and nothing else.
fn machines(place: &Sandbox) -> usize {
    fs_err::read_dir(place.state().join("clusters/killed/local/machines")).unwrap().count()
}

#[derive(Default)]
struct Tally {
    steps: BTreeMap<String, u32>,
    running: u64,
    total: u64,
}

impl Tally {
    fn add(&mut self, (step, running): (String, bool)) {
        *self.steps.entry(step).or_default() += 1;
        self.total += 1;
        self.running += u64::from(running);
    }

    fn report(&self, command: &str) {
        for (step, times) in &self.steps {
            figure(&format!("{command}-killed-after-{}", step.replace(' ', "-")), times);
        }
        figure(&format!("{command}-kills"), self.total);
        figure(&format!("{command}-kills-while-running"), self.running);
        assert!(
            self.running * 10 >= self.total * 9,
            "only {} of {} kills hit a running {command}",
            self.running,
            self.total
        );
    }
}

#[test]
fn kill_up_anywhere_and_up_goes_on() {
    if !can_make_nodes() {
        return;
    }
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    place.write("cluster.yaml", FILE);
    let up = ["up", "--jsonl", "--yes"];
    let undisturbed = steps(&place, &up);
    let wanted = state(&place);
    place.muster(&["down", "--yes"]).success();
    let before = place.traces();
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for round in 0..count(KILLS.0, KILLS.1) {
        // The last event is the end of the run: after it there is little left to kill.
        let after = numbers.below(undisturbed.len() - 1);
        tally.add(kill_after(&place, &up, after));
        place.muster(&up).success();
        assert_eq!(state(&place), wanted, "round {round}, killed after {after} events");
        assert_eq!(machines(&place), wanted.len(), "round {round}, killed after {after} events");
        place.muster(&["down", "--yes"]).success();
        Traces::assert_same(&before, &place.traces());
    }
    tally.report("up");
}

#[test]
fn kill_down_anywhere_and_down_goes_on() {
    if !can_make_nodes() {
        return;
    }
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    place.write("cluster.yaml", FILE);
    place.muster(&["up"]).success();
    let down = ["down", "--jsonl", "--yes", "killed"];
    let undisturbed = steps(&place, &down);
    let before = place.traces();
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for round in 0..count(KILLS.0, KILLS.1) {
        place.muster(&["up"]).success();
        let after = numbers.below(undisturbed.len() - 1);
        tally.add(kill_after(&place, &down, after));
        // It had ended before the signal, or it is run again to its end.
        if place.muster(&["ls", "--json"]).success().json()["clusters"] != serde_json::json!([])
            || place.state().join("clusters/killed").exists()
        {
            place.muster(&["down", "--yes", "killed"]).success();
        }
        let after_it = place.traces();
        assert_eq!(before.difference(&after_it), Vec::<String>::new(), "round {round}, killed after {after} events");
    }
    tally.report("down");
}
