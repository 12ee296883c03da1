//! What `status` says of clusters in all states.

use muster_api::{NodeStatus, StatusDocument};
use muster_provider::MachineState;
use muster_types::Phase;

use crate::support::{TestBlueprint, TestGroup, Trouble, World};

async fn status(world: &World, blueprint: &TestBlueprint) -> StatusDocument {
    world.process().engine.status(&blueprint.cluster).await.unwrap()
}

fn line(node: &NodeStatus) -> String {
    format!("{} {} {}", node.name, node.phase, node.reason)
}

#[tokio::test]
async fn every_node_is_told_as_it_is_now() {
    let needy = TestGroup { needs: vec!["web"], ..TestGroup::new("zz", 1) };
    let blueprint = TestBlueprint::new(vec![TestGroup::new("web", 11), needy]);
    let world = World::new();
    assert_eq!(status(&world, &blueprint).await.nodes, []);
    world.agents.trouble("web-4", Trouble::FailStep, 1);
    world.up(&blueprint).await;
    let machine = |node: &str| world.cloud.machines().into_iter().find(|found| found.name.as_str() == node).unwrap().id;
    let provider = world.cloud.provider();
    muster_provider::Provider::stop(&provider, &machine("web-1")).await.unwrap();
    muster_provider::Faults::pause(&provider, &machine("web-2")).await.unwrap();
    world.cloud.crash(&machine("web-3"), MachineState::Failed, "out of memory");
    world.cloud.vanish(&machine("web-5"));
    world.agents.trouble("web-6", Trouble::Silence, 1);
    let mut request = world.cloud.request(&machine("web-7")).unwrap();
    request.token = muster_types::ClientToken::new("twin");
    muster_provider::Provider::create(&provider, &request).await.unwrap();
    let document = status(&world, &blueprint).await;
    let lines: Vec<String> = document.nodes.iter().map(line).collect();
    let expected = [
        "web-1 stopped ",
        "web-2 stopped its machine is paused",
        "web-3 failed out of memory",
        "web-4 failed runcmd[0] failed: the command failed (exit code 1)",
        "web-5 failed its machine fake-5 is gone",
        "web-6 failed its agent does not answer: connection refused",
        "web-7 failed nobody recorded this machine; the next `muster up` adopts or removes it",
        "web-7 ready ",
        "web-8 ready ",
        "web-9 ready ",
        "web-10 ready ",
        "web-11 ready ",
        "zz-1 planned it needs group web, of which web-4 is not ready: runcmd[0] failed: the command failed (exit code 1)",
    ];
    assert_eq!(lines, expected);
    assert_eq!(document.nodes[8].addresses.len(), 1);
    assert_eq!(document.nodes[8].phase, Phase::Ready);
}
