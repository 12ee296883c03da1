//! Building, changing and verifying.

use muster_api::EventBody;
use muster_engine::Exit;
use muster_plan::{Policy, Verb};
use muster_provider::MachineState;
use muster_provider::fake::Operation;
use muster_types::Phase;
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, Process, TestBlueprint, TestGroup, Trouble, Wants, World, name};

fn two_groups() -> TestBlueprint {
    let db = TestGroup::new("db", 1);
    let web = TestGroup { needs: vec!["db"], wants: Wants::Everybody, ..TestGroup::new("web", 3) };
    TestBlueprint::new(vec![db, web])
}

#[tokio::test]
async fn a_file_becomes_verified_nodes() {
    let (world, blueprint) = (World::new(), two_groups());
    let mut process = world.process();
    let outcome = process.up(&blueprint).await.unwrap();
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!((outcome.ready(), outcome.total()), (4, 4));
    let told = process.told();
    let journey = [
        Phase::Planned,
        Phase::Creating,
        Phase::Booting,
        Phase::Joining,
        Phase::Configuring,
        Phase::Checking,
        Phase::Ready,
    ];
    assert_eq!(Process::phases(&told, &name("web-2")), journey);
    assert!(matches!(told.first(), Some(EventBody::RunStarted { .. })), "{:?}", told.first());
    assert!(matches!(told.last(), Some(EventBody::RunFinished { exit: 0, ready: 4, total: 4, .. })));
    let waits = |body: &EventBody| matches!(body, EventBody::Phase { node, waiting_for, .. } if *node == name("web-1") && waiting_for == "group db");
    assert!(told.iter().any(waits), "web says what it waits for");
    world.assert_true_to(&blueprint).await;
    let motd = world.agents.memory_of("web-1").document;
    for machine in world.cloud.machines() {
        assert!(motd.contains(&format!("{}={}", machine.name, machine.addresses[0])), "{motd}");
    }
}

#[tokio::test]
async fn the_second_time_there_is_nothing_to_do() {
    let (world, blueprint) = (World::new(), two_groups());
    world.up(&blueprint).await;
    let asked = world.agents.memory_of("web-1").asked_to_apply;
    let outcome = world.up(&blueprint).await;
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.nodes.iter().all(|node| node.verb == Verb::Keep));
    assert_eq!(world.agents.memory_of("web-1").asked_to_apply, asked, "nothing is pushed");
    assert_eq!(world.cloud.calls_of(Operation::Create).len(), 4);
}

#[tokio::test]
async fn a_change_touches_only_the_nodes_it_concerns() {
    let (world, blueprint) = (World::new(), two_groups());
    world.up(&blueprint).await;
    let changed = blueprint.with(|groups| groups[0].motd = "good day");
    let plan = world.plan(&changed).await;
    assert_eq!((plan.summary().configure, plan.summary().keep), (1, 3), "{plan}");
    let outcome = world.up(&changed).await;
    assert_eq!(outcome.exit, Exit::Done);
    assert_eq!(world.agents.memory_of("db-1").applied.len(), 2);
    assert_eq!(world.agents.memory_of("web-1").applied.len(), 1);
    world.assert_true_to(&changed).await;
}

#[tokio::test]
async fn a_changed_command_and_a_changed_machine_mean_replacement() {
    let (world, blueprint) = (World::new(), two_groups());
    world.up(&blueprint).await;
    let command = blueprint.with(|groups| groups[0].command = "false || true");
    let plan = world.plan(&command).await;
    assert_eq!(plan.summary().replace, 1, "{plan}");
    // The others speak of its address, which will be another one.
    assert_eq!(plan.summary().configure, 3, "{plan}");
    assert_eq!(world.up(&command).await.exit, Exit::Done);
    world.assert_true_to(&command).await;
    assert_eq!(world.cloud.made().len(), 5);
    let larger = command.with(|groups| groups[0].machine = "large");
    assert_eq!(world.up(&larger).await.exit, Exit::Done);
    world.assert_true_to(&larger).await;
    assert_eq!(world.cloud.made().len(), 6);
}

