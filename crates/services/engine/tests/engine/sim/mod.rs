//! Simulated days: processes that die, sleep and overlap, in clouds that lie, in time that is not real.

mod dice;
mod life;
mod store;
mod story;
mod wire;
mod world;

use muster_testkit::{count, figure};

use story::{Step, Story, Tally};
pub(crate) use world::SimWorld;

/// Steps of one story, before the cluster goes.
const STEPS_MAX: usize = 5;

/// Runs something in a runtime of its own, whose time passes when everybody waits.
pub(crate) fn simulate<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story)
}

async fn crashes(seed: u64) -> Tally {
    let mut story = Story::new(seed);
    for _ in 0..=story.world.dice.roll(STEPS_MAX) {
        story.carry_out(story.step()).await;
    }
    story.carry_out(Step::Down).await;
    story.tally.take()
}

async fn damages(seed: u64) -> Tally {
    let mut story = Story::new(seed);
    for _ in 0..=story.world.dice.roll(STEPS_MAX) {
        story.carry_out_after_damage(story.step()).await;
    }
    story.carry_out_after_damage(Step::Down).await;
    story.tally.take()
}

#[expect(clippy::print_stdout, reason = "a test that fails shows the seed that replays it")]
fn tell(seed: u64, test: &str) {
    println!("MUSTER_SEED={seed} cargo test -p muster-engine --test engine {test}");
}

/// The one seed that is asked for, or the first `many`, with those that have failed before.
fn seeds(many: u64, failed_once: &[u64]) -> Vec<u64> {
    match std::env::var("MUSTER_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => failed_once.iter().copied().chain(0..many).collect(),
    }
}

/// Seeds of stories that did not end well once.
const CRASHES_FAILED_ONCE: [u64; 2] = [2122, 3080];

#[test]
fn crashes_and_lies_leave_a_true_cluster() {
    let seeds = seeds(count(300, 10_000), &CRASHES_FAILED_ONCE);
    let mut tally = Tally::default();
    for seed in &seeds {
        tell(*seed, "crashes_and_lies");
        tally.add(simulate(crashes(*seed)));
    }
    figure("crashes-seeds", seeds.len());
    tally.tell("crashes");
}

/// Seeds of damages that were not mended once.
const DAMAGES_FAILED_ONCE: [u64; 1] = [725];

#[test]
fn damage_from_outside_is_put_right_by_each_up() {
    let seeds = seeds(count(150, 5000), &DAMAGES_FAILED_ONCE);
    let mut tally = Tally::default();
    for seed in &seeds {
        tell(*seed, "damage_from_outside");
        tally.add(simulate(damages(*seed)));
    }
    figure("damages-seeds", seeds.len());
    tally.tell("damages");
}
