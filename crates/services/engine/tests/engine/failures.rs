//! What fails, what it costs the others, and how it is told.

use muster_api::{Event, EventBody};
use muster_engine::Exit;
use muster_provider::Status;
use muster_provider::fake::{Fault, Gate, Operation};
use muster_spec::OnFailure;
use muster_types::Phase;
use tokio_util::sync::CancellationToken;

use crate::support::{TestBlueprint, TestGroup, Trouble, Wants, World, name};

fn web(count: u32) -> TestBlueprint {
    TestBlueprint::new(vec![TestGroup::new("web", count)])
}

#[tokio::test]
async fn a_failing_step_stops_its_node_and_leaves_the_others() {
    let world = World::new();
    let needy = TestGroup { needs: vec!["web"], ..TestGroup::new("needy", 1) };
    let blueprint = web(3).with(|groups| groups.push(needy));
    world.agents.trouble("web-2", Trouble::FailStep, 1);
    let outcome = world.up(&blueprint).await;
    assert_eq!((outcome.exit, outcome.ready(), outcome.total()), (Exit::Partly, 2, 4));
    let failed = &outcome.nodes[1];
    assert_eq!(failed.phase, Phase::Failed);
    assert_eq!(failed.reason, "runcmd[0] failed: the command failed (exit code 1)");
    assert_eq!(failed.step.as_deref(), Some("runcmd[0]"));
    assert_eq!(failed.log, ["oh no"]);
    assert!(failed.hint.contains("muster logs web-2"), "{}", failed.hint);
    let needy = &outcome.nodes[3];
    assert_eq!(needy.phase, Phase::Planned);
    assert!(needy.reason.starts_with("it needs group web, of which web-2 is not ready"), "{}", needy.reason);
    assert_eq!(world.cloud.machines().len(), 3, "what failed is kept to be looked at");
    // The next run goes on with what is not ready.
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    world.assert_true_to(&blueprint).await;
    assert_eq!(world.agents.memory_of("web-1").asked_to_apply, 1);
}

#[tokio::test]
async fn a_failing_check_is_told_with_its_last_reason() {
    let world = World::new();
    world.agents.trouble("web-1", Trouble::FailCheck, 1);
    let outcome = world.up(&web(1)).await;
    assert_eq!(outcome.exit, Exit::Failed);
    assert_eq!(outcome.nodes[0].reason, "check port 80 did not pass within 5 s: connection refused");
    assert_eq!(world.up(&web(1)).await.exit, Exit::Done);
}

#[tokio::test]
async fn machines_that_there_is_no_room_for_are_refused_before_the_first() {
    let world = World::new();
    assert_eq!(world.up(&web(2)).await.exit, Exit::Done);
    world.cloud.set_room(4);
    let error = world.process().up(&web(5)).await.unwrap_err();
    assert_eq!(error.to_string(), "provider fake cannot take the machines of this plan");
    let reason = muster_stdx::chain(&error);
    assert!(reason.contains("3 machines are wanted, and there is room for 4"), "{reason}");
    assert_eq!(error.hint(), "want fewer");
    assert_eq!((world.cloud.machines().len(), world.records(&web(5)).await.len()), (2, 2));
    // Those that are there already need no room.
    assert_eq!(world.up(&web(4)).await.exit, Exit::Done);
}

#[tokio::test]
async fn temporary_errors_are_tried_again_and_lost_replies_make_nothing_twice() {
    let world = World::new();
    world.cloud.inject(Operation::Create, Fault::Refuse(Status::Temporary), 2);
    world.cloud.inject(Operation::Create, Fault::LoseReply, 3);
    world.cloud.inject(Operation::WaitRunning, Fault::LoseReply, 2);
    world.cloud.inject(Operation::List, Fault::Refuse(Status::Temporary), 2);
    world.agents.trouble("web-1", Trouble::LoseEnrolReply, 1);
    world.agents.trouble("web-2", Trouble::BreakApply, 2);
    world.agents.trouble("web-3", Trouble::Silence, 3);
    let outcome = world.up(&web(3)).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(world.cloud.faults_left(), 0);
    world.assert_true_to(&web(3)).await;
    assert_eq!(world.cloud.made().len(), 3);
}

#[tokio::test]
async fn a_machine_that_lists_do_not_show_is_not_made_again() {
    let world = World::new();
    world.cloud.inject_for(&name("web-1"), Operation::Create, Fault::Invisible { lists: 30 }, 1);
    world.up(&web(2)).await;
    let outcome = world.up(&web(2)).await;
    assert_eq!(outcome.exit, Exit::Done);
    assert_eq!(world.cloud.made().len(), 2, "the provider's list lagged behind");
}

