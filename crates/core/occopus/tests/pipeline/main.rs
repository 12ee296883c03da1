//! Random variables and templates: what this crate renders is what the original's pipeline renders, which is modelled in
//! Python with its own libraries.

mod cases;
mod python;

use std::collections::BTreeMap;
use std::sync::Arc;

use cases::Case;
use muster_doc::{Diagnostic, SourceMap, emit};
use muster_occopus::{Fault, Instance, Lookup, Target, read_definitions, read_infrastructure, resolve};
use muster_testkit::{count, figure, skipped};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

const NODE_ID: &str = "2c98cbd3-d0b5-4d05-a0bb-0c2f7d5c9e11";
const INFRA_ID: &str = "7f6ca4f2-1f2b-4e8c-8d33-0f5a8e7c5b42";

#[derive(Debug)]
struct Addresses(BTreeMap<String, Vec<String>>);

impl Lookup for Addresses {
    fn nodes(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn instances(&self, node: &str) -> Vec<Instance> {
        let addresses = self.0.get(node).cloned().unwrap_or_default();
        let instance = |(index, address): (usize, String)| Instance {
            node: node.to_owned(),
            node_id: format!("{node}-{index}"),
            addresses: vec![address],
            ..Instance::default()
        };
        addresses.into_iter().enumerate().map(instance).collect()
    }
}

/// What is asked of the model, with what this crate gave.
fn question(case: &Case) -> Value {
    let addresses = BTreeMap::from([
        ("m".to_owned(), vec!["10.0.0.1".to_owned()]),
        ("w".to_owned(), vec!["10.0.0.2".to_owned(), "10.0.0.3".to_owned()]),
    ]);
    let (infrastructure, definitions) = (case.infrastructure.to_string(), case.definitions.to_string());
    let mut asked = json!({
        "infrastructure": pretty(&case.infrastructure), "definitions": pretty(&case.definitions), "node": 1,
        "node_id": NODE_ID, "infra_id": INFRA_ID, "addresses": addresses, "context": null, "resource": null,
    });
    let lookup: Arc<dyn Lookup> = Arc::new(Addresses(addresses));
    match ours(&infrastructure, &definitions, lookup) {
        Ok((context, resource)) => {
            asked["context"] = json!(context);
            asked["resource"] = json!(resource);
        }
        Err(why) => asked["fault"] = json!(why),
    }
    asked
}

/// The original's parser wants a blank behind a colon.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON can be written")
}

fn ours(infrastructure: &str, definitions: &str, lookup: Arc<dyn Lookup>) -> Result<(String, String), String> {
    let mut sources = SourceMap::default();
    let mut none = |_: &std::path::Path| Err("no files here".to_owned());
    let (read, found) = read_infrastructure(&mut sources, "infra.yaml", infrastructure, &mut none);
    assert!(!found.iter().any(Diagnostic::is_error), "{infrastructure}: {found:?}");
    let infrastructure = read.expect("an infrastructure");
    let (read, found) = read_definitions(&mut sources, "nodes.yaml", definitions, &mut none);
    assert!(!found.iter().any(Diagnostic::is_error), "{definitions}: {found:?}");
    let read = read.expect("definitions");
    let implementation = &read.get("t").expect("the definition").implementations[0];
    let target =
        Target { infrastructure: &infrastructure, node: 1, implementation, infra_id: INFRA_ID, node_id: NODE_ID };
    match resolve(&target, lookup, &mut sources) {
        Ok(resolved) => {
            let context = resolved.context.user_data().expect("a context");
            Ok((context, emit(&resolved.resource)))
        }
        Err(Fault::Bad(found)) => {
            Err(found.iter().map(|found| format!("{} {}\n", found.code, found.message)).collect())
        }
        Err(Fault::Waiting(missing)) => Err(format!("waiting for {missing:?}")),
    }
}

/// What is worth reading of a question or an answer.
fn sentence(value: &Value) -> String {
    let keys = ["wanted", "given", "why", "infrastructure", "definitions", "context", "resource", "fault"];
    let shown = keys.iter().filter_map(|key| Some((key, value.get(key).filter(|value| !value.is_null())?)));
    shown
        .map(|(key, value)| format!("{key}: {}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
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
    let outcome = TestRunner::new(config).run(
        &proptest::collection::vec(cases::case(), 1..=size).prop_map(|cases| cases),
        |cases| {
            let questions: Vec<Value> = cases.iter().map(question).collect();
            let answers = python::ask(&python, &questions);
            for (question, answer) in questions.iter().zip(&answers) {
                let verdict = answer["is"].as_str().expect("a verdict");
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
