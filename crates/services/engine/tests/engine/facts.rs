//! What nodes say of themselves.

use muster_engine::Exit;
use muster_provider::MachineState;

use crate::support::{TestBlueprint, TestGroup, Trouble, World, name};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

async fn cpus(world: &World, blueprint: &TestBlueprint, node: &str) -> Option<u32> {
    let records = world.records(blueprint).await;
    let record = records.into_iter().find(|record| record.name == name(node)).unwrap();
    record.facts.map(|facts| facts.cpus)
}

#[tokio::test]
async fn what_a_node_says_when_it_joins_is_recorded_and_news_are_written_alone() {
    let (world, blueprint) = (World::new(), web(2));
    world.up(&blueprint).await;
    assert_eq!(cpus(&world, &blueprint, "web-1").await, Some(0));
    world.agents.set_cpus("web-1", 8);
    let revisions = |records: Vec<muster_store::NodeRecord>| -> Vec<_> { records.iter().map(|r| r.revision).collect() };
    let before = revisions(world.records(&blueprint).await);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(cpus(&world, &blueprint, "web-1").await, Some(8));
    let after = revisions(world.records(&blueprint).await);
    assert_eq!((after[0], after[1]), (before[0] + 1, before[1]), "what is not new is not written");
}

#[tokio::test]
async fn a_silent_agent_does_not_make_its_facts_vanish_and_a_new_machine_does() {
    let (world, blueprint) = (World::new(), web(1));
    world.up(&blueprint).await;
    world.agents.set_cpus("web-1", 8);
    world.up(&blueprint).await;
    world.agents.trouble("web-1", Trouble::Silence, 3);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(cpus(&world, &blueprint, "web-1").await, Some(8));
    let machine = world.cloud.machines().remove(0).id;
    world.cloud.crash(&machine, MachineState::Stopped, "");
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(cpus(&world, &blueprint, "web-1").await, Some(8));
    world.cloud.vanish(&machine);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(cpus(&world, &blueprint, "web-1").await, Some(0));
}
