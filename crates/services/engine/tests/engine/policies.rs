//! What a group's failure policy makes of a failure, and what a failure costs the others: nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_api::EventBody;
use muster_engine::{Exit, Outcome};
use muster_plan::{Policy, Verb};
use muster_provider::fake::{Fault, Operation};
use muster_spec::OnFailure;
use muster_store::Store as _;
use muster_types::{GroupName, MachineId, NodeName, Phase};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::sim::{SimWorld, simulate};
use crate::support::{TestBlueprint, TestGroup, Trouble, World, name};

fn web(count: u32, on_failure: OnFailure) -> TestBlueprint {
    let head = TestGroup { follows: vec!["web"], ..TestGroup::new("head", 1) };
    let web = TestGroup { needs: vec!["head"], drained_by: Some("head"), on_failure, ..TestGroup::new("web", count) };
    TestBlueprint::new(vec![head, web])
}

fn machines(world: &World) -> BTreeMap<NodeName, MachineId> {
    world.cloud.machines().into_iter().map(|machine| (machine.name, machine.id)).collect()
}

#[tokio::test]
async fn a_rollback_takes_away_what_the_run_added_and_nothing_else() {
    let world = World::new();
    world.up(&web(2, OnFailure::Rollback)).await;
    let before = machines(&world);
    world.agents.trouble("web-4", Trouble::FailStep, 1);
    let outcome = world.up(&web(5, OnFailure::Rollback)).await;
    assert_eq!((outcome.exit, outcome.ready(), outcome.total()), (Exit::Partly, 3, 6), "{outcome:?}");
    assert_eq!(machines(&world), before, "what was there is there, and nothing else");
    let failed = &outcome.nodes[4];
    assert_eq!(
        (failed.phase, failed.step.as_deref(), failed.log.as_slice()),
        (Phase::Failed, Some("runcmd[0]"), &["oh no".to_owned()][..])
    );
    assert!(failed.reason.ends_with("(exit code 1); what this run added was rolled back"), "{}", failed.reason);
    assert!(failed.hint.contains("then run `muster up` again"), "{}", failed.hint);
    for index in [3, 5] {
        let taken = &outcome.nodes[index];
        assert_eq!((taken.phase, taken.reason.as_str()), (Phase::Planned, "rolled back, because web-4 failed"));
    }
    // The others have been told, and told again.
    assert!(!world.agents.memory_of("head-1").document.contains("web-3~"));
    assert!(world.agents.ran().contains(&"head-1: drain web-3".to_owned()), "{:?}", world.agents.ran());
    world.assert_true_to(&web(2, OnFailure::Rollback)).await;
    assert_eq!(world.up(&web(5, OnFailure::Rollback)).await.exit, Exit::Done);
    world.assert_true_to(&web(5, OnFailure::Rollback)).await;
}

#[tokio::test]
async fn a_rollback_of_a_first_run_leaves_the_other_groups() {
    let world = World::new();
    world.cloud.inject_for(&name("web-1"), Operation::WaitRunning, Fault::FailBoot, 1);
    let outcome = world.up(&web(2, OnFailure::Rollback)).await;
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 1), "{outcome:?}");
    assert_eq!(machines(&world).into_keys().collect::<Vec<_>>(), [name("head-1")]);
    assert_eq!(world.up(&web(2, OnFailure::Rollback)).await.exit, Exit::Done);
}

