//! Crashes at every call: whatever an engine was about to do or had just done, the next one ends in the same state, with
//! no machine made twice and none left over.

use std::collections::BTreeSet;

use muster_engine::Exit;
use muster_provider::Status;
use muster_provider::fake::{Edge, Fault, Operation};
use muster_testkit::{count, figure};
use tokio_util::sync::CancellationToken;

use crate::support::{Mortality, Process, TestBlueprint, TestGroup, Trouble, Wants, World};

/// More calls than any run here makes: an end for the loops.
const CALLS_MAX: usize = 2000;

fn before() -> TestBlueprint {
    let db = TestGroup { motd: "old", follows: vec!["web", "old"], ..TestGroup::new("db", 1) };
    let web =
        TestGroup { needs: vec!["db"], wants: Wants::Everybody, drained_by: Some("db"), ..TestGroup::new("web", 2) };
    let old = TestGroup { image: Some("debian-12"), drained_by: Some("db"), ..TestGroup::new("old", 1) };
    TestBlueprint::new(vec![db, web, old])
}

/// A change of a file, a replacement, a new node, a removal.
fn after() -> TestBlueprint {
    before().with(|groups| {
        groups[0].motd = "new";
        groups[1].machine = "large";
        groups[1].count = 3;
        groups.truncate(2);
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Build,
    Change,
    Remove,
}

impl Work {
    async fn run(self, process: &Process) -> Exit {
        let outcome = match self {
            Self::Build => process.up(&before()).await,
            Self::Change => process.up(&after()).await,
            Self::Remove => process.engine.down(&before().cluster, CancellationToken::new()).await,
        };
        outcome.unwrap().exit
    }

    async fn assert_done(self, world: &World) {
        match self {
            Self::Build => world.assert_true_to(&before()).await,
            Self::Change => world.assert_true_to(&after()).await,
            Self::Remove => world.assert_gone(&before()).await,
        }
    }
}

async fn start_of(work: Work) -> World {
    let world = World::new();
    world.cloud.bake_images();
    if work != Work::Build {
        assert_eq!(world.up(&before()).await.exit, Exit::Done);
    }
    world
}

/// Runs until the engine dies or is done. True when it died.
async fn dies(world: &World, work: Work, life: &Mortality) -> bool {
    let process = world.process_with(life, |_| {});
    tokio::select! {
        () = life.died() => true,
        exit = work.run(&process) => {
            assert_eq!(exit, Exit::Done);
            false
        }
    }
}

/// One crash at the chosen call, then a run that ends it. False when the run has no such call.
async fn crash_once(work: Work, call: usize, edge: Edge) -> bool {
    let world = start_of(work).await;
    let made = world.cloud.made().len();
    let life = Mortality::at(call, edge);
    if !dies(&world, work, &life).await {
        return false;
    }
    let what = life.calls().last().copied().unwrap_or_default();
    let exit = work.run(&world.process()).await;
    assert_eq!(exit, Exit::Done, "{work:?}, crash {edge:?} call {call} ({what})");
    work.assert_done(&world).await;
    let expected = match work {
        Work::Build => 4,
        Work::Change => 3,
        Work::Remove => 0,
    };
    assert_eq!(world.cloud.made().len() - made, expected, "{work:?}, crash {edge:?} call {call} ({what})");
    let tokens: BTreeSet<_> = world.cloud.made().into_iter().map(|made| made.token).collect();
    assert_eq!(tokens.len(), world.cloud.made().len(), "a token makes one machine");
    true
}

async fn crash_everywhere(work: Work) {
    let mut crashes = 0;
    for edge in [Edge::Before, Edge::After] {
        for call in 1..CALLS_MAX {
            if !crash_once(work, call, edge).await {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 20, "{work:?} has only {crashes} places to crash at");
    figure(&format!("crashes_{work:?}").to_lowercase(), crashes);
}

#[tokio::test]
async fn building_survives_a_crash_at_every_call() {
    crash_everywhere(Work::Build).await;
}

#[tokio::test]
async fn changing_survives_a_crash_at_every_call() {
    crash_everywhere(Work::Change).await;
}

#[tokio::test]
async fn removing_survives_a_crash_at_every_call() {
    crash_everywhere(Work::Remove).await;
}

/// A small generator of numbers: the same seed gives the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    fn edge(&mut self) -> Edge {
        if self.roll(2) == 0 { Edge::Before } else { Edge::After }
    }

    fn trouble(&mut self, world: &World) {
        let cloud = &world.cloud;
        for _ in 0..self.roll(4) {
            match self.roll(8) {
                0 => cloud.inject(Operation::Create, Fault::LoseReply, 1 + self.roll(3)),
                1 => cloud.inject(Operation::Create, Fault::Refuse(Status::Temporary), 1 + self.roll(3)),
                2 => cloud.inject(Operation::Create, Fault::Invisible { lists: 1 + self.roll(2) }, 1),
                3 => cloud.inject(Operation::Destroy, Fault::Pretend, 1 + self.roll(2)),
                4 => cloud.inject(Operation::Destroy, Fault::LoseReply, 1 + self.roll(2)),
                5 => cloud.inject(Operation::Destroy, Fault::Linger { lists: 1 + self.roll(2) }, 1),
                6 => world.agents.trouble("web-1", Trouble::BreakApply, 1),
                _ => world.agents.trouble("db-1", Trouble::LoseEnrolReply, 1),
            }
        }
    }
}

/// A few engines die one after the other at random calls, in a cloud that misbehaves; the last one is let finish.
async fn story(seed: u64) {
    let mut dice = Dice(seed);
    let world = World::new();
    world.cloud.bake_images();
    for work in [Work::Build, Work::Change, Work::Remove] {
        dice.trouble(&world);
        for _ in 0..dice.roll(4) {
            let life = Mortality::at(1 + dice.roll(60), dice.edge());
            if !dies(&world, work, &life).await {
                break;
            }
        }
        // What lags behind may be told late; the next look puts it right.
        let mut exit = work.run(&world.process()).await;
        for _ in 0..3 {
            if exit == Exit::Done {
                break;
            }
            exit = work.run(&world.process()).await;
        }
        assert_eq!(exit, Exit::Done, "seed {seed}, {work:?}");
        world.cloud.clear_faults();
        if work != Work::Remove {
            // A list that lagged behind at the end of the run has caught up by now.
            assert_eq!(work.run(&world.process()).await, Exit::Done, "seed {seed}, {work:?}");
        }
        work.assert_done(&world).await;
    }
}

#[expect(clippy::print_stdout, reason = "a test that fails shows the seed that replays it")]
fn tell(seed: u64) {
    println!("MUSTER_SEED={seed} cargo test -p muster-engine --test engine engines_that_die");
}

#[tokio::test]
async fn engines_that_die_in_clouds_that_lie_leave_a_true_cluster() {
    let first = std::env::var("MUSTER_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let stories = if first.is_some() { 1 } else { count(30, 1000) };
    for seed in first.unwrap_or(0)..first.unwrap_or(0) + stories {
        tell(seed);
        story(seed).await;
    }
    figure("engine_stories", stories);
}
