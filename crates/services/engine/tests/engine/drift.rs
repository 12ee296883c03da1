//! What moved away from the file by itself is told on all levels, and put right by the next run and nothing else.

use std::collections::BTreeMap;

use muster_engine::{DriftReport, Exit, Level, Tend};
use muster_provider::MachineState;
use tokio_util::sync::CancellationToken;

use crate::support::{TestBlueprint, TestGroup, Trouble, World, name};

fn cluster() -> TestBlueprint {
    let head = TestGroup { follows: vec!["web"], ..TestGroup::new("head", 1) };
    TestBlueprint::new(vec![head, TestGroup::new("web", 5)])
}

async fn drift(world: &World, blueprint: &TestBlueprint) -> DriftReport {
    world.process().engine.drift(blueprint).await.unwrap()
}

fn told(report: &DriftReport) -> BTreeMap<String, (Level, String)> {
    let line = |finding: &muster_engine::Finding| (finding.node.to_string(), (finding.level, finding.what.clone()));
    report.findings.iter().map(line).collect()
}

#[tokio::test]
async fn nothing_is_told_of_a_cluster_that_is_as_it_was_left() {
    let world = World::new();
    world.up(&cluster()).await;
    let report = drift(&world, &cluster()).await;
    assert_eq!((report.findings.len(), report.nodes), (0, 6), "{report:?}");
    // What was stopped on purpose has not drifted.
    let one = [name("web-1")].into();
    world.process().engine.tend(&cluster(), (Tend::Stop, &one), CancellationToken::new()).await.unwrap();
    assert_eq!(drift(&world, &cluster()).await.findings, []);
}

#[tokio::test]
async fn all_levels_are_told_and_only_what_drifted_is_repaired() {
    let world = World::new();
    world.up(&cluster()).await;
    let id = |node: &str| world.cloud.machines().into_iter().find(|machine| machine.name == name(node)).unwrap().id;
    world.cloud.vanish(&id("web-1"));
    world.cloud.crash(&id("web-2"), MachineState::Stopped, "power failure");
    world.agents.damage("web-3", "write_files[/etc/motd]");
    world.agents.set_cpus("web-4", 64);
    world.agents.trouble("web-5", Trouble::FailCheck, 1);
    let before = world.agents.asked_to_apply();
    let report = drift(&world, &cluster()).await;
    let told = told(&report);
    assert!(told["web-1"].0 == Level::Machines && told["web-1"].1.ends_with("is gone"), "{told:?}");
    assert!(told["web-2"].0 == Level::Machines && told["web-2"].1.contains("power failure"), "{told:?}");
    let changed = "changed on the node since it was configured: write_files[/etc/motd]";
    assert_eq!(told["web-3"], (Level::Configuration, changed.to_owned()));
    assert!(told["web-4"].0 == Level::Membership && told["web-4"].1.contains("64 processors"), "{told:?}");
    assert_eq!(told["web-5"], (Level::Health, "port 80: connection refused".to_owned()));
    assert_eq!(world.agents.asked_to_apply(), before, "it only looks");
    let plan = world.plan(&cluster()).await.to_string();
    assert!(
        plan.contains("configure: what was configured on it has been changed (runs write_files[/etc/motd])"),
        "{plan}"
    );
    let outcome = world.up(&cluster()).await;
    let counts = outcome.counts();
    assert_eq!((outcome.exit, counts.created, counts.started), (Exit::Done, 1, 1));
    assert_eq!(world.agents.memory_of("web-3").applied.len(), 1, "the same document, once more");
    assert_eq!(
        (world.agents.memory_of("web-3").asked_to_apply, world.agents.memory_of("web-4").asked_to_apply),
        (2, 1)
    );
    assert_eq!(drift(&world, &cluster()).await.findings, []);
    world.assert_true_to(&cluster()).await;
}

#[tokio::test]
async fn what_a_plan_was_made_from_is_kept_and_compared() {
    let world = World::new();
    world.up(&cluster()).await;
    let look = async || {
        let process = world.process();
        process.engine.plan(&cluster()).await.unwrap();
        process.engine.reality().await.unwrap()
    };
    let before = look().await;
    assert_eq!(before.moved(&look().await), [""; 0]);
    world.agents.damage("web-3", "write_files[/etc/motd]");
    let machine = world.cloud.machines().into_iter().find(|machine| machine.name == name("web-1")).unwrap();
    world.cloud.vanish(&machine.id);
    let moved = before.moved(&look().await);
    assert_eq!(moved.len(), 3, "{moved:?}");
    assert!(moved[0].contains("agent web-1 is gone") && moved[1].contains("agent web-3 was answers"), "{moved:?}");
    assert!(moved[2].starts_with(&format!("machine {} is gone", machine.id)), "{moved:?}");
}