#[tokio::test]
async fn scaling_up_and_down_moves_only_what_has_to_move() {
    let (world, blueprint) = (World::new(), two_groups());
    world.up(&blueprint).await;
    let more = blueprint.with(|groups| groups[1].count = 5);
    assert_eq!(world.up(&more).await.total(), 6);
    world.assert_true_to(&more).await;
    let fewer = blueprint.with(|groups| groups[1].count = 1);
    let outcome = world.up(&fewer).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(outcome.removed.len(), 4);
    world.assert_true_to(&fewer).await;
    let survivors: Vec<String> = world.cloud.machines().iter().map(|machine| machine.id.to_string()).collect();
    assert!(survivors.contains(&"fake-1".to_owned()), "db-1 was never touched: {survivors:?}");
}

#[tokio::test]
async fn what_is_stopped_paused_or_gone_comes_back() {
    let (world, blueprint) = (World::new(), TestBlueprint::new(vec![TestGroup::new("web", 4)]));
    world.up(&blueprint).await;
    let machine = |node: &str| world.cloud.machines().into_iter().find(|found| found.name.as_str() == node).unwrap();
    let provider = world.cloud.provider();
    muster_provider::Provider::stop(&provider, &machine("web-1").id).await.unwrap();
    muster_provider::Faults::pause(&provider, &machine("web-2").id).await.unwrap();
    world.cloud.crash(&machine("web-3").id, MachineState::Failed, "out of memory");
    world.cloud.vanish(&machine("web-4").id);
    let plan = world.plan(&blueprint).await;
    assert_eq!((plan.summary().start, plan.summary().create), (3, 1), "{plan}");
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
}

#[tokio::test]
async fn a_node_that_is_asked_for_is_replaced() {
    let (world, blueprint) = (World::new(), TestBlueprint::new(vec![TestGroup::new("web", 2)]));
    world.up(&blueprint).await;
    let policy = Policy { replace: [name("web-2")].into(), ..Policy::default() };
    let process = world.process_with(&Mortality::default(), |config| config.policy = policy);
    assert_eq!(process.up(&blueprint).await.unwrap().exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
    assert_eq!(world.cloud.made().len(), 3);
}

#[tokio::test]
async fn certificates_near_their_end_are_renewed() {
    let (world, blueprint) = (World::new(), TestBlueprint::new(vec![TestGroup::new("web", 2)]));
    world.up(&blueprint).await;
    world.agents.trouble("web-1", Trouble::OldCertificate, 1);
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    assert_eq!(world.agents.memory_of("web-1").renewals, 1);
    assert_eq!(world.agents.memory_of("web-2").renewals, 0);
}

#[tokio::test]
async fn a_plan_that_would_now_destroy_more_is_not_executed() {
    let (world, blueprint) = (World::new(), TestBlueprint::new(vec![TestGroup::new("web", 2)]));
    world.up(&blueprint).await;
    let fewer = blueprint.with(|groups| groups[0].count = 1);
    // Approved without the lease; meanwhile somebody adds a node.
    let early = world.process();
    let approved = early.engine.plan(&fewer).await.unwrap();
    world.up(&blueprint.with(|groups| groups[0].count = 3)).await;
    let error = early.engine.up(&fewer, approved, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the cluster changed after the plan was made, which now would also remove web-3");
    assert_eq!(world.cloud.machines().len(), 3);
}

#[tokio::test]
async fn an_interrupted_run_accounts_for_every_node_and_is_taken_up() {
    let (world, blueprint) = (World::new(), two_groups());
    let gate = muster_provider::fake::Gate::new();
    world.cloud.inject_for(&name("db-1"), Operation::Create, muster_provider::fake::Fault::Hold(gate.clone()), 1);
    let process = world.process();
    let plan = process.engine.plan(&blueprint).await.unwrap();
    let token = CancellationToken::new();
    let run = process.engine.up(&blueprint, plan, token.clone());
    let interrupt = async {
        gate.arrived(1).await;
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(run, interrupt);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.exit, outcome.total()), (Exit::Interrupted, 4));
    assert_eq!(outcome.nodes[0].phase, Phase::Creating);
    gate.open();
    assert_eq!(world.up(&blueprint).await.exit, Exit::Done);
    world.assert_true_to(&blueprint).await;
    assert_eq!(world.cloud.made().len(), 4);
}
