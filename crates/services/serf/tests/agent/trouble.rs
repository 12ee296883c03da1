//! What goes wrong: members that die, are cut off, have the same name.

use std::time::Duration;

use serde_json::json;

use crate::peer::{Kind, Ours, PAIRS, Peer, Real, free_address, is_there};
use crate::proxy::Proxy;

/// Detection is quickest with this profile.
const PROFILE: &str = "local";
/// A question is asked at the start, and answered within a second.
const DISCOVERY: Duration = Duration::from_secs(15);

async fn dies([one, two]: [Kind; 2]) {
    let config = || json!({"profile": PROFILE});
    let mut one = Peer::start(one, "one", config()).await;
    let two = Peer::start(two, "two", config()).await;
    let three = Peer::start(Real, "three", config()).await;
    two.join(&one).await;
    three.join(&one).await;
    two.sees("three", "alive").await;
    three.kill().await;
    one.logs(&["serf: EventMemberFailed: three 127.0.0.1"]).await;
    one.sees("three", "failed").await;
    two.sees("three", "failed").await;
    assert_eq!(two.serf("force-leave", &["three"]).await, "");
    one.sees("three", "left").await;
    two.sees("three", "left").await;
    assert_eq!(one.serf("force-leave", &["-prune", "three"]).await, "");
    for peer in [&one, &two] {
        peer.until("members", &[], |text| !text.contains("three")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dead_are_noticed_and_forgotten_on_demand() {
    if is_there() {
        let [a, b, c] = PAIRS.map(dies);
        tokio::join!(a, b, c);
    }
}

/// Why it is suspected is kept, and figures count it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_failed_is_accounted_for() {
    if !is_there() {
        return;
    }
    let config = || json!({"profile": PROFILE});
    let ours = Peer::start(Ours, "ours", json!({"profile": PROFILE, "metrics_addr": "127.0.0.1:0"})).await;
    let (real, doomed) = (Peer::start(Real, "real", config()).await, Peer::start(Ours, "doomed", config()).await);
    real.join(&ours).await;
    doomed.join(&ours).await;
    real.sees("doomed", "alive").await;
    doomed.kill().await;
    ours.sees("doomed", "failed").await;
    let reason = ours.handle().reason("doomed").expect("it is kept");
    assert!(reason.failed.is_some() && reason.failed > Some(reason.since), "{reason:?}");
    assert!(reason.evidence.is_some() || !reason.accusers.is_empty(), "{reason:?}");
    let figures = ours.handle().figures().await.expect("it runs");
    assert!(figures.contains("serf_members{status=\"failed\"} 1"), "{figures}");
    assert!(figures.contains("serf_detection_seconds_count 1"), "{figures}");
}

/// Two that cannot reach each other, and then can.
async fn is_cut_off([one, two]: [Kind; 2]) {
    let addresses = [free_address(), free_address()];
    let gate = Proxy::gate();
    let [front_one, front_two] =
        [Proxy::start(addresses[0], gate.clone()).await, Proxy::start(addresses[1], gate.clone()).await];
    let config =
        |proxy: &Proxy| json!({"profile": PROFILE, "advertise": proxy.address.to_string(), "reconnect_interval": "1s"});
    let one = Peer::start_at(one, "one", addresses[0], config(&front_one)).await;
    let two = Peer::start_at(two, "two", addresses[1], config(&front_two)).await;
    assert_eq!([one.address, two.address], addresses, "the proxies lead to them");
    let text = two.serf("join", &[&front_one.address.to_string()]).await;
    assert!(text.contains("Successfully joined"), "{text}");
    one.sees("two", "alive").await;
    gate.close();
    one.sees("two", "failed").await;
    two.sees("one", "failed").await;
    gate.open();
    one.sees("two", "alive").await;
    two.sees("one", "alive").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_heals() {
    if is_there() {
        let [a, b, c] = PAIRS.map(is_cut_off);
        tokio::join!(a, b, c);
    }
}

/// Two members know the first `twin`; the second one has to go.
async fn takes_a_name(knows: Kind, first: Kind, second: Kind) {
    let one = Peer::start(knows, "one", json!({})).await;
    let first = Peer::start(first, "twin", json!({})).await;
    first.join(&one).await;
    let mut second = Peer::start(second, "twin", json!({})).await;
    second.try_serf("join", &[&one.address.to_string()]).await;
    second.logs(&["minority in name conflict resolution, quitting"]).await;
    second.ends().await;
    assert!(one.sees("twin", "alive").await.contains(&first.address.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_name_has_to_go() {
    if is_there() {
        tokio::join!(takes_a_name(Real, Real, Ours), takes_a_name(Ours, Real, Ours), takes_a_name(Ours, Ours, Real));
    }
}

async fn waits_for_the_other([one, two]: [Kind; 2]) {
    let address = free_address();
    let early = json!({"retry_join": [address.to_string()], "retry_interval": "1s"});
    let mut one = Peer::start(one, "one", early).await;
    one.logs(&["retrying in 1s"]).await;
    let two = Peer::start_at(two, "two", address, json!({})).await;
    assert_eq!(two.address, address, "nobody else took it");
    two.sees("one", "alive").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_are_tried_until_they_succeed() {
    if is_there() {
        tokio::join!(waits_for_the_other([Ours, Real]), waits_for_the_other([Real, Ours]));
    }
}

/// By multicast, which not every machine has.
async fn is_found([one, two]: [Kind; 2], cluster: &str) -> bool {
    let config = || json!({"discover": cluster});
    let first = Peer::start(one, "one", config()).await;
    let second = Peer::start(two, "two", config()).await;
    let alone = tokio::time::timeout(DISCOVERY, first.sees("two", "alive")).await.is_err();
    if !alone {
        second.sees("one", "alive").await;
    }
    !alone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_found_by_multicast() {
    if !is_there() {
        return;
    }
    let name = |pair: &str| format!("{pair}-{}", std::process::id());
    // If the real agents do not find each other, this network has no multicast.
    if !is_found([Real, Real], &name("rr")).await {
        return muster_testkit::skipped("the real agents do not find each other: no multicast here");
    }
    for (pair, kinds) in ["or", "ro", "oo"].iter().zip(PAIRS) {
        assert!(is_found(kinds, &name(pair)).await, "{kinds:?}");
    }
}
