//! A day in a cluster of both kinds: join, tags, events, queries, relays, leave; keys; snapshots.

use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{Kind, Ours, PAIRS, PATIENCE, Peer, Real, is_there};

const KEY: &str = "cGFzc3dvcmQxMjM0NTY3OA==";
const OTHER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn with_key(config: Value, key: Option<&str>) -> Value {
    let mut config = config;
    if let Some(key) = key {
        config["encrypt_key"] = json!(key);
    }
    config
}

async fn a_day([one, two]: [Kind; 2], key: Option<&str>) {
    let handlers = ["query:uptime=echo 5 days", "query:silent=true", "query:broken=echo no; exit 1"];
    let first = json!({"tags": {"role": "web", "dc": "east"}, "event_handlers": handlers});
    let mut one = Peer::start(one, "one", with_key(first, key)).await;
    let mut two = Peer::start(two, "two", with_key(json!({"role": "db", "event_handlers": handlers}), key)).await;
    two.join(&one).await;
    assert!(one.sees("two", "alive").await.contains("role=db"));

    two.serf("tags", &["-set", "dc=west", "-set", "new=1", "-delete", "role"]).await;
    one.until("members", &["-name", "two", "-tag", "dc=west", "-tag", "new=1", "-tag", "role="], |text| {
        text.contains("two")
    })
    .await;

    tell(&one, &mut two, "deploy").await;
    tell(&two, &mut one, "redeploy").await;
    queries(&mut one, &mut two).await;
    queries_by_filter(&mut one, &mut two).await;

    assert_eq!(two.serf("leave", &[]).await, "Graceful leave complete\n");
    two.ends().await;
    one.sees("two", "left").await;
}

async fn tell(from: &Peer, to: &mut Peer, name: &str) {
    let text = from.serf("event", &["-coalesce=false", name, "now"]).await;
    assert_eq!(text, format!("Event '{name}' dispatched! Coalescing enabled: false\n"));
    to.logs(&["[INFO] agent: Received event: user-event: ", name]).await;
}

/// The members of a day, and who asks.
async fn queries(one: &mut Peer, two: &mut Peer) {
    for from in 0..2 {
        let asks = if from == 0 { &*one } else { &*two };
        let text = asks.serf("query", &["-timeout", "4s", "uptime"]).await;
        for part in ["Ack from 'one'", "Ack from 'two'", "Response from 'one': 5 days", "Response from 'two': 5 days"] {
            assert!(text.contains(part), "{part}: {text}\n{}\n{}", one.log_so_far(), two.log_so_far());
        }
        let text = asks.serf("query", &["-timeout", "4s", "-relay-factor", "1", "-node", "two", "uptime"]).await;
        let once = text.ends_with("Total Acks: 1\nTotal Responses: 1\n");
        assert!(once, "{text}\n{}\n{}", one.log_so_far(), two.log_so_far());
        let text = asks.serf("query", &["-timeout", "2s", "-no-ack", "silent"]).await;
        assert!(text.ends_with("Total Responses: 0\n") && !text.contains("Ack"), "{text}");
        let text = asks.serf("query", &["-timeout", "2s", "broken"]).await;
        assert!(text.ends_with("Total Acks: 2\nTotal Responses: 0\n"), "what fails does not answer: {text}");
    }
}

