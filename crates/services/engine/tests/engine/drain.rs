//! Nodes that leave, and what is still going on on them.

use std::time::Duration;

use muster_api::EventBody;
use muster_engine::{Drain, EngineConfig, Exit, Outcome};
use muster_provider::fake::{Fault, Gate, Operation};
use muster_types::{NodeName, Phase};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, TestBlueprint, TestGroup, Trouble, Wants, World, name};

fn cluster(work: u32) -> TestBlueprint {
    let head = TestGroup { follows: vec!["work"], ..TestGroup::new("head", 1) };
    let work = TestGroup {
        needs: vec!["head"],
        wants: Wants::Group("head"),
        drained_by: Some("head"),
        ..TestGroup::new("work", work)
    };
    TestBlueprint::new(vec![head, work])
}

async fn built(work: u32) -> World {
    let world = World::new();
    assert_eq!(world.up(&cluster(work)).await.exit, Exit::Done);
    assert_eq!(world.agents.ran(), [""; 0]);
    world
}

async fn up_with(world: &World, work: u32, adjust: impl FnOnce(&mut EngineConfig)) -> Outcome {
    world.process_with(&Mortality::default(), adjust).up(&cluster(work)).await.unwrap()
}

async fn phase_of(world: &World, node: &NodeName) -> (Phase, String) {
    let records = world.records(&cluster(2)).await;
    let record = records.into_iter().find(|record| record.name == *node).unwrap();
    (record.phase, record.reason)
}

#[tokio::test]
async fn a_node_is_drained_then_left_out_then_removed() {
    let world = built(3).await;
    let gate = Gate::new();
    world.cloud.inject(Operation::Destroy, Fault::Hold(gate.clone()), 1);
    let watch = async {
        gate.arrived(1).await;
        // The hook ran while the head still knew the node: elsewhere it would have failed.
        assert_eq!(world.agents.ran(), ["head-1: drain work-3"]);
        assert!(!world.agents.memory_of("head-1").document.contains("work-3"));
        assert_eq!(phase_of(&world, &name("work-3")).await.0, Phase::Removing);
        gate.open();
    };
    let mut process = world.process();
    let blueprint = cluster(2);
    let (outcome, ()) = tokio::join!(process.up(&blueprint), watch);
    assert_eq!(outcome.unwrap().exit, Exit::Done);
    let told = process.told();
    let says = |body: &EventBody| matches!(body, EventBody::Output { node, step, text, .. } if *node == name("work-3") && step == "drain" && text == "done");
    assert!(told.iter().any(says));
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_ended_and_keeps_the_node() {
    let world = built(3).await;
    world.agents.trouble("head-1", Trouble::HangHook, 1);
    let outcome = up_with(&world, 2, |config| config.drain = Drain::Within(Duration::from_millis(50))).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Partly, 0), "{outcome:?}");
    let left = outcome.nodes.iter().find(|node| node.name == name("work-3")).unwrap();
    let expected = "its drain hook on head-1 did not end within 0.05 s: job 12 of alice holds it";
    assert_eq!((left.phase, left.reason.as_str(), left.timed_out), (Phase::Failed, expected, true));
    assert_eq!(left.log, ["job 12 of alice holds it"]);
    assert!(left.hint.contains("--drain-timeout") && left.hint.contains("--no-drain"), "{}", left.hint);
    assert_eq!(world.agents.running(), 0, "the hook does not go on");
    assert_eq!(phase_of(&world, &name("work-3")).await, (Phase::Draining, expected.to_owned()));
    assert!(world.agents.memory_of("head-1").document.contains("work-3"), "it is there, so it is spoken of");
    assert_eq!(world.up(&cluster(2)).await.exit, Exit::Done);
    world.assert_true_to(&cluster(2)).await;
}

