//! What is left on record of a run: who, by which plan, what was decided, which orders were given and how they ended.

use muster_api::EventBody;
use muster_engine::Explanation;
use muster_provider::MachineState;
use muster_provider::fake::{Fault, Operation};
use muster_store::Store as _;
use muster_types::Phase;

use crate::support::{TestBlueprint, TestGroup, Trouble, World, name};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

async fn recorded(world: &World) -> Vec<EventBody> {
    let events = world.store.events(&web(1).cluster, 10_000).await.unwrap();
    events.into_iter().map(|event| event.body).collect()
}

#[tokio::test]
async fn each_order_to_the_provider_is_on_record_with_its_end_and_its_plan() {
    let world = World::new();
    let process = world.process();
    let plan = process.engine.plan(&web(2)).await.unwrap();
    world.cloud.inject(Operation::Create, Fault::Refuse(muster_provider::Status::Temporary), 1);
    process.up(&web(2)).await.unwrap();
    let told = recorded(&world).await;
    let by_plan = |body: &EventBody| matches!(body, EventBody::Ordered { plan: of, .. } if of == plan.hash());
    assert!(told.iter().any(by_plan), "{told:?}");
    let decided = told.iter().filter(|body| matches!(body, EventBody::Decided { verb, .. } if verb == "create"));
    assert_eq!(decided.count(), 2);
    let creates: Vec<bool> = told
        .iter()
        .filter_map(|body| match body {
            EventBody::Called { order, error, .. } if order.starts_with("create web-") => Some(error.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!((creates.len(), creates.iter().filter(|failed| **failed).count()), (3, 1), "{told:?}");
    world.down(&web(2)).await;
    let destroys = recorded(&world).await.into_iter().filter(|body| {
        matches!(body, EventBody::Called { order, node: Some(_), machine: Some(_), error: None, .. } if order == "destroy")
    });
    assert_eq!(destroys.count(), 2, "the record outlives the cluster");
    assert!(recorded(&world).await.len() > told.len());
}

async fn explain(world: &World, node: &str) -> Explanation {
    world.process().engine.explain(&web(1).cluster, &name(node)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_node_is_explained_by_what_is_seen_of_it() {
    let world = World::new();
    world.agents.trouble("web-2", Trouble::FailStep, 1);
    world.up(&web(4)).await;
    let good = explain(&world, "web-1").await;
    assert_eq!((good.phase, good.cause.as_str()), (Phase::Ready, "nothing is wrong with it"));
    let failed = explain(&world, "web-2").await;
    assert!(failed.cause.contains("a step of its configuration failed: runcmd[0] failed"), "{failed:?}");
    assert!(failed.remedy.contains("muster logs web-2"), "{failed:?}");
    assert!(
        failed.evidence.iter().any(|line| line.contains("failed: runcmd[0] failed: the command failed")),
        "{failed:?}"
    );
    let machine = |node: &str| world.cloud.machines().into_iter().find(|machine| machine.name == name(node)).unwrap();
    world.cloud.vanish(&machine("web-3").id);
    assert!(explain(&world, "web-3").await.cause.contains("removed by other means"));
    world.cloud.crash(&machine("web-4").id, MachineState::Stopped, "power failure");
    let down = explain(&world, "web-4").await;
    assert!(down.evidence[0].contains("power failure") && down.remedy.contains("muster node start web-4"), "{down:?}");
    world.agents.damage("web-1", "write_files[/etc/motd]");
    assert!(explain(&world, "web-1").await.cause.ends_with("write_files[/etc/motd]"));
    let nobody = world.process().engine.explain(&web(1).cluster, &name("web-9")).await.unwrap();
    assert_eq!(nobody, None);
}
