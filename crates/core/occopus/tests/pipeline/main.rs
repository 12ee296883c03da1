//! Random variables and templates: what this crate renders is what the original's pipeline renders, which is modelled in
//! Python with its own libraries.

mod cases;
mod python;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cases::Case;
use muster_doc::{Diagnostic, SourceMap, Tree, codes, emit};
use muster_occopus::{
    Contextualisation, Fault, Instance, Lookup, Target, read_definitions, read_infrastructure, resolve,
};
use muster_testkit::{count, figure, skipped};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};

const NODE_ID: &str = "2c98cbd3-d0b5-4d05-a0bb-0c2f7d5c9e11";
const INFRA_ID: &str = "7f6ca4f2-1f2b-4e8c-8d33-0f5a8e7c5b42";

#[derive(Debug, Clone)]
struct Addresses(Vec<(String, Vec<String>)>);

impl Lookup for Addresses {
    fn nodes(&self) -> Vec<String> {
        self.0.iter().map(|(node, _)| node.clone()).collect()
    }

    fn instances(&self, node: &str) -> Vec<Instance> {
        let addresses = self.0.iter().find(|(name, _)| name == node).map_or_else(Vec::new, |(_, found)| found.clone());
        let instance = |(index, address): (usize, String)| Instance {
            node: node.to_owned(),
            node_id: format!("{node}-{index}"),
            addresses: vec![address],
            ..Instance::default()
        };
        addresses.into_iter().enumerate().map(instance).collect()
    }
}

/// Both files as texts without imports, and the node that is meant.
struct Files {
    infrastructure: String,
    definitions: String,
    node: usize,
}

/// What is asked of the model, with what this crate gave.
fn question(files: &Files, addresses: &Addresses) -> Value {
    let known: BTreeMap<&String, &Vec<String>> = addresses.0.iter().map(|(node, found)| (node, found)).collect();
    let mut asked = json!({
        "infrastructure": files.infrastructure, "definitions": files.definitions, "node": files.node,
        "node_id": NODE_ID, "infra_id": INFRA_ID, "addresses": known, "context": null, "resource": null,
    });
    match ours(files, Arc::new(addresses.clone())) {
        Ok((context, resource)) => {
            asked["context"] = json!(context);
            asked["resource"] = json!(resource);
        }
        Err(why) => asked["fault"] = json!(why),
    }
    asked
}

fn random(case: &Case) -> Value {
    // The original's parser wants a blank behind a colon.
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON can be written");
    let files = Files { infrastructure: pretty(&case.infrastructure), definitions: pretty(&case.definitions), node: 1 };
    let of = |node: &str, found: &[&str]| (node.to_owned(), found.iter().map(|one| (*one).to_owned()).collect());
    question(&files, &Addresses(vec![of("m", &["10.0.0.1"]), of("w", &["10.0.0.2", "10.0.0.3"])]))
}

fn no_files(_: &Path) -> Result<Vec<u8>, String> {
    Err("there are no files here".to_owned())
}

fn ours(files: &Files, lookup: Arc<dyn Lookup>) -> Result<(String, String), String> {
    let mut sources = SourceMap::default();
    let (read, found) = read_infrastructure(&mut sources, "infra.yaml", &files.infrastructure, &mut no_files);
    assert!(!found.iter().any(Diagnostic::is_error), "{}: {found:?}", files.infrastructure);
    let infrastructure = read.expect("an infrastructure");
    let (read, found) = read_definitions(&mut sources, "nodes.yaml", &files.definitions, &mut no_files);
    assert!(!found.iter().any(Diagnostic::is_error), "{}: {found:?}", files.definitions);
    let definitions = read.expect("definitions");
    let definition = definitions.get(&infrastructure.nodes[files.node].definition.value).expect("the definition");
    let implementation = &definition.implementations[0];
    let target = Target {
        infrastructure: &infrastructure,
        node: files.node,
        implementation,
        infra_id: INFRA_ID,
        node_id: NODE_ID,
    };
    match resolve(&target, lookup, &mut sources) {
        Ok(resolved) => {
            let context = resolved.context.user_data().expect("a context");
            Ok((context, emit(&resolved.resource)))
        }
        Err(Fault::Bad(found)) => {
            Err(found.iter().map(|found| format!("{} {}", found.code, found.message)).collect::<Vec<_>>().join("\n"))
        }
        Err(Fault::Waiting(missing)) => Err(format!("waiting for {missing:?}")),
    }
}

/// The sets of files under `tests/files`, with their imports put in: a question for each node that has a cloud-config.
fn sets() -> Vec<Value> {
    let mut questions = Vec::new();
    for entry in fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")).expect("the sets") {
        let folder = entry.expect("a set").path();
        let files = fs_err::read_dir(&folder).expect("a set").map(|file| file.expect("a file").path());
        let path = files.into_iter().find(|path| path.extension().is_some()).expect("an infrastructure");
        let text = fs_err::read_to_string(&path).expect("an infrastructure");
        let mut sources = SourceMap::default();
        let (read, _) = read_infrastructure(&mut sources, "infra.yaml", &text, &mut no_files);
        let infrastructure = read.expect("an infrastructure");
        let path = folder.join("nodes/node_definitions.yaml");
        let definitions = fs_err::read_to_string(&path).expect("node definitions");
        let mut loader = |path: &Path| fs_err::read(path).map_err(|error| error.to_string());
        let (read, _) = read_definitions(&mut sources, &path.display().to_string(), &definitions, &mut loader);
        let definitions = read.expect("definitions");
        let addresses = infrastructure.nodes.iter().enumerate().map(|(index, node)| {
            let found = (1..=node.scaling.min).map(|last| format!("10.0.{index}.{last}")).collect();
            (node.name.value.clone(), found)
        });
        let addresses = Addresses(addresses.collect());
        for (index, node) in infrastructure.nodes.iter().enumerate() {
            let definition = definitions.get(&node.definition.value).expect("the definition");
            let implementation = &definition.implementations[0];
            if !matches!(implementation.contextualisation, Contextualisation::CloudInit { .. }) {
                continue;
            }
            let span = implementation.span;
            let name = format!("node_def:{}", node.definition.value);
            let whole = Tree::map([(name, Tree::seq(vec![implementation.tree.clone()], span))], span);
            let files = Files { infrastructure: text.clone(), definitions: emit(&whole), node: index };
            questions.push(question(&files, &addresses));
        }
    }
    questions
}

