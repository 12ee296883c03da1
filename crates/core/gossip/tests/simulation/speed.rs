//! How long joins, events and failures take to be known, ours beside the rules of the real agent.

use std::time::Duration;

use muster_gossip::{MemberEvent, Tuning};
use rand::RngExt as _;

use crate::world::{Told, World};
use crate::{all_see, cluster, cluster_by, percentile, with_seeds};

/// Everybody at once joins the first.
fn join_all(seed: u64, count: usize, tuning: Tuning) -> Duration {
    let mut world = World::new(seed);
    for _ in 0..count {
        world.add(|config| config.tuning = tuning);
    }
    for number in 1..count {
        world.join(number, 0);
    }
    let took = world.run_until(Duration::from_mins(5), |world| all_see(world, count));
    took.expect("all know all within five minutes")
}

#[test]
fn joins_have_no_stragglers() {
    let runs = muster_testkit::count(3, 100);
    let mut times = std::sync::Mutex::new(Vec::new());
    with_seeds("joins_have_no_stragglers", runs, |seed| {
        let took = join_all(seed, 30, Tuning::ours());
        assert!(took < Duration::from_secs(5), "the last one was told after {took:?}");
        times.lock().unwrap().push(took);
    });
    let times = times.get_mut().unwrap();
    let (median, last) = (percentile(times, 50), percentile(times, 100));
    muster_testkit::figure("join-30-median-ms", median.as_millis());
    muster_testkit::figure("join-30-slowest-ms", last.as_millis());
}

#[test]
fn a_large_cluster_joins() {
    for (count, limit) in muster_testkit::count(vec![(100, 10)], vec![(100, 10), (500, 20), (2000, 90)]) {
        with_seeds("a_large_cluster_joins", 1, |seed| {
            let took = join_all(seed, count, Tuning::ours());
            muster_testkit::figure(&format!("join-{count}-ms"), took.as_millis());
            assert!(took < Duration::from_secs(limit), "{count} members took {took:?}");
        });
    }
}

/// Events to all others: the times of each receipt, and how many never came.
fn events(seed: u64, count: usize, rounds: usize, tuning: Tuning) -> (Vec<Duration>, usize) {
    let mut world = World::new(seed);
    cluster_by(&mut world, count, tuning);
    world.run_for(Duration::from_secs(10));
    let (mut times, mut missing) = (Vec::new(), 0);
    for round in 0..rounds {
        world.told.clear();
        let sender = world.rng.random_range(0..count);
        let sent = world.now;
        let name = format!("event-{round}");
        world
            .with(sender, |gossip, now| gossip.user_event(now, &name, b"payload", false))
            .expect("the event is short enough");
        world.run_for(Duration::from_secs(5));
        let wanted = Told::User(name);
        let received = world.told.iter().filter(|(_, number, told)| *number != sender && *told == wanted);
        let before = times.len();
        times.extend(received.map(|(at, ..)| at.saturating_sub(sent)));
        missing += count - 1 - (times.len() - before);
    }
    (times, missing)
}

#[test]
fn events_reach_all_in_a_fraction_of_a_second() {
    let counts = muster_testkit::count(vec![30], vec![10, 30, 100, 500]);
    for count in counts {
        with_seeds("events_reach_all_in_a_fraction_of_a_second", 1, |seed| {
            let (mut times, missing) = events(seed, count, muster_testkit::count(10, 40), Tuning::ours());
            let (median, late) = (percentile(&mut times, 50), percentile(&mut times, 99));
            muster_testkit::figure(&format!("event-{count}-median-ms"), median.as_millis());
            muster_testkit::figure(&format!("event-{count}-99th-ms"), late.as_millis());
            assert_eq!(missing, 0, "events were missed");
            assert!(median < Duration::from_millis(150) && late < Duration::from_millis(500), "{median:?}, {late:?}");
        });
    }
}