#[tokio::test]
async fn a_hook_that_fails_keeps_the_node_unless_it_is_left_out() {
    let world = built(2).await;
    world.agents.trouble("head-1", Trouble::FailHook, 1);
    let outcome = world.up(&cluster(1)).await;
    assert_eq!(outcome.exit, Exit::Partly);
    assert!(outcome.leftovers[0].ends_with("failed (exit code 1): the database is away"), "{outcome:?}");
    let outcome = up_with(&world, 1, |config| config.drain = Drain::Skip).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Done, 1));
    assert_eq!(world.agents.ran().len(), 1);
    world.assert_true_to(&cluster(1)).await;
}

#[tokio::test]
async fn a_node_that_stays_after_all_is_resumed() {
    let world = built(2).await;
    world.agents.trouble("head-1", Trouble::FailHook, 2);
    world.up(&cluster(1)).await;
    let plan = world.plan(&cluster(2)).await;
    let action = plan.actions().iter().find(|action| action.node == name("work-2")).unwrap();
    assert_eq!(action.reason, "it was to leave, and is to stay");
    assert_eq!(world.up(&cluster(2)).await.exit, Exit::Partly, "a failed resume is tried again");
    assert_eq!(world.up(&cluster(2)).await.exit, Exit::Done);
    let expected = ["head-1: drain work-2", "head-1: resume work-2", "head-1: resume work-2"];
    assert_eq!(world.agents.ran(), expected);
    world.assert_true_to(&cluster(2)).await;
}

#[tokio::test]
async fn one_that_was_drained_is_not_drained_again() {
    let world = built(2).await;
    let gate = Gate::new();
    world.cloud.inject(Operation::Destroy, Fault::Hold(gate.clone()), 1);
    let process = world.process();
    let blueprint = cluster(1);
    let plan = process.engine.plan(&blueprint).await.unwrap();
    let token = CancellationToken::new();
    let watch = async {
        gate.arrived(1).await;
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(process.engine.up(&blueprint, plan, token.clone()), watch);
    assert_eq!(outcome.unwrap().exit, Exit::Interrupted);
    gate.open();
    drop(process);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(world.agents.ran().len(), 1);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn a_node_that_gets_another_machine_is_drained_and_one_that_never_joined_is_not() {
    let world = built(1).await;
    let larger = cluster(1).with(|groups| groups[1].machine = "large");
    assert_eq!(world.up(&larger).await.exit, Exit::Done);
    assert_eq!(world.agents.ran(), ["head-1: drain work-1"]);
    world.assert_true_to(&larger).await;
    world.cloud.inject_for(&name("work-2"), Operation::WaitRunning, Fault::FailBoot, 1);
    let more = larger.with(|groups| groups[1].count = 2);
    assert_eq!(world.up(&more).await.exit, Exit::Partly);
    assert_eq!(world.up(&larger).await.exit, Exit::Done);
    assert_eq!(world.agents.ran().len(), 1);
    world.assert_true_to(&larger).await;
    assert_eq!(world.down(&larger).await.exit, Exit::Done);
    assert_eq!(world.agents.ran().len(), 1, "`down` drains nothing");
}

#[tokio::test]
async fn a_hook_is_run_again_when_its_connection_breaks_and_given_up_when_nobody_answers() {
    let world = built(2).await;
    world.agents.trouble("head-1", Trouble::Silence, 1);
    let smaller = cluster(1);
    assert_eq!(world.up(&smaller).await.exit, Exit::Done);
    let world = built(2).await;
    let head = world.cloud.machines().into_iter().find(|machine| machine.name == name("head-1")).unwrap();
    let process = world.process_with(&Mortality::default(), |config| config.limits.reach = Duration::from_millis(50));
    process.engine.lease(&smaller.cluster).await.unwrap();
    let plan = process.engine.plan(&smaller).await.unwrap();
    world.cloud.crash(&head.id, muster_provider::MachineState::Stopped, "");
    let outcome = process.engine.up(&smaller, plan, CancellationToken::new());
    let outcome = tokio::time::timeout(Duration::from_secs(20), outcome).await.unwrap().unwrap();
    assert!(outcome.leftovers[0].contains("no node can run its drain hook: head-1: no route to host"), "{outcome:?}");
}