/// What of Jinja2 prints otherwise here: tuples are lists, lists put together by `~` print as the engine prints them, and
/// there is no name for the template itself.
const KNOWN: [&str; 5] = [
    "{{ self }}",
    "{{ (variables.n, 2) }}",
    "{{ ('a',) }}",
    "{{ variables.d.items() | list }}",
    "{{ 'l' ~ variables.l ~ variables.big }}",
];

/// Each construct of Jinja2 alone, in a text of one line and in one of several.
#[test]
fn constructs_render_as_the_original_renders_them() {
    let python = match python::environment() {
        Ok(python) => python,
        Err(reason) => return skipped(&reason),
    };
    let variables = json!({
        "s": "a,b", "n": 5, "f": 1.5, "t": true, "none": null, "l": ["x", "y z", 3], "empty": [], "numbers": [3, 1, 2, 3],
        "d": {"p": 1, "q": "two"}, "people": [{"name": "ann", "age": 3}, {"name": "bob", "age": 0}], "day": "2021-11-30",
        "big": 1e22, "neg": -0.5, "long": 123_456_789_012_345_i64,
    });
    let constructs: Vec<&str> = include_str!("constructs.txt").lines().collect();
    let questions: Vec<Value> = constructs
        .iter()
        .flat_map(|construct| {
            ["{}", "x {}\ny\n"].map(|around| random(&cases::fixed(&variables, &around.replace("{}", construct))))
        })
        .collect();
    let mut wrong = Vec::new();
    for (index, answer) in python::ask(&python, &questions).iter().enumerate() {
        let construct = constructs[index / 2];
        let verdict = answer["is"].as_str().expect("a verdict");
        let known = KNOWN.contains(&construct);
        if matches!(verdict, "different" | "refused" | "unreadable") != known && (verdict != "failed" || !known) {
            wrong.push(format!("{construct}\n    {verdict} {}", sentence(answer)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whole_sets_render_as_the_original_renders_them() {
    let python = match python::environment() {
        Ok(python) => python,
        Err(reason) => return skipped(&reason),
    };
    let questions = sets();
    assert!(questions.len() >= 25, "{} nodes", questions.len());
    for (question, answer) in questions.iter().zip(&python::ask(&python, &questions)) {
        assert_eq!(answer["is"], "same", "{}\n{}", sentence(answer), sentence(question));
    }
}

/// What is worth reading of a question or an answer.
fn sentence(value: &Value) -> String {
    let keys = ["wanted", "given", "why", "infrastructure", "definitions", "context", "resource", "fault"];
    let shown = keys.iter().filter_map(|key| Some((key, value.get(key).filter(|value| !value.is_null())?)));
    let shown = shown.map(|(key, value)| match value.as_str() {
        Some(text) => format!("{key}: {text}"),
        None => format!("{key}: {value}"),
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_rendered_is_what_the_original_renders() {
    let python = match python::environment() {
        Ok(python) => python,
        Err(reason) => return skipped(&reason),
    };
    let (batches, size) = count((2, 150), (25, 200));
    let config = Config { cases: batches, max_shrink_iters: 12, failure_persistence: None, ..Config::default() };
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    let tallied = std::cell::RefCell::new(&mut tally);
    // The same cases in every run; a soak takes more of them.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(
        &proptest::collection::vec(cases::case(), size / 2..=size),
        |cases| {
            let questions: Vec<Value> = cases.iter().map(random).collect();
            let answers = python::ask(&python, &questions);
            for (question, answer) in questions.iter().zip(&answers) {
                // A whole text is YAML of its own, and the original's parser takes what the standard forbids.
                let stricter =
                    question["fault"].as_str().is_some_and(|fault| fault.starts_with(codes::OCCOPUS_CONTEXT));
                let verdict = match answer["is"].as_str().expect("a verdict") {
                    "refused" if stricter => "stricter",
                    verdict => verdict,
                };
                *tallied.borrow_mut().entry(verdict.to_owned()).or_default() += 1;
                if matches!(verdict, "different" | "refused" | "unreadable") {
                    let told = format!("{verdict}\n{}\n{}", sentence(answer), sentence(question));
                    return Err(TestCaseError::fail(told));
                }
            }
            Ok(())
        },
    );
    if let Err(error) = outcome {
        let told = error.to_string();
        panic!("{}", told.split("minimal failing input").next().unwrap_or_default());
    }
    let same = tally.get("same").copied().unwrap_or_default();
    let all: usize = tally.values().sum();
    assert!(same * 4 > all, "too few cases mean anything to the original: {tally:?}");
    figure("occopus.pipeline.same", same);
}
