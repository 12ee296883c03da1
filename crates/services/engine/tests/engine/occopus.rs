//! What Occopus gets wrong with the same files: section by section, the faults that its users know.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use muster_doc::{Diagnostic, Tree};
use muster_engine::compile::{Compiled, NodeDefinitions, Occopus, Options, Source, compile};
use muster_engine::{Blueprint as _, Exit, Outcome};
use muster_provider::fake::{Fault, Gate, Operation};
use muster_provider::{Factory, OpenContext, Provider, ProviderError, Status};
use muster_types::{NodeName, Phase};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, Process, World, name};

struct Fake;

#[async_trait]
impl Factory for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self, _: Option<&Tree>) -> Vec<Diagnostic> {
        Vec::new()
    }

    async fn open(&self, _: OpenContext) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(ProviderError::permanent("open", "tests have theirs open"))
    }
}

/// A master, workers that are told its address, and a node that has nothing to do with them.
fn cluster(workers: u32, health: &str) -> Compiled {
    let infra = format!(
        "infra_name: demo\nuser_id: u\nnodes:\n  - &M {{ name: master, type: master }}\n  - &W {{ name: worker, type: worker, \
         scaling: {{ min: {workers}, max: 20 }} }}\n  - {{ name: other, type: other }}\ndependencies: [[ *W, *M ]]\n"
    );
    let resource = "resource: { type: ec2, endpoint: e, regionname: r, image_id: i, instance_type: t }";
    let definitions = format!(
        "'node_def:master':\n  - {resource}\n    health_check: {health}\n'node_def:worker':\n  - {resource}\n    \
         contextualisation: {{ type: cloudinit, context_template: {{ write_files: [{{ path: /etc/master, content: \
         \"{{{{getip('master')}}}}\" }}] }} }}\n'node_def:other':\n  - {resource}\n"
    );
    let file = |path: &str, text: String| Source { path: path.into(), text: text.into(), folder: PathBuf::new() };
    let definitions = [file("definitions.yaml", definitions)];
    let occopus = Occopus { definitions: NodeDefinitions::Given(&definitions), ..Occopus::default() };
    let factories: [Arc<dyn Factory>; 1] = [Arc::new(Fake)];
    let options = Options { provider: Some("fake"), image: None, agent: None, factories: &factories, occopus };
    compile(file("infra.yaml", infra), &options).unwrap_or_else(|rejected| {
        panic!("{}", muster_doc::report(&rejected.diagnostics, &rejected.sources, false, 100))
    })
}

fn process(world: &World) -> Process {
    // Probes go through the cloud's own dialer.
    world.process_with(&Mortality::default(), |config| config.provider = Arc::new(world.cloud.provider()))
}

async fn up(world: &World, compiled: &Compiled) -> Outcome {
    let process = process(world);
    process.engine.lease(compiled.cluster()).await.unwrap();
    let plan = process.engine.plan(compiled).await.unwrap();
    process.engine.up(compiled, plan, CancellationToken::new()).await.unwrap()
}

async fn down(world: &World, compiled: &Compiled) -> Outcome {
    process(world).engine.down(compiled.cluster(), CancellationToken::new()).await.unwrap()
}

fn of<'o>(outcome: &'o Outcome, node: &str) -> &'o muster_engine::NodeOutcome {
    outcome.nodes.iter().find(|found| found.name.as_str() == node).unwrap()
}

fn address(world: &World, node: &NodeName) -> String {
    let machines = world.cloud.machines();
    machines.iter().find(|machine| machine.name == *node).unwrap().addresses[0].to_string()
}

#[tokio::test]
async fn a_refused_machine_destroys_nothing() {
    let (world, compiled) = (World::new(), cluster(3, "{}"));
    world.cloud.inject_for(&name("worker-2"), Operation::Create, Fault::Refuse(Status::Permanent), 1);
    let outcome = up(&world, &compiled).await;
    assert_eq!((outcome.exit, outcome.ready(), outcome.total()), (Exit::Partly, 4, 5), "{outcome:?}");
    assert_eq!(of(&outcome, "worker-2").phase, Phase::Failed);
    assert_eq!(world.cloud.machines().len(), 4);
    assert_eq!(world.cloud.calls_of(Operation::Destroy).len(), 0);
    let asked = world.agents.asked_to_apply();
    assert_eq!(up(&world, &compiled).await.exit, Exit::Done);
    assert_eq!((world.cloud.machines().len(), world.agents.asked_to_apply() - asked), (5, 1), "only the missing one");
}

#[tokio::test]
async fn a_reconfiguration_that_fails_leaves_what_runs() {
    let (world, compiled) = (World::new(), cluster(2, "{}"));
    assert_eq!(up(&world, &compiled).await.exit, Exit::Done);
    world.cloud.inject_for(&name("worker-4"), Operation::Create, Fault::Refuse(Status::Permanent), 1);
    let asked = world.agents.memory_of("worker-1").asked_to_apply;
    let outcome = up(&world, &cluster(4, "{}")).await;
    assert_eq!((outcome.exit, outcome.ready(), outcome.total()), (Exit::Partly, 5, 6));
    assert_eq!(world.cloud.calls_of(Operation::Destroy).len(), 0);
    assert_eq!(world.agents.memory_of("worker-1").asked_to_apply, asked);
}

