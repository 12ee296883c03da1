//! Images before machines.

use muster_api::EventBody;
use muster_engine::Exit;
use muster_provider::Status;
use muster_provider::fake::{Fault, Gate, Operation};
use muster_types::Phase;
use tokio_util::sync::CancellationToken;

use crate::support::{Process, TestBlueprint, TestGroup, World, name};

/// Two groups from one image with the same software, one from another.
fn blueprint() -> TestBlueprint {
    let packages = vec!["munge", "slurmd"];
    let group = |name, image| TestGroup { image: Some(image), packages: packages.clone(), ..TestGroup::new(name, 3) };
    TestBlueprint::new(vec![group("red", "debian-12"), group("blue", "debian-12"), group("other", "debian-13")])
}

fn world() -> World {
    let world = World::new();
    world.cloud.bake_images();
    world
}

#[tokio::test]
async fn an_image_is_baked_once_and_told_of() {
    let (world, blueprint) = (world(), blueprint());
    let mut process = world.process();
    let plan = process.engine.plan(&blueprint).await.unwrap();
    assert_eq!(plan.images(), ["debian-12 with munge, slurmd", "debian-13 with munge, slurmd"]);
    let gate = Gate::new();
    world.cloud.inject(Operation::Bake, Fault::Hold(gate.clone()), 2);
    let Process { engine, events } = &mut process;
    let mut told = Vec::new();
    let watch = async {
        // Both say what they are at before they go on, and whoever waits for them says so too.
        let waits = |body: &EventBody| matches!(body, EventBody::Phase { waiting_for, .. } if waiting_for.contains("unpacking"));
        while told.iter().filter(|body| waits(body)).count() < 9 {
            told.push(events.recv().await.unwrap().body);
        }
        gate.open();
    };
    let (outcome, ()) = tokio::join!(engine.up(&blueprint, plan, CancellationToken::new()), watch);
    assert_eq!(outcome.unwrap().exit, Exit::Done);
    assert_eq!(world.cloud.calls_of(Operation::Bake).len(), 2);
    told.extend(process.told());
    let at = |wanted: &str| {
        let image = |body: &EventBody| matches!(body, EventBody::Image { image, step, .. } if image == "debian-12 with munge, slurmd" && step == wanted);
        told.iter().position(image).unwrap()
    };
    assert!(at("unpacking 1 of 2") < at(""), "its end is told");
    let words = "image debian-12 with munge, slurmd: unpacking 1 of 2";
    let waits = |body: &EventBody| matches!(body, EventBody::Phase { node, phase: Phase::Planned, waiting_for, .. } if *node == name("blue-3") && waiting_for == words);
    assert!(told.iter().any(waits), "nodes say what they wait for");
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn nothing_is_baked_for_machines_that_are_there() {
    let (world, blueprint) = (world(), blueprint());
    world.up(&blueprint).await;
    let machine = world.cloud.machines().remove(0);
    world.cloud.crash(&machine.id, muster_provider::MachineState::Stopped, "");
    assert_eq!(world.up(&blueprint.with(|groups| groups[1].motd = "new")).await.exit, Exit::Done);
    assert_eq!(world.cloud.calls_of(Operation::Bake).len(), 2);
}

#[tokio::test]
async fn nodes_from_other_images_are_not_held_up() {
    let (world, blueprint) = (world(), blueprint());
    let gate = Gate::new();
    world.cloud.inject_for(&name("debian-12"), Operation::Bake, Fault::Hold(gate.clone()), 1);
    let process = world.process();
    let plan = process.engine.plan(&blueprint).await.unwrap();
    let token = CancellationToken::new();
    let watch = async {
        gate.arrived(1).await;
        while world.cloud.machines().len() < 3 {
            tokio::task::yield_now().await;
        }
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(process.engine.up(&blueprint, plan, token.clone()), watch);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.exit, outcome.nodes[0].phase), (Exit::Interrupted, Phase::Planned));
    assert!(world.cloud.machines().iter().all(|machine| machine.name.as_str().starts_with("other")));
    drop(process);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn a_failed_bake_fails_the_nodes_that_need_it_and_the_next_run_goes_on() {
    let (world, blueprint) = (world(), blueprint());
    world.cloud.inject_for(&name("debian-12"), Operation::Bake, Fault::Refuse(Status::Permanent), 1);
    let outcome = world.up(&blueprint).await;
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 3), "{outcome:?}");
    let expected = "image debian-12 with munge, slurmd cannot be made: bake: the fake refuses";
    for node in &outcome.nodes[..6] {
        assert_eq!((node.phase, node.reason.as_str()), (Phase::Failed, expected));
    }
    assert_eq!(world.cloud.calls_of(Operation::Bake).len(), 2, "it is not tried again by every node");
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn a_replaced_node_keeps_its_machine_when_its_image_cannot_be_made() {
    let (world, blueprint) = (world(), blueprint());
    world.up(&blueprint).await;
    let larger = blueprint.with(|groups| {
        groups[0].machine = "large";
        groups[0].packages = vec!["munge", "slurmd", "vim"];
    });
    world.cloud.inject(Operation::Bake, Fault::Refuse(Status::Permanent), 1);
    assert_eq!(world.up(&larger).await.exit, Exit::Partly);
    assert_eq!(world.cloud.machines().len(), 9);
    assert_eq!(world.cloud.calls_of(Operation::Destroy).len(), 0);
    assert_eq!(world.up(&larger).await.exit, Exit::Done);
    world.assert_true_to(&larger).await;
}
