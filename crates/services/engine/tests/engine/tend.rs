//! Work on single nodes: the others are not touched, and what is begun can be gone on with.

use std::collections::BTreeSet;

use muster_engine::{Drain, Exit, Outcome, Tend};
use muster_plan::Policy;
use muster_provider::MachineState;
use muster_provider::fake::Edge;
use muster_store::Store as _;
use muster_types::{GroupName, NodeName, Phase};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, Process, TestBlueprint, TestGroup, Trouble, World, name};

fn cluster() -> TestBlueprint {
    let head = TestGroup { follows: vec!["work"], ..TestGroup::new("head", 1) };
    let work = TestGroup { needs: vec!["head"], drained_by: Some("head"), ..TestGroup::new("work", 3) };
    TestBlueprint::new(vec![head, work, TestGroup::new("web", 2)])
}

async fn tend(process: &Process, tend: Tend, nodes: &[&str]) -> Outcome {
    let nodes: BTreeSet<NodeName> = nodes.iter().map(|node| name(node)).collect();
    process.engine.tend(&cluster(), (tend, &nodes), CancellationToken::new()).await.unwrap()
}

/// A process whose runs are about these nodes only.
fn about(world: &World, life: &Mortality, policy: impl FnOnce(&mut Policy), nodes: &[&str]) -> Process {
    world.process_with(life, |config| {
        config.policy.only = Some(nodes.iter().map(|node| name(node)).collect());
        policy(&mut config.policy);
    })
}

async fn phase(world: &World, node: &str) -> Phase {
    let status = world.process().engine.status(&cluster().cluster).await.unwrap();
    status.nodes.iter().find(|known| known.name.as_str() == node).unwrap().phase
}

fn machine(world: &World, node: &str) -> muster_provider::Machine {
    world.cloud.machines().into_iter().find(|machine| machine.name.as_str() == node).unwrap()
}

#[tokio::test]
async fn a_drained_node_stays_drained_until_it_is_resumed() {
    let world = World::new();
    world.up(&cluster()).await;
    let before = world.agents.asked_to_apply();
    let outcome = tend(&world.process(), Tend::Drain, &["work-2"]).await;
    assert_eq!((outcome.exit, outcome.total(), outcome.nodes[0].phase), (Exit::Done, 1, Phase::Draining));
    assert_eq!(world.agents.ran(), ["head-1: drain work-2"]);
    assert_eq!(phase(&world, "work-2").await, Phase::Draining);
    // `up` has nothing to do, and does not take it back; neither does it when its configuration changes.
    assert!(world.plan(&cluster()).await.is_empty());
    let edited = cluster().with(|groups| groups[1].motd = "welcome");
    assert_eq!(world.up(&edited).await.exit, Exit::Done);
    assert_eq!((phase(&world, "work-2").await, world.agents.ran().len()), (Phase::Draining, 1));
    world.up(&cluster()).await;
    assert_eq!(tend(&world.process(), Tend::Resume, &["work-2"]).await.exit, Exit::Done);
    assert_eq!(world.agents.ran()[1..], ["head-1: resume work-2"]);
    world.assert_true_to(&cluster()).await;
    assert_eq!(world.agents.asked_to_apply(), before + 6, "only the edit and its end were applied");
    let nothing = tend(&world.process(), Tend::Drain, &["web-1"]).await;
    assert_eq!(nothing.exit, Exit::Failed);
    assert!(nothing.nodes[0].reason.contains("how it is drained"), "{nothing:?}");
}

#[tokio::test]
async fn a_stopped_node_is_drained_before_and_resumed_when_it_is_started() {
    let world = World::new();
    world.up(&cluster()).await;
    let outcome = tend(&world.process(), Tend::Stop, &["work-1", "web-1"]).await;
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(machine(&world, "work-1").state, MachineState::Stopped);
    assert_eq!((phase(&world, "work-1").await, phase(&world, "web-1").await), (Phase::Stopped, Phase::Stopped));
    assert_eq!(tend(&world.process(), Tend::Stop, &["work-1"]).await.exit, Exit::Done, "once more is no error");
    // One of them is started; the other stays as it is.
    let process = about(&world, &Mortality::default(), |_| {}, &["work-1"]);
    let outcome = process.up(&cluster()).await.unwrap();
    assert_eq!((outcome.exit, outcome.total(), outcome.counts().started), (Exit::Done, 1, 1), "{outcome:?}");
    assert_eq!(machine(&world, "web-1").state, MachineState::Stopped);
    assert_eq!(world.agents.ran(), ["head-1: drain work-1", "head-1: resume work-1"]);
    world.up(&cluster()).await;
    world.assert_true_to(&cluster()).await;
}

#[tokio::test]
async fn what_cannot_be_drained_is_not_stopped_unless_drains_are_left_out() {
    let world = World::new();
    world.up(&cluster()).await;
    world.agents.trouble("head-1", Trouble::FailHook, 1);
    let outcome = tend(&world.process(), Tend::Stop, &["work-1", "work-2"]).await;
    assert_eq!(outcome.exit, Exit::Partly, "{outcome:?}");
    let states = ["work-1", "work-2"].map(|node| machine(&world, node).state);
    assert!(states.contains(&MachineState::Running) && states.contains(&MachineState::Stopped), "{states:?}");
    // The next `up` takes both back.
    world.up(&cluster()).await;
    world.assert_true_to(&cluster()).await;
    world.agents.trouble("head-1", Trouble::FailHook, 1);
    let process = world.process_with(&Mortality::default(), |config| config.drain = Drain::Skip);
    assert_eq!(tend(&process, Tend::Stop, &["work-1"]).await.exit, Exit::Done);
}

