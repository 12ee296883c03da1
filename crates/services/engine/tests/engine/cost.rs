//! What a run costs: nothing for what did not change.

use muster_engine::Exit;
use muster_provider::fake::Operation;
use muster_store::Store as _;

use crate::support::{Mortality, TestBlueprint, TestGroup, World};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

/// The calls of one `up`, by kind.
async fn calls(world: &World, blueprint: &TestBlueprint) -> Vec<(&'static str, usize)> {
    let life = Mortality::default();
    let process = world.process_with(&life, |_| {});
    assert_eq!(process.up(blueprint).await.unwrap().exit, Exit::Done);
    let mut calls = life.calls();
    calls.sort_unstable();
    let counts = calls.chunk_by(|a, b| a == b).map(|same| (same[0], same.len()));
    counts.collect()
}

#[tokio::test]
async fn a_run_without_changes_asks_once_and_writes_only_its_log() {
    let world = World::new();
    world.up(&web(100)).await;
    let expected = [
        ("acquire", 1),
        ("agent status", 100),
        ("append events", 1),
        ("cluster", 1),
        ("list", 1),
        ("nodes", 1),
        ("open intents", 1),
    ];
    assert_eq!(calls(&world, &web(100)).await, expected);
}

#[tokio::test]
async fn adding_one_node_costs_the_same_for_one_and_for_many() {
    let (few, many) = (World::new(), World::new());
    few.up(&web(1)).await;
    many.up(&web(100)).await;
    let asked = |calls: Vec<(&'static str, usize)>| -> Vec<_> {
        calls.into_iter().filter(|(what, _)| *what != "agent status").collect()
    };
    let one = asked(calls(&few, &web(2)).await);
    let other = asked(calls(&many, &web(101)).await);
    assert_eq!(one, other);
    assert!(one.contains(&("apply", 1)) && one.contains(&("create", 1)), "{one:?}");
    assert_eq!(many.agents.memory_of("web-7").asked_to_apply, 1);
    assert_eq!(many.cloud.calls_of(Operation::Create).len(), 101);
}

#[tokio::test]
async fn writes_of_many_nodes_share_transactions() {
    let world = World::new();
    let before = world.store.transactions();
    world.up(&web(100)).await;
    let transactions = world.store.transactions() - before;
    // Three writes and an intent each would be four hundred on their own.
    assert!(transactions < 200, "{transactions} transactions");
    let before = world.store.transactions();
    world.down(&web(100)).await;
    let transactions = world.store.transactions() - before;
    assert!(transactions < 40, "{transactions} transactions");
    assert_eq!(world.store.clusters().await.unwrap(), []);
}