async fn queries_by_filter(one: &mut Peer, two: &mut Peer) {
    for from in 0..2 {
        let from = if from == 0 { &*one } else { &*two };
        let text = from.serf("query", &["-timeout", "2s", "-tag", "dc=ea.*", "uptime"]).await;
        let only_one = text.contains("Response from 'one'") && !text.contains("'two'");
        assert!(only_one, "{text}\n{}\n{}", one.log_so_far(), two.log_so_far());
        let text = from.serf("reachability", &[]).await;
        assert!(text.contains("Successfully contacted all live nodes"), "{text}");
    }
    for (from, other) in [(&*one, "two"), (&*two, "one")] {
        from.until("rtt", &[other], |text| text.contains(&format!("{other} <-> {} rtt: ", from.name))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_in_plain() {
    if is_there() {
        let [a, b, c] = PAIRS.map(|pair| a_day(pair, None));
        tokio::join!(a, b, c);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_a_key() {
    if is_there() {
        let [a, b, c] = PAIRS.map(|pair| a_day(pair, Some(KEY)));
        tokio::join!(a, b, c);
    }
}

async fn relayed(kinds: [Kind; 3]) {
    let [one, two, three] = kinds;
    let config = || json!({"event_handlers": ["query:uptime=echo 5 days"], "tags": {"x": "y"}});
    let one = Peer::start(one, "one", config()).await;
    let two = Peer::start(two, "two", config()).await;
    let three = Peer::start(three, "three", config()).await;
    two.join(&one).await;
    three.join(&one).await;
    two.sees("three", "alive").await;
    for from in [&one, &two, &three] {
        let text = from.serf("query", &["-timeout", "4s", "-relay-factor", "2", "uptime"]).await;
        assert!(text.ends_with("Total Acks: 3\nTotal Responses: 3\n"), "each answer counts once: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_by_way_of_others_too() {
    if is_there() {
        tokio::join!(relayed([Ours, Real, Real]), relayed([Real, Ours, Ours]));
    }
}

async fn keys_change([one, two]: [Kind; 2]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs_err::write(&path, format!("[\"{KEY}\"]")).expect("the file can be written");
        path
    };
    let (file_one, file_two) = (file("one"), file("two"));
    let one = Peer::start(one, "one", json!({"keyring_file": file_one})).await;
    let two = Peer::start(two, "two", json!({"keyring_file": file_two})).await;
    two.join(&one).await;
    let (well, text) = one.try_serf("keys", &["-remove", KEY]).await;
    assert!(!well && text.contains("2/2 nodes reported failure"), "the primary key stays: {text}");
    assert!(one.serf("keys", &["-install", OTHER_KEY]).await.contains("Successfully installed key!"));
    assert!(two.serf("keys", &["-use", OTHER_KEY]).await.contains("Successfully changed primary key!"));
    assert!(one.serf("keys", &["-remove", KEY]).await.contains("Successfully removed key!"));
    for peer in [&one, &two] {
        let text = peer.serf("keys", &["-list"]).await;
        assert!(text.contains(&format!("{OTHER_KEY}  [2/2]")) && !text.contains(KEY), "{text}");
    }
    for path in [&file_one, &file_two] {
        let keys: Vec<String> =
            serde_json::from_str(&fs_err::read_to_string(path).expect("it is there")).expect("JSON");
        assert_eq!(keys, [OTHER_KEY]);
    }
    let stranger = Peer::start(Ours, "stranger", json!({"encrypt_key": KEY})).await;
    let (well, text) = stranger.try_serf("join", &[&one.address.to_string()]).await;
    assert!(!well && text.contains("Error joining the cluster: 1 error occurred:"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_on_all_members_and_in_their_files() {
    if is_there() {
        let [a, b, c] = PAIRS.map(keys_change);
        tokio::join!(a, b, c);
    }
}

async fn comes_back([one, two]: [Kind; 2]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let snapshot = json!({"snapshot_path": folder.path().join("two"), "profile": "local"});
    let one = Peer::start(one, "one", json!({"profile": "local"})).await;
    let first = Peer::start(two, "two", snapshot.clone()).await;
    first.join(&one).await;
    one.serf("event", &["-coalesce=false", "before"]).await;
    let address = first.address;
    // What it was told reaches the file within half a second; it is seen there.
    let path = folder.path().join("two");
    let mut text = String::new();
    let writing = async {
        while !(text.contains("alive: one ") && text.contains("event-clock: ")) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if two == Real {
                // It writes what waits when something comes, and not sooner.
                one.serf("event", &["-coalesce=false", "before"]).await;
            }
            text = fs_err::read_to_string(&path).unwrap_or_default();
        }
    };
    let written = tokio::time::timeout(PATIENCE, writing).await;
    assert!(written.is_ok(), "{two:?} has only written: {text}");
    first.kill().await;
    one.sees("two", "failed").await;
    let mut again = Peer::start_at(two, "two", address, snapshot).await;
    one.sees("two", "alive").await;
    again.sees("one", "alive").await;
    one.serf("event", &["-coalesce=false", "after"]).await;
    let line = again.logs(&["Received event: user-event: ", if two == Real { "after" } else { "" }]).await;
    assert!(line.contains("after"), "what was told before is not told again: {line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_leads_back() {
    if is_there() {
        let [a, b, c] = PAIRS.map(comes_back);
        tokio::join!(a, b, c);
    }
}