/// The same members on the same network, with what we do better and without.
#[test]
fn our_rules_are_faster_than_those_of_the_real_agent() {
    let count = 30;
    with_seeds("our_rules_are_faster_than_those_of_the_real_agent", 1, |seed| {
        let median = |tuning| percentile(&mut events(seed, count, muster_testkit::count(5, 40), tuning).0, 50);
        let (ours, serf) = (median(Tuning::ours()), median(Tuning::serf()));
        muster_testkit::figure("event-30-median-by-serf-s-rules-ms", serf.as_millis());
        assert!(ours * 5 < serf, "events: {ours:?} and {serf:?}");
        let runs = muster_testkit::count(3, 100);
        let mut joins: Vec<Duration> = (1..=runs).map(|run| join_all(run, count, Tuning::serf())).collect();
        let (median, slowest) = (percentile(&mut joins, 50), percentile(&mut joins, 100));
        muster_testkit::figure("join-30-median-by-serf-s-rules-ms", median.as_millis());
        muster_testkit::figure("join-30-slowest-by-serf-s-rules-ms", slowest.as_millis());
        let ours = (1..=runs).map(|run| join_all(run, count, Tuning::ours())).max();
        assert!(ours.is_some_and(|ours| ours <= slowest), "joins: {ours:?} and {slowest:?}");
    });
}

/// Without news, a member sends a ping, answers one, and now and then a state.
#[test]
fn idle_members_send_little() {
    with_seeds("idle_members_send_little", 1, |seed| {
        let count = 30;
        let mut world = World::new(seed);
        cluster(&mut world, count);
        world.run_for(Duration::from_mins(1));
        let (packets, bytes, seconds) = (world.packets, world.bytes, 60);
        world.run_for(Duration::from_secs(seconds));
        let each = u64::try_from(count).expect("it is 30") * seconds;
        let (packets, bytes) = ((world.packets - packets) * 10 / each, (world.bytes - bytes) / each);
        muster_testkit::figure("idle-30-tenths-of-packets-per-second", packets);
        muster_testkit::figure("idle-30-bytes-per-second", bytes);
        assert!(packets <= 24 && bytes <= 320, "{packets} tenths of packets, {bytes} bytes each second");
    });
}

#[test]
fn a_burst_of_events_reaches_all() {
    with_seeds("a_burst_of_events_reaches_all", muster_testkit::count(1, 10), |seed| {
        let (count, burst) = (10, 500);
        let mut world = World::new(seed);
        cluster(&mut world, count);
        for number in 0..burst {
            let name = format!("burst-{number}");
            world
                .with(0, |gossip, now| gossip.user_event(now, &name, b"payload", false))
                .expect("the event is short enough");
        }
        let wanted = burst * count;
        let took = world.run_until(Duration::from_secs(30), |world| {
            world.told.iter().filter(|(.., told)| matches!(told, Told::User(_))).count() >= wanted
        });
        let took = took.expect("all 500 events reach all 10 members");
        muster_testkit::figure("burst-500-events-ms", took.as_millis());
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}

/// The times from a kill to when the first and the last of the others mark it as failed.
fn kill_one(seed: u64, count: usize) -> (Duration, Duration) {
    let mut world = World::new(seed);
    cluster(&mut world, count);
    world.run_for(Duration::from_secs(10));
    let victim = world.rng.random_range(0..count);
    world.told.clear();
    world.kill(victim);
    let failed = Told::Member(MemberEvent::Failed, victim);
    let begin = world.now;
    let seen = world.run_until(Duration::from_mins(2), |world| {
        world.told.iter().filter(|(.., told)| *told == failed).count() == count - 1
    });
    assert!(seen.is_some(), "not all mark the killed one as failed");
    let times = world.told.iter().filter(|(.., told)| *told == failed).map(|(at, ..)| at.saturating_sub(begin));
    let (first, last) = (times.clone().min(), times.max());
    (first.unwrap_or_default(), last.unwrap_or_default())
}

#[test]
fn who_is_killed_is_seen_as_failed_by_all() {
    for count in muster_testkit::count(vec![10, 30], vec![10, 30, 100, 500]) {
        let mut times = std::sync::Mutex::new((Vec::new(), Vec::new()));
        with_seeds("who_is_killed_is_seen_as_failed_by_all", muster_testkit::count(2, 20), |seed| {
            let (first, last) = kill_one(seed, count);
            let mut times = times.lock().unwrap();
            times.0.push(first);
            times.1.push(last);
        });
        let (first, last) = times.get_mut().unwrap();
        let (first, median, slowest) = (percentile(first, 50), percentile(last, 50), percentile(last, 100));
        muster_testkit::figure(&format!("kill-{count}-first-ms"), first.as_millis());
        muster_testkit::figure(&format!("kill-{count}-all-ms"), median.as_millis());
        assert!(slowest < Duration::from_secs(40), "{slowest:?}");
        assert!(first > Duration::from_secs(4), "sooner than the least suspicion: {first:?}");
    }
}
