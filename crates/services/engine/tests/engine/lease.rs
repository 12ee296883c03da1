//! One writer: whoever lost the lease stops before its next order.

use std::time::Duration;

use muster_engine::{EngineError, Exit};
use muster_provider::fake::{Fault, Gate, Operation};
use muster_store::{LeaseHolder, Store as _};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, TestBlueprint, TestGroup, World};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

#[tokio::test]
async fn a_lost_lease_ends_the_run_before_the_next_order() {
    let world = World::new();
    let blueprint = web(2);
    let gate = Gate::new();
    world.cloud.inject(Operation::Create, Fault::Hold(gate.clone()), 2);
    let slow = world.process_with(&Mortality::default(), |config| {
        // Long enough not to be renewed in this test: the store refuses first.
        config.limits.lease_ttl = Duration::from_mins(10);
    });
    let plan = slow.engine.plan(&blueprint).await.unwrap();
    let takeover = async {
        gate.arrived(2).await;
        // The holder counts as dead, so the next one may take over.
        let next = world.process();
        next.engine.lease(&blueprint.cluster).await.unwrap();
        gate.open();
        next
    };
    let (outcome, next) = tokio::join!(slow.engine.up(&blueprint, plan, CancellationToken::new()), takeover);
    let error = outcome.unwrap_err();
    assert!(matches!(error, EngineError::LeaseLost { .. }), "{error}");
    assert_eq!(error.exit_code(), 5);
    let asked = world.cloud.calls().len();
    assert_eq!(next.up(&blueprint).await.unwrap().exit, Exit::Done);
    assert!(world.cloud.calls()[asked..].iter().all(|call| call.handle == 2), "the old engine asks for nothing more");
    world.assert_true_to(&blueprint).await;
    assert_eq!(world.cloud.made().len(), 2);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_ends_the_run() {
    let world = World::new();
    let blueprint = web(1);
    let gate = Gate::new();
    world.cloud.inject(Operation::Create, Fault::Hold(gate.clone()), 1);
    let process = world.process_with(&Mortality::default(), |config| {
        config.limits.lease_ttl = Duration::from_millis(90);
        config.limits.lease_margin = Duration::from_millis(30);
    });
    let plan = process.engine.plan(&blueprint).await.unwrap();
    let takeover = async {
        gate.arrived(1).await;
        world.process().engine.lease(&blueprint.cluster).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(process.engine.up(&blueprint, plan, CancellationToken::new()), takeover);
    assert!(matches!(outcome, Err(EngineError::LeaseLost { .. })), "{outcome:?}");
    assert!(!world.cloud.calls().is_empty());
    gate.open();
}

#[tokio::test]
async fn a_lease_is_renewed_as_long_as_the_run_lasts() {
    let world = World::new();
    let blueprint = web(1);
    world.cloud.inject(Operation::Create, Fault::Delay(Duration::from_millis(600)), 1);
    let process = world.process_with(&Mortality::default(), |config| {
        config.limits.lease_ttl = Duration::from_millis(300);
        config.limits.lease_margin = Duration::from_millis(20);
    });
    assert_eq!(process.up(&blueprint).await.unwrap().exit, Exit::Done);
}

#[tokio::test]
async fn a_living_owner_is_named_and_left_alone() {
    let world = World::new();
    let blueprint = web(1);
    let holder = LeaseHolder {
        host: "elsewhere".to_owned(),
        boot_id: "another".to_owned(),
        pid: 42,
        start_ticks: 1,
        command: "muster up".to_owned(),
    };
    let lease = world.store.acquire(&blueprint.cluster, &holder, 60_000).await.unwrap();
    let process = world.process();
    let plan = process.engine.plan(&blueprint).await.unwrap();
    assert_eq!(plan.summary().create, 1, "planning needs no lease");
    let error = process.engine.up(&blueprint, plan, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("process 42 on elsewhere (muster up)"), "{error}");
    assert_eq!(error.exit_code(), 5);
    assert_eq!(world.cloud.calls_of(Operation::Create), []);
    world.store.release(&lease).await.unwrap();
    assert_eq!(process.up(&blueprint).await.unwrap().exit, Exit::Done);
    process.engine.release().await.unwrap();
    assert_eq!(world.up(&blueprint.with(|groups| groups[0].count = 2)).await.exit, Exit::Done);
}