#[tokio::test]
async fn a_permanent_error_fails_its_node_at_once() {
    let world = World::new();
    world.cloud.inject_for(&name("web-2"), Operation::Create, Fault::Refuse(Status::Permanent), 1);
    let blueprint = web(3).with(|groups| groups[0].wants = Wants::Everybody);
    let outcome = world.up(&blueprint).await;
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 2), "{outcome:?}");
    assert_eq!(outcome.nodes[1].reason, "create: the fake refuses");
    // The others were configured without it, and learn of it by the next run.
    assert!(!world.agents.memory_of("web-1").document.contains("web-2="));
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert!(world.agents.memory_of("web-1").document.contains("web-2="));
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn who_waits_for_many_addresses_goes_on_when_one_of_them_never_comes() {
    let world = World::new();
    let (late, never) = (Gate::new(), Gate::new());
    world.cloud.inject_for(&name("web-2"), Operation::Create, Fault::Hold(late.clone()), 1);
    world.cloud.inject_for(&name("web-3"), Operation::Create, Fault::Hold(never.clone()), 1);
    world.cloud.inject_for(&name("web-3"), Operation::Create, Fault::Refuse(Status::Permanent), 1);
    let blueprint = web(3).with(|groups| groups[0].wants = Wants::Everybody);
    let mut process = world.process();
    let plan = process.engine.plan(&blueprint).await.unwrap();
    let run = process.engine.up(&blueprint, plan, CancellationToken::new());
    let watch = async {
        // `web-1` waits for both; the second of them fails first.
        let waits = |event: &Event| matches!(&event.body, EventBody::Phase { waiting_for, .. } if waiting_for == "the address of web-2, web-3");
        while !waits(&process.events.recv().await.unwrap()) {}
        never.open();
        let failed = |event: &Event| matches!(&event.body, EventBody::Failed { .. });
        while !failed(&process.events.recv().await.unwrap()) {}
        late.open();
    };
    let (outcome, ()) = tokio::join!(run, watch);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.exit, outcome.ready()), (Exit::Partly, 2), "{outcome:?}");
    assert!(world.agents.memory_of("web-1").document.contains("web-2="));
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn a_machine_that_does_not_boot_shows_its_console_and_is_started_again() {
    let world = World::new();
    world.cloud.inject_for(&name("web-1"), Operation::WaitRunning, Fault::FailBoot, 1);
    let outcome = world.up(&web(2)).await;
    let failed = &outcome.nodes[0];
    assert!(failed.reason.contains("did not start: it failed to boot"), "{}", failed.reason);
    assert_eq!(failed.log.last().unwrap(), "panic: the fake was told to fail");
    assert_eq!(world.up(&web(2)).await.exit, Exit::Done);
    assert_eq!(world.cloud.made().len(), 2);
    world.assert_true_to(&web(2)).await;
}

#[tokio::test]
async fn retry_goes_on_in_place() {
    let world = World::new();
    let blueprint = web(2).with(|groups| groups[0].on_failure = OnFailure::Retry(2));
    world.agents.trouble("web-1", Trouble::FailStep, 2);
    world.cloud.inject_for(&name("web-2"), Operation::WaitRunning, Fault::FailBoot, 1);
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(world.cloud.made().len(), 2);
    world.assert_true_to(&blueprint).await;
    world.down(&blueprint).await;
    world.agents.trouble("web-1", Trouble::FailStep, 3);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Partly);
}

#[tokio::test]
async fn replace_makes_one_new_machine() {
    let world = World::new();
    let replace = |groups: &mut Vec<TestGroup>| groups[0].on_failure = OnFailure::Replace;
    let blueprint = web(2).with(replace).with(|groups| groups[0].wants = Wants::Everybody);
    world.agents.trouble("web-1", Trouble::FailStep, 1);
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(world.cloud.made().len(), 3);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn an_agent_that_never_answers_is_a_timeout() {
    let world = World::new();
    world.agents.trouble("web-1", Trouble::Silence, 1_000_000);
    let process = world.process_with(&crate::support::Mortality::default(), |config| {
        config.limits.reach = std::time::Duration::from_millis(30);
    });
    let outcome = process.up(&web(1)).await.unwrap();
    assert_eq!(outcome.exit, Exit::TimedOut);
    assert!(outcome.nodes[0].reason.contains("did not answer within 0 s: connection refused"), "{outcome:?}");
}