#[tokio::test]
async fn a_rolled_back_scaling_is_forgotten() {
    let world = World::new();
    let blueprint = web(2, OnFailure::Rollback);
    world.up(&blueprint).await;
    world.agents.trouble("web-3", Trouble::FailCheck, 1);
    let process = world.process();
    process.engine.scale(BTreeMap::from([(GroupName::new("web").unwrap(), 3)])).await;
    assert_eq!(process.up(&blueprint).await.unwrap().exit, Exit::Partly);
    drop(process);
    assert_eq!(world.store.cluster(&blueprint.cluster).await.unwrap().unwrap().scaled, BTreeMap::new());
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn what_failed_on_a_node_that_was_there_takes_only_new_ones_away() {
    let world = World::new();
    world.up(&web(2, OnFailure::Rollback)).await;
    let before = machines(&world);
    world.agents.trouble("web-1", Trouble::FailStep, 1);
    let outcome = world.up(&web(3, OnFailure::Rollback).with(|groups| groups[1].motd = "new")).await;
    assert_eq!(outcome.exit, Exit::Partly, "{outcome:?}");
    assert_eq!(machines(&world), before);
    let phases: Vec<Phase> = outcome.nodes.iter().map(|node| node.phase).collect();
    assert_eq!(phases, [Phase::Ready, Phase::Failed, Phase::Ready, Phase::Planned]);
}

/// `head` was ready, and fails when it is told of a new node.
async fn follower_fails(policy: OnFailure) -> (World, TestBlueprint, Outcome) {
    let world = World::new();
    let blueprint = web(2, OnFailure::Keep).with(|groups| groups[0].on_failure = policy);
    world.up(&blueprint.with(|groups| groups[1].count = 1)).await;
    world.agents.trouble("head-1", Trouble::FailStep, 1);
    let outcome = world.up(&blueprint).await;
    (world, blueprint, outcome)
}

#[tokio::test]
async fn a_follower_that_fails_has_the_policy_of_its_group() {
    let (world, blueprint, outcome) = follower_fails(OnFailure::Keep).await;
    assert_eq!((outcome.exit, outcome.nodes[0].phase), (Exit::Partly, Phase::Failed), "{outcome:?}");
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    let (world, blueprint, outcome) = follower_fails(OnFailure::Retry(1)).await;
    assert_eq!((outcome.exit, world.cloud.made().len()), (Exit::Done, 3), "{outcome:?}");
    world.assert_true_to(&blueprint).await;
    let (world, blueprint, outcome) = follower_fails(OnFailure::Replace).await;
    assert_eq!((outcome.exit, world.cloud.made().len()), (Exit::Done, 4), "{outcome:?}");
    world.assert_true_to(&blueprint).await;
}

/// What is told of a run of twenty nodes of which one meets trouble, with the time at which it is told.
fn one_of_twenty(trouble: Trouble) -> (Outcome, Vec<(Duration, EventBody)>) {
    simulate(async {
        let limit = Duration::from_mins(10);
        let blueprint = TestBlueprint::new(vec![TestGroup { timeout: limit, ..TestGroup::new("web", 20) }]);
        let world = SimWorld::new(1, blueprint.cluster.clone());
        world.agents.trouble("web-7", trouble, 1);
        let mut process = world.process(None, Policy::default());
        let start = Instant::now();
        let plan = process.engine.plan(&blueprint).await.unwrap();
        let run = process.engine.up(&blueprint, plan, CancellationToken::new());
        let listen = async {
            let mut told = Vec::new();
            while !matches!(told.last(), Some((_, EventBody::RunFinished { .. }))) {
                told.push((start.elapsed(), process.events.recv().await.unwrap().body));
            }
            told
        };
        let (outcome, told) = tokio::join!(run, listen);
        (outcome.unwrap(), told)
    })
}

/// When the last of the healthy nodes was ready, and when the ill one came to its end.
fn ends(told: &[(Duration, EventBody)], end: Phase) -> (Duration, Duration) {
    let of = |phase: Phase, is_ill: bool| {
        let ends = told.iter().filter(move |(_, body)| matches!(body, EventBody::Phase { node, phase: at, .. } if *at == phase && (node.as_str() == "web-7") == is_ill));
        ends.map(|(at, _)| *at).max().unwrap()
    };
    (of(Phase::Ready, false), of(end, true))
}

#[test]
fn one_of_twenty_that_fails_costs_the_others_nothing() {
    let (outcome, told) = one_of_twenty(Trouble::FailStep);
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 19), "{outcome:?}");
    let ill = outcome.nodes.iter().find(|node| node.phase != Phase::Ready).unwrap();
    assert_eq!((ill.name.as_str(), ill.step.as_deref()), ("web-7", Some("runcmd[0]")));
    assert_eq!(ill.log, ["oh no"]);
    assert!(ill.hint.contains("`muster logs web-7`") && ill.hint.contains("`muster up`"), "{}", ill.hint);
    let (healthy, ended) = ends(&told, Phase::Failed);
    let all = told.last().unwrap().0;
    assert!(
        all < healthy.max(ended) + Duration::from_millis(50),
        "the run ends with its last node: {all:?}, {healthy:?}"
    );
}

#[test]
fn one_of_twenty_that_hangs_is_waited_for_alone() {
    let (outcome, told) = one_of_twenty(Trouble::HangStep);
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 19), "{outcome:?}");
    let ill = outcome.nodes.iter().find(|node| node.phase != Phase::Ready).unwrap();
    assert_eq!((ill.name.as_str(), ill.step.as_deref(), ill.timed_out), ("web-7", Some("runcmd[0]"), true));
    assert_eq!(ill.reason, "its configuration took longer than 600 s, in runcmd[0]");
    assert_eq!(ill.log, ["some words"]);
    let (healthy, ended) = ends(&told, Phase::Failed);
    assert!(healthy < Duration::from_secs(30) && ended > Duration::from_mins(10), "{healthy:?}, {ended:?}");
}

#[test]
fn one_of_twenty_that_reboots_in_the_middle_goes_on() {
    let (outcome, told) = one_of_twenty(Trouble::Reboot);
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Done, 20), "{outcome:?}");
    let (healthy, ill) = ends(&told, Phase::Ready);
    assert!(healthy < ill, "nobody waited for it: {healthy:?}, {ill:?}");
    assert!(outcome.nodes.iter().all(|node| node.verb == Verb::Create));
}
