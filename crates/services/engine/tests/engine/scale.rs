//! Numbers of nodes that are asked for beside the file.

use std::collections::BTreeMap;

use muster_api::EventBody;
use muster_engine::{Exit, Outcome};
use muster_provider::fake::Edge;
use muster_store::Store as _;
use muster_types::{GroupName, Redacted};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, Process, TestBlueprint, TestGroup, Trouble, World};

fn web() -> TestBlueprint {
    let head = TestGroup { follows: vec!["web"], ..TestGroup::new("head", 1) };
    TestBlueprint::new(vec![head, TestGroup { needs: vec!["head"], ..TestGroup::new("web", 2) }])
}

fn to(number: u32) -> BTreeMap<GroupName, u32> {
    BTreeMap::from([(GroupName::new("web").unwrap(), number)])
}

async fn scale(process: &Process, number: u32) -> Outcome {
    process.engine.scale(to(number)).await;
    process.up(&web()).await.unwrap()
}

#[tokio::test]
async fn a_number_is_kept_by_later_runs() {
    let world = World::new();
    world.up(&web()).await;
    let outcome = scale(&world.process(), 4).await;
    assert_eq!((outcome.exit, outcome.total()), (Exit::Done, 5));
    assert_eq!(world.store.cluster(&web().cluster).await.unwrap().unwrap().scaled, to(4));
    assert_eq!(world.up(&web()).await.total(), 5, "`up` keeps the number");
    let outcome = scale(&world.process(), 1).await;
    let gone: Vec<&str> = outcome.removed.iter().map(muster_types::NodeName::as_str).collect();
    assert_eq!((outcome.exit, gone), (Exit::Done, vec!["web-2", "web-3", "web-4"]), "the highest numbers go");
    world.assert_true_to(&web().with(|groups| groups[1].count = 1)).await;
}

#[tokio::test]
async fn nothing_is_written_before_the_plan_is_carried_out() {
    let world = World::new();
    world.up(&web()).await;
    let process = world.process();
    process.engine.lease(&web().cluster).await.unwrap();
    process.engine.scale(to(1)).await;
    let plan = process.engine.plan(&web()).await.unwrap();
    assert_eq!(plan.summary().remove, 1, "{plan}");
    assert_eq!(process.engine.numbers(&web()).await.unwrap()[&GroupName::new("web").unwrap()], 2);
    process.engine.release().await.unwrap();
    assert_eq!(world.up(&web()).await.total(), 3);
}

#[tokio::test]
async fn a_run_that_dies_anywhere_ends_the_same_when_it_is_repeated_or_carried_on() {
    for (call, again) in (1..200).flat_map(|call| [(call, true), (call, false)]) {
        let world = World::new();
        world.up(&web()).await;
        let life = Mortality::at(call, Edge::After);
        let process = world.process_with(&life, |_| {});
        let died = tokio::select! {
            () = life.died() => true,
            outcome = scale(&process, 4) => {
                assert_eq!(outcome.exit, Exit::Done);
                false
            }
        };
        if !died {
            assert!(call > 20, "only {call} calls");
            return;
        }
        drop(process);
        let was_written = world.store.cluster(&web().cluster).await.unwrap().unwrap().scaled == to(4);
        let wanted = if again {
            scale(&world.process(), 4).await;
            4
        } else {
            world.up(&web()).await;
            if was_written { 4 } else { 2 }
        };
        world.assert_true_to(&web().with(|groups| groups[1].count = wanted)).await;
    }
    panic!("the run never ended");
}

#[tokio::test]
async fn secrets_leave_neither_by_events_nor_by_records_nor_by_the_account() {
    let world = World::new();
    world.agents.trouble("head-1", Trouble::FailStep, 1);
    // What the agents of these tests say, and what fails.
    let redact = ["some words", "the command failed"].map(|text| Redacted::new(text.to_owned())).to_vec();
    let mut process = world.process_with(&Mortality::default(), |config| config.redact = redact);
    let plan = process.engine.plan(&web()).await.unwrap();
    let outcome = process.engine.up(&web(), plan, CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.nodes[0].reason, "runcmd[0] failed: <secret> (exit code 1)");
    let told = process.told();
    let stored = world.store.events(&web().cluster, 1000).await.unwrap();
    let records = world.records(&web()).await;
    let all = format!("{told:?} {stored:?} {outcome:?} {records:?}");
    assert!(!all.contains("some words") && !all.contains("the command failed"), "{all}");
    assert!(told.iter().any(|body| matches!(body, EventBody::Output { text, .. } if text == "<secret>\n")));
}
