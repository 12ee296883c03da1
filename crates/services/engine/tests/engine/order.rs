//! Who starts when.

use muster_engine::Exit;
use muster_provider::fake::{Fault, Gate, Operation};
use muster_types::Phase;

use crate::support::{TestBlueprint, TestGroup, Wants, World, name};

#[tokio::test]
async fn a_node_starts_when_its_own_needs_are_ready_and_not_a_whole_level() {
    let world = World::new();
    let slow = TestGroup::new("slow", 1);
    let quick = TestGroup::new("quick", 1);
    let after_slow = TestGroup { needs: vec!["slow"], ..TestGroup::new("late", 1) };
    let after_quick = TestGroup { needs: vec!["quick"], ..TestGroup::new("early", 2) };
    let blueprint = TestBlueprint::new(vec![slow, quick, after_slow, after_quick]);
    let (slow_gate, early_gate) = (Gate::new(), Gate::new());
    world.cloud.inject_for(&name("slow-1"), Operation::Create, Fault::Hold(slow_gate.clone()), 1);
    world.cloud.inject_for(&name("early-2"), Operation::Create, Fault::Hold(early_gate.clone()), 1);
    let watch = async {
        slow_gate.arrived(1).await;
        // It gets there although `slow` hangs, and `late` does not.
        early_gate.arrived(1).await;
        let asked: Vec<String> = world
            .cloud
            .calls_of(Operation::Create)
            .iter()
            .map(|call| call.name.as_ref().unwrap().to_string())
            .collect();
        assert!(asked.contains(&"early-2".to_owned()) && !asked.contains(&"late-1".to_owned()), "{asked:?}");
        early_gate.open();
        slow_gate.open();
    };
    let (outcome, ()) = tokio::join!(world.up(&blueprint), watch);
    assert_eq!(outcome.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn no_more_machines_are_at_work_than_the_provider_takes() {
    let world = World::new();
    let claims = muster_provider::Provider::capabilities(&world.cloud.provider());
    world.cloud.set_capabilities(muster_provider::Capabilities { concurrency_max: 3, ..claims });
    world.cloud.inject(Operation::Create, Fault::Delay(std::time::Duration::from_millis(2)), 12);
    let blueprint = TestBlueprint::new(vec![TestGroup::new("web", 12)]);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(world.cloud.most_at_once(Operation::Create), 3);
}

#[tokio::test]
async fn an_address_that_can_never_come_is_said_and_not_waited_for() {
    let world = World::new();
    // `head` is told the addresses of `work`, which starts only after `head` is ready.
    let head = TestGroup { wants: Wants::Group("work"), ..TestGroup::new("head", 1) };
    let work = TestGroup { needs: vec!["head"], ..TestGroup::new("work", 2) };
    let blueprint = TestBlueprint::new(vec![head, work]);
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Failed);
    let reason = &outcome.nodes[0].reason;
    let expected = "needs the address of work-1, which starts only after group head is ready (work needs head)";
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(outcome.nodes[1].phase, Phase::Planned);
}

#[tokio::test]
async fn an_address_that_can_never_come_by_way_of_others_is_found_too() {
    let world = World::new();
    // head → address of work; work needs store; store → address of tail; tail needs head.
    let head = TestGroup { wants: Wants::Group("work"), ..TestGroup::new("head", 1) };
    let work = TestGroup { needs: vec!["store"], ..TestGroup::new("work", 1) };
    let store = TestGroup { wants: Wants::Group("tail"), ..TestGroup::new("store", 1) };
    let tail = TestGroup { needs: vec!["head"], ..TestGroup::new("tail", 1) };
    let blueprint = TestBlueprint::new(vec![head, work, store, tail]);
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Partly, "{outcome:?}");
    let expected = "starts only after group store is ready (tail needs head needs work needs store)";
    assert!(outcome.nodes[2].reason.contains(expected), "{outcome:?}");
    assert_eq!(outcome.nodes[1].phase, Phase::Planned);
}

#[tokio::test]
async fn groups_that_speak_of_each_other_are_configured_late() {
    let world = World::new();
    let left = TestGroup { wants: Wants::Group("right"), ..TestGroup::new("left", 2) };
    let right = TestGroup { wants: Wants::Group("left"), ..TestGroup::new("right", 2) };
    let blueprint = TestBlueprint::new(vec![left, right]);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}
