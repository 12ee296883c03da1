//! The contract, and what it is worth: every lie that the fake can tell is found by a case.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use muster_provider::contract::{Fixture, Outcome, run, run_case};
use muster_provider::fake::{FakeCloud, Fault, LineProbe, Operation};
use muster_provider::{Capabilities, Provider, Status};

use crate::request;

fn fixture() -> Ready<Fixture> {
    ready(fixture_on(&FakeCloud::new()))
}

fn fixture_on(cloud: &FakeCloud) -> Fixture {
    let (again, left) = (cloud.clone(), cloud.clone());
    Fixture::new(Arc::new(cloud.provider()), request("template"))
        .probe(LineProbe)
        .reopen(Arc::new(move || {
            let provider: Arc<dyn Provider> = Arc::new(again.provider());
            Box::pin(async { Ok(provider) })
        }))
        .leftovers(move || {
            let shared = left.is_shared_left().then(|| "what is shared".to_owned());
            left.machines().into_iter().map(|machine| machine.id.to_string()).chain(shared).collect()
        })
}

muster_provider::contract_suite!(fixture);

/// Runs a case against a fake that lies, and returns why it failed.
async fn failure(case: &str, lie: impl FnOnce(&FakeCloud)) -> String {
    let cloud = FakeCloud::new();
    lie(&cloud);
    let fixture = Fixture { patience: Duration::from_millis(50), ..fixture_on(&cloud) };
    match run_case(case, fixture).await.outcome {
        Outcome::Failed(reason) => reason,
        other => panic!("{case} did not see it: {other:?}"),
    }
}

#[tokio::test]
async fn a_machine_that_outlives_its_destruction_is_seen() {
    for case in ["a_destroyed_machine_is_listed_no_more", "destroying_twice_or_the_unknown_succeeds"] {
        let reason = failure(case, |cloud| cloud.inject(Operation::Destroy, Fault::Pretend, 3)).await;
        assert!(reason.contains("listed"), "{reason}");
    }
    let linger = Fault::Linger { lists: 1 };
    let reason = failure("machines_in_any_state_can_be_destroyed", |cloud| cloud.inject(Operation::Destroy, linger, 1));
    assert!(reason.await.contains("was destroyed and is listed"));
}

#[tokio::test]
async fn a_machine_missing_from_the_list_is_seen() {
    let invisible = Fault::Invisible { lists: 1 };
    let reason = failure("a_created_machine_is_listed", |cloud| cloud.inject(Operation::Create, invisible, 1)).await;
    assert!(reason.contains("fake-1 is listed 0 times"), "{reason}");
}

#[tokio::test]
async fn a_machine_that_does_not_boot_is_seen() {
    let reason = failure("a_running_machine_answers", |cloud| cloud.inject(Operation::WaitRunning, Fault::FailBoot, 1));
    assert!(reason.await.contains("failed to boot"));
}

#[tokio::test]
async fn refusals_are_seen_and_told_apart() {
    let permanent = Fault::Refuse(Status::Permanent);
    let reason =
        failure("release_leaves_nothing", |cloud| cloud.inject(Operation::Release, permanent.clone(), 1)).await;
    assert!(reason.contains("the fake refuses"), "{reason}");
    let temporary = Fault::Refuse(Status::Temporary);
    let reason = failure("unknown_machines_are_named", |cloud| cloud.inject(Operation::Start, temporary, 1)).await;
    assert!(reason.contains("start of an unknown machine is told to be temporary"), "{reason}");
}

#[tokio::test]
async fn a_machine_that_cannot_be_reached_is_seen() {
    let lie = |cloud: &FakeCloud| cloud.inject(Operation::Connect, Fault::Refuse(Status::Temporary), 1000);
    let reason = failure("a_running_machine_answers", lie).await;
    assert!(reason.contains("to answer"), "{reason}");
    let lie = |cloud: &FakeCloud| cloud.inject(Operation::Ping, Fault::Refuse(Status::Temporary), 1);
    let reason = failure("a_running_machine_answers", lie).await;
    assert!(reason.contains("ping"), "{reason}");
}

#[tokio::test]
async fn a_machine_that_answers_everybody_is_seen() {
    // Whoever answers in the name of a machine that stands still breaks the promise of `pause`.
    let cloud = FakeCloud::new();
    let fixture = Fixture { probe: Some(Arc::new(AlwaysThere)), ..fixture_on(&cloud) };
    let result = run_case("a_paused_machine_hangs_until_resumed", fixture).await;
    assert!(matches!(result.outcome, Outcome::Failed(reason) if reason.contains("answers and must not")));
}

struct AlwaysThere;

#[async_trait::async_trait]
impl muster_provider::contract::Probe for AlwaysThere {
    async fn answers(
        &self,
        _dialer: &dyn muster_provider::Dialer,
        _machine: &muster_provider::Machine,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn temporary_errors_are_waited_out() {
    let cloud = FakeCloud::new();
    cloud.inject(Operation::Create, Fault::LoseReply, 2);
    cloud.inject(Operation::List, Fault::Refuse(Status::Temporary), 2);
    let result = run_case("the_same_token_at_once_makes_one_machine", fixture_on(&cloud)).await;
    assert_eq!(result.outcome, Outcome::Passed);
    assert_eq!(cloud.faults_left(), 0);
    assert_eq!(cloud.made().len(), 1);
}

#[tokio::test]
async fn what_a_provider_does_not_claim_is_skipped_and_the_rest_passes() {
    let make = || {
        let cloud = FakeCloud::new();
        cloud.set_capabilities(Capabilities {
            stop_start: false,
            faults: false,
            shared_folders: false,
            concurrency_max: 1,
            visible_within: Duration::ZERO,
        });
        ready(Fixture { probe: None, reopen: None, leftovers: None, ..fixture_on(&cloud) })
    };
    let results = run(make).await;
    let count = |wanted: fn(&Outcome) -> bool| results.iter().filter(|result| wanted(&result.outcome)).count();
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Failed(_))), 0, "{results:#?}");
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Skipped(_))), 11, "{results:#?}");
    assert_eq!(count(|outcome| matches!(outcome, Outcome::Passed)), 14, "{results:#?}");
}

#[tokio::test]
async fn a_provider_that_shares_everything_is_seen() {
    let claims = Capabilities { shared_folders: true, ..FakeCloud::new().provider().capabilities() };
    let lie = |cloud: &FakeCloud| cloud.set_capabilities(claims);
    let reason = failure("shared_folders_are_refused_where_there_are_none", lie).await;
    assert!(reason.contains("a machine that shares /proc was made"), "{reason}");
}

#[tokio::test]
async fn a_case_that_fails_cleans_up() {
    let cloud = FakeCloud::new();
    cloud.inject(Operation::Stop, Fault::Refuse(Status::Permanent), 1);
    let result = run_case("stop_and_start_keep_the_address", fixture_on(&cloud)).await;
    assert!(matches!(result.outcome, Outcome::Failed(_)));
    assert_eq!(cloud.made().len(), 1);
    assert!(cloud.machines().is_empty() && !cloud.is_shared_left());
}
