//! Taking machines away, and knowing that they are gone.

use muster_engine::Exit;
use muster_provider::Status;
use muster_provider::fake::{Fault, Operation};
use muster_store::Store as _;
use muster_types::Phase;
use tokio_util::sync::CancellationToken;

use crate::support::{TestBlueprint, TestGroup, World, name};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

#[tokio::test]
async fn down_leaves_nothing_and_can_be_repeated() {
    let world = World::new();
    world.up(&web(3)).await;
    let outcome = world.down(&web(3)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Done, 3));
    world.assert_gone(&web(3)).await;
    let outcome = world.down(&web(3)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Done, 0));
    world.assert_gone(&web(3)).await;
    assert_eq!(world.up(&web(3)).await.exit, Exit::Done, "a cluster of that name can be made again");
}

#[tokio::test]
async fn a_delete_that_only_says_so_is_repeated_until_it_is_true() {
    let world = World::new();
    world.up(&web(3)).await;
    world.cloud.inject(Operation::Destroy, Fault::Pretend, 4);
    world.cloud.inject_for(&name("web-3"), Operation::Destroy, Fault::Linger { lists: 2 }, 1);
    world.cloud.inject(Operation::Destroy, Fault::Refuse(Status::Temporary), 2);
    world.cloud.inject(Operation::Release, Fault::LoseReply, 2);
    let outcome = world.down(&web(3)).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    world.assert_gone(&web(3)).await;
}

#[tokio::test]
async fn a_machine_that_stays_is_told_of_and_not_forgotten() {
    let world = World::new();
    world.up(&web(3)).await;
    world.cloud.inject_for(&name("web-2"), Operation::Destroy, Fault::Pretend, 1_000);
    let outcome = world.down(&web(3)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Partly, 2));
    assert_eq!(outcome.nodes[0].name, name("web-2"));
    assert!(outcome.nodes[0].reason.contains("still lists it after 6 looks"), "{}", outcome.nodes[0].reason);
    assert_eq!(outcome.leftovers.len(), 1);
    assert!(world.cloud.is_shared_left(), "what is shared stays while a machine is there");
    let process = world.process();
    let error = process.engine.plan(&web(3)).await.unwrap_err();
    assert!(error.hint().contains("muster down demo"), "{error}");
    world.cloud.clear_faults();
    assert_eq!(world.down(&web(3)).await.exit, Exit::Done);
    world.assert_gone(&web(3)).await;
}

#[tokio::test]
async fn a_refused_delete_fails_its_machine_and_not_the_others() {
    let world = World::new();
    world.up(&web(3)).await;
    world.cloud.inject_for(&name("web-1"), Operation::Destroy, Fault::Refuse(Status::Permanent), 1);
    let outcome = world.down(&web(3)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Partly, 2));
    assert!(outcome.nodes[0].reason.ends_with("the fake refuses"), "{}", outcome.nodes[0].reason);
    assert_eq!(world.down(&web(3)).await.exit, Exit::Done);
    world.assert_gone(&web(3)).await;
}

#[tokio::test]
async fn machines_are_found_when_the_store_has_forgotten_them() {
    let world = World::new();
    world.up(&web(2)).await;
    let forgetful = world.forget();
    let outcome = forgetful.down(&web(2)).await;
    assert_eq!((outcome.exit, outcome.removed.len()), (Exit::Done, 2));
    forgetful.assert_gone(&web(2)).await;
}

#[tokio::test]
async fn a_machine_that_was_begun_and_never_seen_is_waited_for() {
    let world = World::new();
    world.cloud.inject(Operation::Create, Fault::Invisible { lists: 3 }, 1);
    world.cloud.inject(Operation::Create, Fault::LoseReply, 5);
    let outcome = world.up(&web(1)).await;
    assert_eq!((outcome.exit, outcome.nodes[0].phase), (Exit::Failed, Phase::Failed));
    assert_eq!(world.store.open_intents(&web(1).cluster).await.unwrap().len(), 1, "the create may have happened");
    let outcome = world.down(&web(1)).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    world.assert_gone(&web(1)).await;
}

#[tokio::test]
async fn strangers_of_our_tag_are_removed_and_second_machines_too() {
    let world = World::new();
    world.up(&web(2)).await;
    let machine = world.cloud.machines().remove(0);
    let provider = world.cloud.provider();
    for (token, node) in [("twin", "web-1"), ("ghost", "ghost-1")] {
        let mut request = world.cloud.request(&machine.id).unwrap();
        request.name = name(node);
        request.token = muster_types::ClientToken::new(token);
        request.tags.insert(muster_engine::NODE_TAG.to_owned(), node.to_owned());
        muster_provider::Provider::create(&provider, &request).await.unwrap();
    }
    let plan = world.plan(&web(2)).await;
    assert_eq!((plan.summary().remove, plan.summary().keep), (2, 2), "{plan}");
    let outcome = world.up(&web(2)).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    world.assert_true_to(&web(2)).await;
    assert!(world.cloud.machines().iter().any(|left| left.id == machine.id), "the recorded one is kept");
}

#[tokio::test]
async fn scaling_down_insists_as_well() {
    let world = World::new();
    world.up(&web(3)).await;
    world.cloud.inject_for(&name("web-3"), Operation::Destroy, Fault::Pretend, 2);
    assert_eq!(world.up(&web(2)).await.exit, Exit::Done);
    world.assert_true_to(&web(2)).await;
    world.cloud.inject_for(&name("web-2"), Operation::Destroy, Fault::Pretend, 1_000);
    let outcome = world.up(&web(1)).await;
    assert_eq!(outcome.exit, Exit::Partly, "{outcome:?}");
    assert_eq!(outcome.leftovers.len(), 1);
    world.cloud.clear_faults();
    assert_eq!(world.up(&web(1)).await.exit, Exit::Done);
    world.assert_true_to(&web(1)).await;
}

#[tokio::test]
async fn an_interrupted_removal_is_finished_by_the_next() {
    let world = World::new();
    world.up(&web(3)).await;
    let gate = muster_provider::fake::Gate::new();
    world.cloud.inject_for(&name("web-2"), Operation::Destroy, Fault::Hold(gate.clone()), 1);
    let process = world.process();
    let token = CancellationToken::new();
    let interrupt = async {
        gate.arrived(1).await;
        token.cancel();
    };
    let blueprint = web(3);
    let (outcome, ()) = tokio::join!(process.engine.down(&blueprint.cluster, token.clone()), interrupt);
    assert_eq!(outcome.unwrap().exit, Exit::Interrupted);
    gate.open();
    assert_eq!(world.down(&web(3)).await.exit, Exit::Done);
    world.assert_gone(&web(3)).await;
}
