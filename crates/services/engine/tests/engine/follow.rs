//! Nodes whose files speak of others, and others that come and go.

use muster_api::EventBody;
use muster_engine::Exit;
use muster_plan::{Policy, Verb};
use muster_provider::fake::{Fault, Gate, Operation};
use muster_types::Phase;

use crate::support::{Mortality, TestBlueprint, TestGroup, Trouble, Wants, World, name};

/// The head is told of the nodes that have joined; they need it.
fn cluster(work: u32) -> TestBlueprint {
    let head = TestGroup { follows: vec!["work"], ..TestGroup::new("head", 1) };
    let work = TestGroup { needs: vec!["head"], wants: Wants::Group("head"), ..TestGroup::new("work", work) };
    TestBlueprint::new(vec![head, work, TestGroup::new("other", 2)])
}

fn told(world: &World, node: &str) -> Vec<String> {
    let document = world.agents.memory_of(node).document;
    document.split_whitespace().filter_map(|word| Some(word.split_once('~')?.0.to_owned())).collect()
}

#[tokio::test]
async fn a_head_is_ready_before_there_are_nodes_and_knows_all_in_the_end() {
    let (world, blueprint) = (World::new(), cluster(8));
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(told(&world, "head-1").len(), 8);
    let applied = world.agents.memory_of("head-1").asked_to_apply;
    assert!((2..=4).contains(&applied), "many that join together are taken in together: {applied}");
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn scaling_a_hundred_by_one_touches_the_new_node_and_who_speaks_of_it() {
    let world = World::new();
    world.up(&cluster(100)).await;
    let before = world.agents.asked_to_apply();
    let plan = world.plan(&cluster(101)).await;
    assert_eq!((plan.summary().create, plan.summary().configure, plan.summary().keep), (1, 1, 102), "{plan}");
    assert_eq!(plan.actions()[0].reason, "its files speak of work-101, which is new");
    let outcome = world.up(&cluster(101)).await;
    assert_eq!(outcome.exit, Exit::Done);
    assert_eq!(world.agents.asked_to_apply() - before, 2);
    assert_eq!(told(&world, "head-1").len(), 101);
    let touched: Vec<_> = outcome.nodes.iter().filter(|node| node.verb != Verb::Keep).collect();
    assert_eq!((touched[0].name.as_str(), touched[0].verb), ("head-1", Verb::Configure));
    assert_eq!((touched[1].name.as_str(), touched[1].verb), ("work-101", Verb::Create));
    assert_eq!(touched.len(), 2);
    let counts = outcome.counts();
    assert_eq!((counts.created, counts.configured, counts.kept, counts.touched()), (1, 1, 102, 2));
    assert_eq!(touched[0].why, "its files speak of work-101, which is new");
    world.assert_true_to(&cluster(101)).await;
}

#[tokio::test]
async fn those_that_leave_are_left_out_before_their_machines_go() {
    let world = World::new();
    world.up(&cluster(4)).await;
    let plan = world.plan(&cluster(2)).await;
    assert_eq!(plan.actions()[0].reason, "its files speak of work-3 and work-4, which leave", "{plan}");
    let gate = Gate::new();
    world.cloud.inject(Operation::Destroy, Fault::Hold(gate.clone()), 2);
    let watch = async {
        gate.arrived(2).await;
        assert_eq!(told(&world, "head-1"), ["work-1", "work-2"]);
        gate.open();
    };
    let smaller = cluster(2);
    let (outcome, ()) = tokio::join!(world.up(&smaller), watch);
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Done, 2), "{outcome:?}");
    assert_eq!(world.agents.memory_of("work-1").asked_to_apply, 1);
    world.assert_true_to(&smaller).await;
}

#[tokio::test]
async fn a_node_is_configured_after_those_that_it_needs_know_of_it() {
    let world = World::new();
    world.up(&cluster(1)).await;
    let mut process = world.process();
    process.up(&cluster(2)).await.unwrap();
    let told = process.told();
    let at = |node: &str, wanted: Phase| {
        let is = |body: &EventBody| matches!(body, EventBody::Phase { node: of, phase, waiting_for, .. } if *of == name(node) && *phase == wanted && waiting_for.is_empty());
        told.iter().position(is).unwrap()
    };
    assert!(at("head-1", Phase::Ready) < at("work-2", Phase::Configuring));
    let waits = |body: &EventBody| matches!(body, EventBody::Phase { node, waiting_for, .. } if *node == name("work-2") && waiting_for == "head-1 to take it in");
    assert!(told.iter().any(waits));
}

