//! Simulated clusters: how fast news spread, and that nobody who runs is taken for dead. All from a seed.

mod chaos;
mod speed;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use muster_gossip::Tuning;
use world::World;

/// Set while the tests are built, only this seed is run.
const SEED: Option<&str> = option_env!("MUSTER_GOSSIP_SEED");

/// Runs a scenario with some seeds. A failure says how it is run again.
fn with_seeds(test: &str, seeds: u64, scenario: impl Fn(u64)) {
    let seeds = match SEED {
        Some(seed) => vec![seed.parse().expect("the seed is a number")],
        None => (1..=seeds).collect(),
    };
    for seed in seeds {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            panic!(
                "seed {seed}: {text}\nrun it again: MUSTER_GOSSIP_SEED={seed} cargo test -p muster-gossip --test simulation {test}"
            );
        }
    }
}

/// Members that all know each other.
fn cluster(world: &mut World, count: usize) {
    cluster_by(world, count, Tuning::ours());
}

fn cluster_by(world: &mut World, count: usize, tuning: Tuning) {
    for number in 0..count {
        world.add(|config| config.tuning = tuning);
        if number > 0 {
            world.join(number, 0);
        }
    }
    let joined = world.run_until(Duration::from_mins(2), |world| all_see(world, count));
    assert!(joined.is_some(), "{count} members do not know each other after two minutes");
    world.told.clear();
}

/// Every member that is up takes so many for alive.
fn all_see(world: &World, alive: usize) -> bool {
    (0..world.len()).filter(|number| world.is_up(*number)).all(|number| world.alive_seen(number) == alive)
}

/// The value below which so many hundredths of the others are.
fn percentile(values: &mut [Duration], hundredths: usize) -> Duration {
    values.sort();
    values[(values.len() * hundredths / 100).min(values.len() - 1)]
}
