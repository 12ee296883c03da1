//! Whatever stands in a file, it is taken or refused with places that exist; nothing panics.

use std::path::Path;

use muster_doc::{report, to_json};
use muster_engine::compile::{Compiled, Rejected};
use proptest::prelude::*;

use super::common::{compile_in, try_beside};
use super::recipes::{QUEUE, TWO, recipe};

const GOOD: &str = "cluster: demo\nprovider: [cloud, local]\nvars: &v { greeting: hi, ports: [80], n: 2 }\nlocal: { subnet: 10.0.0.0/8 }\n\
    groups:\n  lone: { recipe: hello }\n  db:\n    count: \"{{ vars.n }}\"\n    size: { memory: 64M, cpus: 0.5 }\n  web:\n    \
    <<: { image: host }\n    count: 2..4\n    needs: [db]\n    vars: *v\n    files:\n      /etc/a: |\n        \
    {% for p in nodes %}\n        {{ p.name }} {{ getip('db') }}\n        {% endfor %}\n        {{ members('db') | length }} {{ node.facts.cpus }}\n      /b: { content: x, mode: 0600 }\n    \
    cloud_init: |\n      #cloud-config\n      runcmd:\n        - echo \"{{ node.name }}\"\n    health:\n      \
    urls: [\"http://{{ node.address }}:{{ vars.ports[0] }}/\"]\n      command: [test, -e, /b]\n      timeout: 1m\n    \
    on_failure: { retry: 2 }\n    variants:\n      - { provider: local, image: host, local: { subnet: a } }\n";

/// Pieces that mean something at one place or another.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{{ vars",
    " | ",
    "&v",
    "*v",
    "<<: *v",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "|\n",
    "0",
    "-1",
    "..",
    "~",
    "é",
    "\t",
    "#",
    "---\n",
    "!x",
    "groups:",
    "hosts: [a]",
    "count: 0",
    "null",
    "\u{feff}",
    "\\",
    "range(9)",
];

#[derive(Debug, Clone)]
enum Edit {
    Insert(prop::sample::Index, &'static str),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), prop::sample::select(PIECES)).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (place(), 1..30usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (place(), 1..40usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ]
}

fn edited(good: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = good.chars().collect();
    for edit in edits {
        let (Edit::Insert(at, _) | Edit::Remove(at, _) | Edit::Repeat(at, _)) = edit;
        let at = at.index(text.len().max(1)).min(text.len());
        match edit {
            Edit::Insert(_, piece) => drop(text.splice(at..at, piece.chars())),
            Edit::Remove(_, length) => drop(text.drain(at..(at + length).min(text.len()))),
            Edit::Repeat(_, length) => {
                let part: Vec<char> = text[at..(at + length).min(text.len())].to_vec();
                drop(text.splice(at..at, part));
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn the_text_that_is_edited_is_good() {
    assert!(compile_in(Path::new("/nonexistent"), "c.yaml", GOOD.as_bytes(), None, &["local", "cloud"]).is_ok());
}

#[test]
fn a_file_that_is_one_text_is_refused() {
    let text = format!("|\n  {}", GOOD.replace('\n', "\n  "));
    assert!(compile_in(Path::new("/nonexistent"), "c.yaml", text.as_bytes(), None, &["local", "cloud"]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn edited_files_are_taken_or_refused(edits in prop::collection::vec(edit(), 1..5)) {
        let text = edited(GOOD, &edits);
        let result = compile_in(Path::new("/nonexistent"), "c.yaml", text.as_bytes(), None, &["local", "cloud"]);
        judge(result, &text)?;
    }

    #[test]
    fn edited_recipes_are_taken_or_refused(edits in prop::collection::vec(edit(), 1..5)) {
        let text = edited(QUEUE, &edits);
        let mut files = recipe();
        files[0].1 = &text;
        judge(try_beside(&files, TWO), &text)?;
    }
}

/// What is refused has a place that exists, an excerpt and a hint.
fn judge(result: Result<Compiled, Box<Rejected>>, text: &str) -> Result<(), TestCaseError> {
    if let Err(rejected) = result {
        prop_assert!(rejected.diagnostics.iter().any(muster_doc::Diagnostic::is_error));
        for found in &rejected.diagnostics {
            prop_assert!(!found.hint.is_empty());
            let span = found.span.expect("a place");
            let source = rejected.sources.text(span.source);
            prop_assert!(source.get(span.start..span.end).is_some(), "{found:?}\n{text}");
            let shown = report(std::slice::from_ref(found), &rejected.sources, false, 100);
            prop_assert!(shown.contains("╭─["), "no excerpt: {found:?}\n{text}\n{shown}");
        }
        prop_assert!(to_json(&rejected.diagnostics, &rejected.sources).is_array());
    }
    Ok(())
}