#[tokio::test]
async fn failures_side_by_side_leave_no_orphans() {
    let (world, compiled) = (World::new(), cluster(6, "{}"));
    for (node, fault) in [
        ("worker-1", Fault::Refuse(Status::Permanent)),
        ("worker-2", Fault::LoseReply),
        ("worker-3", Fault::Invisible { lists: 3 }),
        ("worker-4", Fault::Refuse(Status::Permanent)),
    ] {
        world.cloud.inject_for(&name(node), Operation::Create, fault, 1);
    }
    world.cloud.inject_for(&name("worker-5"), Operation::WaitRunning, Fault::FailBoot, 1);
    let outcome = up(&world, &compiled).await;
    assert_eq!(outcome.exit, Exit::Partly, "{outcome:?}");
    assert_eq!(up(&world, &compiled).await.exit, Exit::Done);
    assert_eq!(world.cloud.machines().len(), 8, "each node has one machine");
    let outcome = down(&world, &compiled).await;
    assert_eq!((outcome.exit, world.cloud.machines().len()), (Exit::Done, 0), "{outcome:?}");
}

#[tokio::test]
async fn destroy_leaves_no_machine_or_says_which() {
    let (world, compiled) = (World::new(), cluster(3, "{}"));
    up(&world, &compiled).await;
    world.cloud.inject_for(&name("worker-1"), Operation::Destroy, Fault::Refuse(Status::Permanent), 1);
    world.cloud.inject_for(&name("worker-2"), Operation::Destroy, Fault::Pretend, 1_000);
    let outcome = down(&world, &compiled).await;
    let left: BTreeSet<&str> = outcome.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!((outcome.exit, left), (Exit::Partly, BTreeSet::from(["worker-1", "worker-2"])), "{outcome:?}");
    world.cloud.clear_faults();
    assert_eq!(down(&world, &compiled).await.exit, Exit::Done);
    assert!(world.cloud.machines().is_empty() && !world.cloud.is_shared_left());
}

#[tokio::test]
async fn workers_are_told_of_a_master_that_was_replaced() {
    let (world, compiled) = (World::new(), cluster(2, "{}"));
    up(&world, &compiled).await;
    let before = address(&world, &name("master-1"));
    let told = |node: &str| world.agents.memory_of(node).document;
    assert!(told("worker-2").contains(&before), "{}", told("worker-2"));
    let master = world.cloud.machines().into_iter().find(|machine| machine.name == name("master-1")).unwrap();
    world.cloud.vanish(&master.id);
    let outcome = up(&world, &compiled).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    let now = address(&world, &name("master-1"));
    assert_ne!(now, before, "the cloud gives no address twice");
    for worker in ["worker-1", "worker-2"] {
        let document = told(worker);
        assert!(document.contains(&now) && !document.contains(&before), "{document}");
    }
    assert_eq!(world.agents.memory_of("other-1").applied.len(), 1, "nothing else is touched");
}

#[tokio::test]
async fn a_worker_does_not_wait_for_nodes_that_it_does_not_need() {
    let (world, compiled) = (World::new(), cluster(1, "{}"));
    let (other, worker) = (Gate::new(), Gate::new());
    world.cloud.inject_for(&name("other-1"), Operation::Create, Fault::Hold(other.clone()), 1);
    world.cloud.inject_for(&name("worker-1"), Operation::Create, Fault::Hold(worker.clone()), 1);
    let watch = async {
        other.arrived(1).await;
        // It gets there although a node of the same level hangs.
        worker.arrived(1).await;
        worker.open();
        other.open();
    };
    let (outcome, ()) = tokio::join!(up(&world, &compiled), watch);
    assert_eq!(outcome.exit, Exit::Done);
}

#[tokio::test]
async fn probes_from_outside_may_fail_for_as_long_as_the_file_says() {
    let (world, compiled) = (World::new(), cluster(1, "{ ports: [8080] }"));
    world.cloud.inject_for(&name("master-1"), Operation::Ping, Fault::Refuse(Status::Temporary), 2);
    world.cloud.inject_for(&name("master-1"), Operation::Connect, Fault::Refuse(Status::Temporary), 2);
    assert_eq!(up(&world, &compiled).await.exit, Exit::Done);
    assert_eq!(world.cloud.faults_left(), 0, "each was met");
    let (world, compiled) = (World::new(), cluster(1, "{ ping: false, ports: [8080], timeout: 1 }"));
    world.cloud.inject_for(&name("master-1"), Operation::Connect, Fault::Refuse(Status::Temporary), 10_000);
    let outcome = up(&world, &compiled).await;
    let failed = of(&outcome, "master-1");
    assert_eq!(failed.step.as_deref(), Some("check port 8080"));
    let expected =
        "check port 8080 did not pass from here within 1 s: connection refused; seen from the node itself it passes";
    assert_eq!(failed.reason, expected);
    assert_eq!(of(&outcome, "worker-1").phase, Phase::Planned, "it needs the master");
    assert_eq!(of(&outcome, "other-1").phase, Phase::Ready);
}
