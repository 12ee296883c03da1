//! Killed at any step, or without power from one moment to the next, and run again: the same end, nothing twice, nothing
//! forgotten.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_testkit::{Sandbox, Traces, can_make_nodes, count, figure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LINE_TIMEOUT: Duration = Duration::from_mins(1);
const FILE: &str =
    "cluster: killed\ngroups:\n  db: { count: 1 }\n  web:\n    count: 2..4\n    recipe: hello\n    needs: [db]\n";
/// Kills of each command in a soak, 200 in all; every tenth takes the power of the whole cluster away.
const KILLS_OF_UP: (u64, u64) = (4, 60);
const KILLS_OF_DOWN: (u64, u64) = (4, 50);
const KILLS_OF_SCALE: (u64, u64) = (4, 60);
const KILLS_OF_REPLACE: (u64, u64) = (2, 30);
const POWER_EVERY: u64 = 10;

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

/// Ends the process that holds the cluster's nodes, and with it all of them, as a loss of power would.
fn cut_the_power(place: &Sandbox) {
    let identity = place.state().join("clusters/killed/local/shepherd.json");
    // Before the first machine there is nothing that has power.
    let Ok(text) = fs_err::read(identity) else { return };
    let identity: Value = serde_json::from_slice(&text).unwrap();
    let pid = Pid::from_raw(i32::try_from(identity["pid"].as_i64().unwrap()).unwrap());
    // It may have ended by itself: nothing is left to hold.
    kill(pid, Signal::SIGKILL).ok();
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
    power: u64,
}

impl Tally {
    /// Kills a command once, and now and then takes the power away with it. Returns what happened, for messages.
    fn kill(&mut self, place: &Sandbox, arguments: &[&str], after: usize) -> String {
        let (step, running) = kill_after(place, arguments, after);
        let told = format!("kill {}, after {after} events ({step})", self.total);
        *self.steps.entry(step).or_default() += 1;
        self.total += 1;
        self.running += u64::from(running);
        if self.total % POWER_EVERY == 2 {
            self.power += 1;
            cut_the_power(place);
            return format!("{told}, then without power");
        }
        told
    }

    fn report(&self, command: &str) {
        let kinds: BTreeSet<&str> = self.steps.keys().filter_map(|step| step.split(' ').next()).collect();
        figure(&format!("{command}-kills"), self.total);
        figure(&format!("{command}-kills-while-running"), self.running);
        figure(&format!("{command}-power-cuts"), self.power);
        figure(
            &format!("{command}-steps-killed-at"),
            format!("{} ({})", self.steps.len(), Vec::from_iter(kinds).join(", ")),
        );
        assert!(
            self.running * 10 >= self.total * 9,
            "only {} of {} kills hit a running {command}",
            self.running,
            self.total
        );
    }
}

/// A cluster that is there, and what is compared after each kill.
fn cluster() -> Sandbox {
    let place = Sandbox::alone(env!("CARGO_BIN_EXE_muster"));
    place.write("cluster.yaml", FILE);
    place
}

fn assert_state(place: &Sandbox, wanted: &[(String, String, String)], told: &str) {
    assert_eq!(state(place), wanted, "{told}");
    assert_eq!(machines(place), wanted.len(), "{told}");
    let plan = place.muster(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 0, "{told}: {}{}", plan.stdout, plan.stderr);
}

#[test]
fn kill_up_anywhere_and_up_goes_on() {
    if !can_make_nodes() {
        return;
    }
    let place = cluster();
    let up = ["up", "--jsonl", "--yes"];
    let undisturbed = steps(&place, &up);
    let wanted = state(&place);
    place.muster(&["down", "--yes"]).success();
    let before = place.traces();
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for _ in 0..count(KILLS_OF_UP.0, KILLS_OF_UP.1) {
        // The last event is the end of the run: after it there is little left to kill.
        let told = tally.kill(&place, &up, numbers.below(undisturbed.len() - 1));
        place.muster(&up).success();
        assert_state(&place, &wanted, &told);
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
    let place = cluster();
    place.muster(&["up"]).success();
    let down = ["down", "--jsonl", "--yes", "killed"];
    let undisturbed = steps(&place, &down);
    let before = place.traces();
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for _ in 0..count(KILLS_OF_DOWN.0, KILLS_OF_DOWN.1) {
        place.muster(&["up"]).success();
        let told = tally.kill(&place, &down, numbers.below(undisturbed.len() - 1));
        // It had ended before the signal, or it is run again to its end.
        if place.muster(&["ls", "--json"]).success().json()["clusters"] != serde_json::json!([])
            || place.state().join("clusters/killed").exists()
        {
            place.muster(&["down", "--yes", "killed"]).success();
        }
        assert_eq!(before.difference(&place.traces()), Vec::<String>::new(), "{told}");
    }
    tally.report("down");
}

#[test]
fn kill_scale_anywhere_and_scale_goes_on() {
    if !can_make_nodes() {
        return;
    }
    let place = cluster();
    let before = place.traces();
    place.muster(&["up"]).success();
    let scale = |number: usize| ["scale".to_owned(), format!("web={number}"), "--jsonl".to_owned(), "--yes".to_owned()];
    let scaled = |number: usize| {
        let arguments = scale(number);
        steps(&place, &arguments.each_ref().map(String::as_str))
    };
    // From two to four nodes and back, as the numbers of events and the ends of undisturbed runs are known.
    scaled(2);
    let few = (2, state(&place), scaled(4).len());
    let many = (4, state(&place), scaled(2).len());
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for round in 0..count(KILLS_OF_SCALE.0, KILLS_OF_SCALE.1) {
        let ((_, _, events), (number, wanted, _)) = if round % 2 == 0 { (&few, &many) } else { (&many, &few) };
        let arguments = scale(*number);
        let arguments = arguments.each_ref().map(String::as_str);
        let told = tally.kill(&place, &arguments, numbers.below(events - 1));
        place.muster(&arguments).success();
        assert_state(&place, wanted, &told);
    }
    place.muster(&["down", "--yes"]).success();
    Traces::assert_same(&before, &place.traces());
    tally.report("scale");
}

#[test]
fn kill_a_replacement_anywhere_and_up_goes_on() {
    if !can_make_nodes() {
        return;
    }
    let place = cluster();
    let before = place.traces();
    place.muster(&["up"]).success();
    let wanted = state(&place);
    let replace = ["up", "--replace", "web-2", "--jsonl", "--yes"];
    let undisturbed = steps(&place, &replace);
    let mut numbers = Numbers(seed());
    let mut tally = Tally::default();
    for _ in 0..count(KILLS_OF_REPLACE.0, KILLS_OF_REPLACE.1) {
        let told = tally.kill(&place, &replace, numbers.below(undisturbed.len() - 1));
        place.muster(&["up", "--yes"]).success();
        assert_state(&place, &wanted, &told);
    }
    place.muster(&["down", "--yes"]).success();
    Traces::assert_same(&before, &place.traces());
    tally.report("replace");
}