#[tokio::test]
async fn a_whole_cluster_is_stopped_with_those_last_that_others_need() {
    let world = World::new();
    world.up(&cluster()).await;
    let all = ["head-1", "work-1", "work-2", "work-3", "web-1", "web-2"];
    assert_eq!(tend(&world.process(), Tend::Stop, &all).await.exit, Exit::Done);
    // The hooks ran on the head, so it was there until then.
    assert_eq!(world.agents.ran().len(), 3);
    assert!(world.cloud.machines().iter().all(|machine| machine.state == MachineState::Stopped));
    assert_eq!(about(&world, &Mortality::default(), |_| {}, &all).up(&cluster()).await.unwrap().exit, Exit::Done);
    world.assert_true_to(&cluster()).await;
}

#[tokio::test]
async fn one_node_is_replaced_and_only_those_that_speak_of_it_are_told() {
    let world = World::new();
    world.up(&cluster()).await;
    // The file has moved on for another group, and a node of it is gone: neither was asked for.
    let edited = cluster().with(|groups| groups[2].motd = "welcome");
    world.cloud.vanish(&machine(&world, "web-2").id);
    let (old, before) = (machine(&world, "work-2").id, world.agents.asked_to_apply());
    let replace = |policy: &mut Policy| policy.replace = [name("work-2")].into();
    let process = about(&world, &Mortality::default(), replace, &["work-2"]);
    let outcome = process.up(&edited).await.unwrap();
    let touched: Vec<&str> = outcome.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!((outcome.exit, touched), (Exit::Done, vec!["head-1", "work-2"]), "{outcome:?}");
    assert_ne!(machine(&world, "work-2").id, old);
    assert!(world.agents.memory_of("web-1").document.contains("hello"));
    assert!(world.agents.asked_to_apply() <= before + 3, "the head once or twice, and the new one");
    world.up(&cluster()).await;
    world.assert_true_to(&cluster()).await;
}

#[tokio::test]
async fn a_chosen_node_goes_and_the_number_follows_also_after_a_crash_anywhere() {
    let smaller = TestBlueprint { existing: true, ..cluster() };
    let group = GroupName::new("work").unwrap();
    for call in 1..200 {
        let world = World::new();
        world.up(&cluster()).await;
        let life = Mortality::at(call, Edge::After);
        let process = about(&world, &life, |_| {}, &["work-1"]);
        let work = async {
            process.engine.scale([(group.clone(), 2)].into()).await;
            process.engine.let_go([name("work-1")].into()).await;
            process.up(&smaller).await.unwrap()
        };
        let died = tokio::select! {
            () = life.died() => true,
            outcome = work => {
                assert_eq!((outcome.exit, outcome.removed), (Exit::Done, vec![name("work-1")]));
                false
            }
        };
        drop(process);
        let record = world.store.cluster(&cluster().cluster).await.unwrap().unwrap();
        assert_eq!(record.scaled.contains_key(&group), record.scaled.get(&group) == Some(&2));
        // Whoever comes next takes the same node away, or none.
        let outcome = world.up(&smaller).await;
        assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
        let names: BTreeSet<NodeName> = world.cloud.machines().into_iter().map(|machine| machine.name).collect();
        let expected = !record.scaled.contains_key(&group);
        assert_eq!(names.contains(&name("work-1")), expected, "after call {call}: {names:?}");
        assert!(names.contains(&name("work-2")) && names.contains(&name("work-3")), "after call {call}: {names:?}");
        if !died {
            assert!(call > 10, "only {call} calls");
            return;
        }
    }
    panic!("the run never ended");
}

#[tokio::test]
async fn a_stop_that_dies_anywhere_ends_the_same_when_it_is_repeated() {
    for call in 1..200 {
        let world = World::new();
        world.up(&cluster()).await;
        let life = Mortality::at(call, Edge::After);
        let process = world.process_with(&life, |_| {});
        let died = tokio::select! {
            () = life.died() => true,
            outcome = tend(&process, Tend::Stop, &["work-1", "head-1"]) => {
                assert_eq!(outcome.exit, Exit::Done);
                false
            }
        };
        drop(process);
        // The head may be down already, and with it what runs the hook of the other.
        let again = world.process_with(&Mortality::default(), |config| config.drain = Drain::Skip);
        assert_eq!(tend(&again, Tend::Stop, &["work-1", "head-1"]).await.exit, Exit::Done);
        assert_eq!(world.store.open_intents(&cluster().cluster).await.unwrap(), []);
        world.up(&cluster()).await;
        world.assert_true_to(&cluster()).await;
        if !died {
            assert!(call > 10, "only {call} calls");
            return;
        }
    }
    panic!("the run never ended");
}
