//! Random expressions: what they stand for here is what they stand for in `ClusterShell`, whose own library is asked.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use muster_testkit::{count, figure, python, skipped};
use muster_types::{NodeSet, fold_names};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

const LIBRARIES: [&str; 1] = ["ClusterShell==1.9.3"];

/// `[1-3,07,2-9/2]`, of one width, as that library wants it.
fn ranges() -> impl Strategy<Value = String> {
    let one = (0_u32..40, 0_u32..9, 1_u32..4, 0..3);
    (prop::collection::vec(one, 1..4), prop_oneof![Just(0_usize), Just(2), Just(3)]).prop_map(|(parts, width)| {
        let written = parts.iter().map(|(first, more, step, form)| {
            let last = first + more;
            match form {
                0 => format!("{first:0width$}"),
                1 => format!("{first:0width$}-{last:0width$}"),
                _ => format!("{first:0width$}-{last:0width$}/{step}"),
            }
        });
        format!("[{}]", written.collect::<Vec<_>>().join(","))
    })
}

fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => ranges().prop_map(|ranges| format!("n{ranges}")),
        2 => (ranges(), ranges()).prop_map(|(left, right)| format!("r{left}n{right}")),
        1 => (0_u32..40).prop_map(|number| format!("n{number}")),
        1 => ranges().prop_map(|ranges| format!("web-{ranges}.example.org")),
        1 => Just("login".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let rest = prop::collection::vec((prop::sample::select(vec![",", "!", "&", "^"]), term()), 0..5);
    (term(), rest).prop_map(|(first, rest)| {
        rest.into_iter().fold(first, |text, (operator, term)| format!("{text}{operator}{term}"))
    })
}

/// The names of each expression, sorted by their bytes.
fn ask(python: &Path, expressions: &[String]) -> Vec<Vec<String>> {
    let program = "import json, sys\nfrom ClusterShell.NodeSet import NodeSet\n\
                   print(json.dumps([sorted(set(NodeSet(text))) for text in json.load(sys.stdin)]))";
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let asked = serde_json::to_vec(expressions).expect("JSON can be written");
    child.stdin.take().expect("a pipe").write_all(&asked).expect("the library reads");
    let output = child.wait_with_output().expect("the library ends");
    assert!(output.status.success(), "ClusterShell refused what should be its own notation");
    serde_json::from_slice(&output.stdout).expect("names in JSON")
}

#[test]
fn expressions_mean_what_they_mean_there() {
    let python = match python(env!("CARGO_TARGET_TMPDIR"), "clustershell-1", &LIBRARIES) {
        Ok(python) => python,
        Err(reason) => return skipped(&format!("there is no ClusterShell: {reason}")),
    };
    let mut runner = TestRunner::default();
    let strategy = expression();
    let expressions: Vec<String> =
        (0..count(300, 20_000)).map(|_| strategy.new_tree(&mut runner).expect("an expression").current()).collect();
    let ours: Vec<Vec<String>> = expressions
        .iter()
        .map(|text| {
            let set = NodeSet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let names = set.names().unwrap_or_else(|| panic!("{text} needs no cluster"));
            let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            names.sort_unstable();
            names
        })
        .collect();
    for ((text, ours), theirs) in expressions.iter().zip(&ours).zip(ask(&python, &expressions)) {
        assert_eq!(*ours, theirs, "{text}");
    }
    let folded: Vec<String> = ours.iter().map(|names| fold_names(names.iter().map(String::as_str))).collect();
    for ((folded, ours), theirs) in folded.iter().zip(&ours).zip(ask(&python, &folded)) {
        assert_eq!(*ours, theirs, "{folded}");
    }
    figure("expressions", expressions.len());
}
