//! What goes wrong in real networks: loss, pauses, partitions, churn.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_gossip::{Gossip, MemberEvent, Status};
use rand::RngExt as _;

use crate::world::{Told, World, name};
use crate::{all_see, cluster, with_seeds};

fn failures(world: &World) -> usize {
    world.told.iter().filter(|(.., told)| matches!(told, Told::Member(MemberEvent::Failed, _))).count()
}

#[test]
fn loss_makes_nobody_fail() {
    let (count, minutes) = muster_testkit::count((30, 3), (100, 60));
    for percent in [5, 20] {
        with_seeds("loss_makes_nobody_fail", muster_testkit::count(1, 3), |seed| {
            let mut world = World::new(seed);
            cluster(&mut world, count);
            world.network.loss = f64::from(percent) / 100.0;
            world.run_for(Duration::from_mins(minutes));
            let failed = failures(&world);
            muster_testkit::figure(&format!("false-failures-at-{percent}%-loss-{count}-members-{minutes}-min"), failed);
            assert_eq!(failed, 0, "members failed that run");
            assert!(all_see(&world, count));
        });
    }
}

#[test]
fn pauses_make_nobody_fail() {
    let (count, minutes) = muster_testkit::count((30, 2), (100, 10));
    with_seeds("pauses_make_nobody_fail", muster_testkit::count(1, 5), |seed| {
        let mut world = World::new(seed);
        cluster(&mut world, count);
        // One at a time stands still for five seconds, as under SIGSTOP.
        for _ in 0..minutes * 60 / 6 {
            let paused = world.rng.random_range(0..count);
            world.pause(paused, Duration::from_secs(5));
            world.run_for(Duration::from_secs(6));
        }
        let running: Vec<_> =
            world.told.iter().filter(|(.., told)| matches!(told, Told::Member(MemberEvent::Failed, _))).collect();
        muster_testkit::figure(&format!("false-failures-by-pauses-{count}-members-{minutes}-min"), running.len());
        assert!(running.is_empty(), "members failed that only paused: {running:?}");
        world.run_for(Duration::from_secs(30));
        assert!(all_see(&world, count));
    });
}

#[test]
fn a_partition_heals() {
    let count = muster_testkit::count(20, 100);
    with_seeds("a_partition_heals", muster_testkit::count(2, 10), |seed| {
        let mut world = World::new(seed);
        cluster(&mut world, count);
        let islanders = count / 3;
        (0..islanders).for_each(|number| world.set_island(number, 1));
        let parted = world.run_until(Duration::from_mins(5), |world| {
            world.alive_seen(0) == islanders && world.alive_seen(count - 1) == count - islanders
        });
        assert!(parted.is_some(), "each side sees the other as failed");
        world.run_for(Duration::from_mins(2));
        // Who leaves now must not come back with the other side's memory of it.
        world.with(count - 1, Gossip::leave);
        world.run_for(Duration::from_mins(1));
        world.kill(count - 1);
        (0..islanders).for_each(|number| world.set_island(number, 0));
        let healed = world.run_until(Duration::from_mins(20), |world| all_see(world, count - 1));
        let healed = healed.expect("both sides find each other again");
        muster_testkit::figure(&format!("heal-{count}-members-s"), healed.as_secs());
        world.run_for(Duration::from_mins(2));
        for number in 0..count - 1 {
            let status = world.gossip(number).member(&name(count - 1)).map(|member| member.status);
            assert_eq!(status, Some(Status::Left), "{} of {}", name(count - 1), name(number));
        }
    });
}

/// A day of faults: members crash, leave, come back, pause, are cut off; the network loses packets now and then.
#[test]
fn after_any_faults_views_converge() {
    let (count, hours) = muster_testkit::count((12, 1), (25, 24));
    with_seeds("after_any_faults_views_converge", muster_testkit::count(2, 5), |seed| {
        let mut world = World::new(seed);
        cluster(&mut world, count);
        let mut left = BTreeSet::new();
        let end = world.now + Duration::from_hours(hours);
        while world.now < end {
            world.told.clear();
            fault(&mut world, &mut left);
            let calm = Duration::from_secs(world.rng.random_range(1..120));
            world.run_for(calm);
            bounded(&world);
        }
        repair(&mut world, &left);
        let up = (0..count).filter(|number| world.is_up(*number)).count();
        let converged = world.run_until(Duration::from_hours(1), |world| all_see(world, up));
        let seconds = converged.unwrap_or_default().as_secs();
        muster_testkit::figure(&format!("converged-after-{hours}-h-of-faults-{count}-members-s"), seconds);
        assert!(converged.is_some(), "{up} members are up, and not all know it: {:?}", views(&world));
        for number in (0..count).filter(|number| world.is_up(*number)) {
            for gone in &left {
                let status = world.gossip(number).member(&name(*gone)).map(|member| member.status);
                assert_ne!(status, Some(Status::Alive), "{} left, and {} sees it alive", name(*gone), name(number));
            }
        }
    });
}

fn fault(world: &mut World, left: &mut BTreeSet<usize>) {
    let number = world.rng.random_range(1..world.len());
    match (world.rng.random_range(0..7), world.is_up(number)) {
        (0, true) => world.kill(number),
        (1, true) => {
            world.with(number, Gossip::leave);
            world.run_for(Duration::from_secs(15));
            world.kill(number);
            left.insert(number);
        }
        (2, true) => {
            let time = Duration::from_millis(world.rng.random_range(100..60_000));
            world.pause(number, time);
        }
        (3, _) => {
            let island = world.rng.random_range(0..2);
            world.set_island(number, island);
        }
        (4, _) => (0..world.len()).for_each(|number| world.set_island(number, 0)),
        (5, _) => world.network.loss = world.rng.random_range(0.0..0.4),
        (_, false) => {
            world.start(number);
            world.join(number, 0);
            left.remove(&number);
        }
        _ => {
            let name = format!("event-{}", world.now.as_millis());
            world.with(number, |gossip, now| gossip.user_event(now, &name, b"", true)).ok();
        }
    }
}

fn repair(world: &mut World, left: &BTreeSet<usize>) {
    world.network.loss = 0.0;
    for number in 0..world.len() {
        world.set_island(number, 0);
        if !world.is_up(number) && !left.contains(&number) {
            world.start(number);
        }
    }
    // Who came back while it was cut off knows nobody: a driver tries to join again.
    for number in 1..world.len() {
        if world.is_up(number) && world.alive_seen(number) < 2 {
            world.join(number, 0);
        }
    }
}

/// Nothing grows without end.
fn bounded(world: &World) {
    for number in (0..world.len()).filter(|number| world.is_up(*number)) {
        let stats = world.gossip(number).stats();
        assert!(stats.members <= world.len(), "{stats:?}");
        assert!(stats.broadcast_queue <= world.len() && stats.streams < 200, "{stats:?}");
        assert!(stats.intent_queue + stats.event_queue + stats.query_queue < 2000, "{stats:?}");
    }
}

fn views(world: &World) -> Vec<(usize, usize)> {
    (0..world.len()).filter(|number| world.is_up(*number)).map(|number| (number, world.alive_seen(number))).collect()
}