#[tokio::test]
async fn a_head_that_cannot_take_a_node_in_is_named_by_it_and_the_next_run_goes_on() {
    let world = World::new();
    world.up(&cluster(1)).await;
    world.agents.trouble("head-1", Trouble::FailStep, 1);
    let outcome = world.up(&cluster(2)).await;
    assert_eq!(outcome.exit, Exit::Partly);
    let reason = |node: &str| outcome.nodes.iter().find(|found| found.name == name(node)).unwrap().reason.clone();
    assert!(reason("head-1").starts_with("runcmd[0] failed"), "{outcome:?}");
    assert!(reason("work-2").starts_with("head-1 could not take it in: runcmd[0] failed"), "{outcome:?}");
    assert_eq!(reason("work-1"), "");
    assert_eq!(world.up(&cluster(2)).await.exit, Exit::Done);
    world.assert_true_to(&cluster(2)).await;
}

#[tokio::test]
async fn a_machine_stays_while_somebody_speaks_of_it() {
    let world = World::new();
    world.up(&cluster(2)).await;
    world.agents.trouble("head-1", Trouble::FailStep, 1);
    let outcome = world.up(&cluster(1)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Partly, 0), "{outcome:?}");
    assert!(outcome.leftovers[0].contains("head-1 could not take in that it leaves"), "{outcome:?}");
    assert_eq!(world.up(&cluster(1)).await.exit, Exit::Done);
    world.assert_true_to(&cluster(1)).await;
}

#[tokio::test]
async fn a_node_that_gets_another_machine_is_left_out_meanwhile() {
    let world = World::new();
    world.up(&cluster(2)).await;
    let policy = Policy { replace: [name("work-2")].into(), ..Policy::default() };
    let process = world.process_with(&Mortality::default(), |config| config.policy = policy);
    let plan = process.engine.plan(&cluster(2)).await.unwrap();
    assert_eq!(plan.actions()[0].reason, "its files speak of work-2, which gets another machine", "{plan}");
    let before = world.agents.memory_of("head-1").asked_to_apply;
    assert_eq!(process.up(&cluster(2)).await.unwrap().exit, Exit::Done);
    assert_eq!(world.agents.memory_of("head-1").asked_to_apply - before, 2, "without it, then with it again");
    world.assert_true_to(&cluster(2)).await;
}

#[tokio::test]
async fn facts_that_change_reach_those_who_speak_of_them() {
    let world = World::new();
    world.up(&cluster(2)).await;
    world.agents.set_cpus("work-2", 16);
    assert_eq!(world.up(&cluster(2)).await.exit, Exit::Done);
    assert!(world.agents.memory_of("head-1").document.contains("/16"));
    world.assert_true_to(&cluster(2)).await;
}

#[tokio::test]
async fn who_follows_and_is_not_concerned_is_kept() {
    let world = World::new();
    world.up(&cluster(2)).await;
    let more = cluster(2).with(|groups| groups[2].count = 3);
    let outcome = world.up(&more).await;
    assert_eq!(outcome.nodes[0].verb, Verb::Keep, "{outcome:?}");
    assert_eq!(world.up(&more).await.exit, Exit::Done);
    let fails = cluster(3).with(|groups| groups[2].count = 3);
    world.cloud.inject(Operation::Create, Fault::Refuse(muster_provider::Status::Permanent), 1);
    let outcome = world.up(&fails).await;
    assert_eq!(outcome.exit, Exit::Partly);
    assert_eq!(outcome.nodes[0].verb, Verb::Keep, "it was to change and did not: {outcome:?}");
}

#[tokio::test]
async fn followers_that_are_replaced_together_do_not_wait_for_each_other() {
    let left = TestGroup { follows: vec!["right"], ..TestGroup::new("left", 1) };
    let right = TestGroup { follows: vec!["left"], needs: vec!["left"], ..TestGroup::new("right", 1) };
    let blueprint = TestBlueprint::new(vec![left, right]);
    let world = World::new();
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    let larger = blueprint.with(|groups| groups.iter_mut().for_each(|group| group.machine = "large"));
    assert_eq!(world.up(&larger).await.exit, Exit::Done);
    world.assert_true_to(&larger).await;
    // One that waits for the other to be ready, and that other for nobody.
    let mixed = larger.with(|groups| {
        groups[0].machine = "huge";
        groups[1].motd = "new";
    });
    assert_eq!(world.up(&mixed).await.exit, Exit::Done);
    world.assert_true_to(&mixed).await;
}
