//! Our member and Debian's real `serf` in one cluster, on the loopback device.

mod bytes;
mod driver;
#[path = "../common/exact.rs"]
mod exact;
mod serf;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_gossip::snapshot::Snapshot;
use muster_gossip::wire::keyring::{Key, Keyring};
use muster_gossip::wire::record::Secret;
use muster_gossip::{Event, Filter, Gossip, JoinOptions, KeyOperation, MemberEvent, QueryRequest, Status};

use driver::{PATIENCE, Running};
use serf::Agent;
use tokio::time::Instant;

/// Events of members, of one name and kind.
fn member(kind: MemberEvent, name: &str) -> impl FnMut(&Event) -> Option<muster_gossip::Member> {
    move |event| match event {
        Event::Members { kind: found, members } if *found == kind => members.iter().find(|m| &*m.name == name).cloned(),
        _ => None,
    }
}

async fn join(ours: &mut Running, agent: &Agent) {
    let address = agent.address;
    ours.with(move |gossip, now| gossip.join(now, &[address], JoinOptions::default())).await;
    let done = |event: &Event| match event {
        Event::JoinDone { contacted, failures, .. } => Some((*contacted, failures.clone())),
        _ => None,
    };
    assert_eq!(ours.event("end of the join", done).await, (1, vec![]));
}

/// One after the other: join, tags, events, queries, leave; each in both directions.
async fn a_day_together(seed: u64, key: Option<&[u8]>) {
    let encoded = key.map(|key| STANDARD.encode(key));
    let mut arguments = vec!["-tag", "role=web", "-event-handler", "query:uptime=echo 5 days"];
    if let Some(encoded) = &encoded {
        arguments.extend(["-encrypt", encoded]);
    }
    let mut agent = Agent::start("real", &arguments).await;
    let mut ours = Running::start("ours", seed, |config| {
        config.keyring = key.map(|key| Keyring::new([Key::new(key).expect("it is taken")]).expect("it is taken"));
        config.tags = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
    })
    .await;

    join(&mut ours, &agent).await;
    agent.logs(&["EventMemberJoin: ours"]).await;
    let real = ours.with(|gossip, _| gossip.member("real").cloned()).await.expect("it was in the push/pull");
    assert_eq!((real.status, real.tags["role"].as_str(), real.address), (Status::Alive, "web", agent.address));
    assert_eq!(agent.member("ours").await, ["ours", &ours.address.to_string(), "alive", "role=db"]);

    tags_and_events(&mut ours, &mut agent).await;
    queries(&mut ours, &agent).await;

    ours.with(Gossip::leave).await;
    ours.event("end of the leave", |event| (*event == Event::Left).then_some(())).await;
    agent.logs(&["EventMemberLeave: ours"]).await;
    assert_eq!(agent.member("ours").await[2], "left");
    let keyring = key.map(|key| Keyring::new([Key::new(key).expect("it is taken")]).expect("it is taken"));
    bytes::check(&mut ours, &format!("day-{}", key.map_or(0, |key| key.len() * 8)), keyring.as_ref());
    assert!(ours.warnings.try_recv().is_err(), "nothing went wrong");
}

async fn tags_and_events(ours: &mut Running, agent: &mut Agent) {
    let tags = BTreeMap::from([("role".to_owned(), "db".to_owned()), ("new".to_owned(), "yes".to_owned())]);
    ours.with(move |gossip, now| gossip.set_tags(now, tags)).await.expect("it is taken");
    agent.logs(&["EventMemberUpdate: ours"]).await;
    assert!(agent.member("ours").await[3].contains("new=yes"));
    agent.run("tags", &["-set", "role=cache"]).await;
    let real = ours.event("update of tags", member(MemberEvent::Update, "real")).await;
    assert_eq!(real.tags["role"], "cache");

    ours.with(|gossip, now| gossip.user_event(now, "deploy", b"v1", false)).await.expect("it is taken");
    agent.logs(&["user-event: deploy"]).await;
    agent.run("event", &["-coalesce=false", "restart", "payload \u{e4}"]).await;
    let payload = |event: &Event| match event {
        Event::User { name, payload, coalesce: false, .. } if name == "restart" => Some(payload.clone()),
        _ => None,
    };
    assert_eq!(ours.event("user event", payload).await, "payload \u{e4}".as_bytes());
}

async fn queries(ours: &mut Running, agent: &Agent) {
    let filter = Filter::Tag { tag: "role".to_owned(), expression: "ach".to_owned() };
    let request =
        QueryRequest { name: "uptime".to_owned(), filters: vec![filter], ack: true, ..QueryRequest::default() };
    ours.with(move |gossip, now| gossip.query(now, request)).await.expect("it is taken");
    let answer = |event: &Event| match event {
        Event::QueryResponse { from, payload, .. } => Some((from.clone(), payload.clone())),
        _ => None,
    };
    assert_eq!(ours.event("answer", answer).await, ("real".to_owned(), b"5 days\n".to_vec()));
    let done = |event: &Event| match event {
        Event::QueryDone { outcome, .. } => Some(outcome.clone()),
        _ => None,
    };
    let outcome = ours.event("end of the query", done).await;
    assert_eq!((outcome.acks, outcome.responses, outcome.silent.len(), outcome.early), (1, 1, 0, true));

    let answering = async {
        let query = |event: &Event| match event {
            Event::Query { query, name, payload, from, .. } => {
                assert_eq!((name.as_str(), &payload[..], from.as_str()), ("load", &b"now"[..], "real"));
                Some(*query)
            }
            _ => None,
        };
        let query = ours.event("query", query).await;
        ours.with(move |gossip, now| gossip.respond(now, query, b"0.5".to_vec())).await.expect("it is taken");
    };
    let (text, ()) = tokio::join!(agent.run("query", &["-timeout=5s", "-node", "ours", "load", "now"]), answering);
    assert!(text.contains("Ack from 'ours'") && text.contains("Response from 'ours': 0.5"), "{text}");
    assert!(text.contains("Total Acks: 1") && text.contains("Total Responses: 1"), "{text}");
}

#[tokio::test]
async fn plain() {
    if serf::is_there() {
        a_day_together(1, None).await;
    }
}

#[tokio::test]
async fn encrypted_with_each_size_of_key() {
    if serf::is_there() {
        for (seed, len) in [(2, 16), (3, 24), (4, 32)] {
            a_day_together(seed, Some(&vec![7; len])).await;
        }
    }
}

#[tokio::test]
async fn a_real_agent_joins_relays_and_leaves() {
    if !serf::is_there() {
        return;
    }
    let mut ours = Running::start("ours", 5, |_| {}).await;
    let (agent, other) = (Agent::start("real", &[]).await, Agent::start("other", &[]).await);
    let address = ours.address.to_string();
    for agent in [&agent, &other] {
        let text = agent.run("join", &[&address]).await;
        assert!(text.contains("Successfully joined cluster by contacting 1 nodes"), "{text}");
    }
    ours.event("join", member(MemberEvent::Join, "real")).await;
    ours.event("join", member(MemberEvent::Join, "other")).await;

    // Each answer comes by way of another too, and counts once.
    let request = QueryRequest {
        name: "_serf_ping".to_owned(),
        ack: true,
        relay_factor: 2,
        timeout: Some(PATIENCE),
        ..QueryRequest::default()
    };
    ours.with(move |gossip, now| gossip.query(now, request)).await.expect("it is taken");
    let done = |event: &Event| match event {
        Event::QueryDone { outcome, .. } => Some(outcome.clone()),
        _ => None,
    };
    let outcome = ours.event("end of the query", done).await;
    assert_eq!((outcome.acks, outcome.early), (3, true), "{outcome:?}");
    let text = agent.run("reachability", &[]).await;
    assert!(text.contains("Successfully contacted all live nodes"), "{text}");

    agent.run("leave", &[]).await;
    ours.event("leave", member(MemberEvent::Leave, "real")).await;
    bytes::check(&mut ours, "relay", None);
}

#[tokio::test]
async fn who_is_killed_is_seen_as_failed_and_may_be_removed() {
    if !serf::is_there() {
        return;
    }
    let mut ours = Running::start("ours", 6, |_| {}).await;
    let mut agent = Agent::start("real", &[]).await;
    let victim = Agent::start("victim", &[]).await;
    join(&mut ours, &agent).await;
    join(&mut ours, &victim).await;
    agent.logs(&["EventMemberJoin: victim"]).await;

    let killed = Instant::now();
    victim.kill().await;
    ours.event("failure", member(MemberEvent::Failed, "victim")).await;
    agent.logs(&["EventMemberFailed: victim"]).await;
    // A round of probes, a probe, the least suspicion; a busy machine may take longer.
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(45), "it took {took:?}");
    ours.with(|gossip, now| gossip.remove(now, "victim", false)).await.expect("it is taken");
    ours.event("leave", member(MemberEvent::Leave, "victim")).await;
    agent.logs(&["EventMemberLeave (forced): victim"]).await;

    bytes::check(&mut ours, "kill", None);
    let name = ours.name.clone();
    drop(ours);
    agent.logs(&["EventMemberFailed", &name]).await;
    agent.run("force-leave", &[&name]).await;
    assert_eq!(agent.member(&name).await[2], "left");
}

/// Four of each kind: all know all, hear of all events, and miss the same ones.
#[tokio::test]
async fn a_mixed_cluster() {
    if !serf::is_there() {
        return;
    }
    let encoded = STANDARD.encode([9; 32]);
    let (mut ours, mut agents) = (Vec::new(), Vec::new());
    for number in 0..4 {
        let keyring = Keyring::new([Key::new(&[9; 32]).expect("32 bytes are a key")]).expect("it is one key");
        let name = format!("ours-{number}");
        ours.push(Running::start(&name, 20 + number, |config| config.keyring = Some(keyring)).await);
        agents.push(Agent::start(&format!("real-{number}"), &["-encrypt", &encoded]).await);
    }
    for running in &mut ours {
        join(running, &agents[0]).await;
    }
    let address = ours[3].address.to_string();
    for agent in &agents[1..] {
        agent.run("join", &[&address]).await;
    }
    for running in &mut ours {
        running.until("eight alive members", |gossip| alive(gossip) == 8).await;
    }
    ours[1].with(|gossip, now| gossip.user_event(now, "from-ours", b"", false)).await.expect("it is short");
    agents[2].run("event", &["-coalesce=false", "from-real"]).await;
    for agent in &mut agents {
        let (one, other) = (["user-event: from-ours"], ["user-event: from-real"]);
        let first = agent.logs(&["user-event: from-"]).await;
        agent.logs(if first.contains(one[0]) { &other } else { &one }).await;
    }
    for running in &mut ours {
        let mut heard = [running.event("event", user_event).await, running.event("event", user_event).await];
        heard.sort();
        assert_eq!(heard, ["from-ours", "from-real"]);
    }
    drop(ours.pop());
    agents.remove(0).kill().await;
    for agent in &mut agents {
        agent.logs(&["EventMemberFailed: "]).await;
        agent.logs(&["EventMemberFailed: "]).await;
    }
    for running in &mut ours {
        running.until("six alive members", |gossip| alive(gossip) == 6).await;
    }
    let text = agents[0].run("members", &["-status", "failed"]).await;
    assert!(text.contains("ours-3") && text.contains("real-0"), "{text}");
}

fn user_event(event: &Event) -> Option<String> {
    match event {
        Event::User { name, .. } => Some(name.clone()),
        _ => None,
    }
}

fn alive(gossip: &Gossip) -> usize {
    gossip.members().filter(|member| member.status == Status::Alive).count()
}

/// As if it had been cut off: it stands still, is taken for failed, and is back.
#[tokio::test]
async fn who_stood_still_comes_back() {
    if !serf::is_there() {
        return;
    }
    let mut ours = Running::start("ours", 10, |_| {}).await;
    let mut agent = Agent::start("real", &[]).await;
    join(&mut ours, &agent).await;
    agent.logs(&["EventMemberJoin: ours"]).await;
    agent.signal("STOP").await;
    ours.event("failure", member(MemberEvent::Failed, "real")).await;
    agent.signal("CONT").await;
    ours.event("return", member(MemberEvent::Join, "real")).await;
    assert_eq!(agent.member("ours").await[2], "alive");
}

/// A member that was started again remembers from its snapshot whom to join and what it was told.
#[tokio::test]
async fn a_snapshot_leads_back() {
    if !serf::is_there() {
        return;
    }
    let agent = Agent::start("real", &[]).await;
    let mut ours = Running::start("ours", 11, |_| {}).await;
    let mut snapshot = Snapshot::default();
    // Who joins without replay is not told of it.
    agent.run("event", &["-coalesce=false", "early"]).await;
    join(&mut ours, &agent).await;
    agent.run("event", &["-coalesce=false", "before"]).await;
    let mut text = String::new();
    let real = ours.with(|gossip, _| gossip.member("real").cloned()).await.expect("it joined");
    text += &snapshot.record(&Event::Members { kind: MemberEvent::Join, members: vec![real] });
    assert_eq!(ours.event("user event", user_event).await, "before");
    let clocks = ours.with(|gossip, _| gossip.clocks()).await;
    text += &snapshot.record_clocks(clocks);
    drop(ours);

    let snapshot = Snapshot::replay(&text, false);
    let resume = snapshot.resume();
    let mut ours = Running::start("ours-again", 12, |config| config.resume = resume).await;
    let addresses: Vec<_> = snapshot.alive().values().copied().collect();
    ours.with(move |gossip, now| gossip.join(now, &addresses, JoinOptions { replay: true })).await;
    ours.event("join", member(MemberEvent::Join, "real")).await;
    agent.run("event", &["-coalesce=false", "after"]).await;
    assert_eq!(ours.event("user event", user_event).await, "after", "what was told before is not told again");
}

#[tokio::test]
async fn keys_are_changed_from_both_sides() {
    if !serf::is_there() {
        return;
    }
    let (old, new) = ([1; 32], [2; 32]);
    let mut ours = Running::start("ours", 7, |config| {
        config.keyring = Some(Keyring::new([Key::new(&old).expect("it is taken")]).expect("it is taken"));
    })
    .await;
    let agent = Agent::start("real", &["-encrypt", &STANDARD.encode(old)]).await;
    join(&mut ours, &agent).await;

    for operation in [KeyOperation::Install(new.to_vec()), KeyOperation::Use(new.to_vec())] {
        ours.with(move |gossip, now| gossip.change_keys(now, &operation)).await.expect("it is taken");
        let report = ours.event("report on keys", keys_report).await;
        assert_eq!((report.members, report.responses, report.errors, report.error()), (2, 2, 0, None), "{report:?}");
    }
    let text = agent.run("keys", &["-remove", &STANDARD.encode(old)]).await;
    assert!(text.contains("Successfully removed key!"), "{text}");
    let text = agent.run("keys", &["-list"]).await;
    assert!(text.contains(&format!("{}  [2/2]", STANDARD.encode(new))), "{text}");
    assert!(!text.contains(&STANDARD.encode(old)), "{text}");
    let keys = ours.with(|gossip, _| gossip.keyring().map(|ring| ring.keys().len())).await;
    assert_eq!(keys, Some(1));
    ours.with(|gossip, now| gossip.change_keys(now, &KeyOperation::List)).await.expect("it is taken");
    let report = ours.event("report on keys", keys_report).await;
    assert_eq!(report.keys, BTreeMap::from([(Secret::new(STANDARD.encode(new)), 2)]));
    let both = Keyring::new([Key::new(&new).expect("it is taken"), Key::new(&old).expect("it is taken")])
        .expect("it is taken");
    bytes::check(&mut ours, "keys", Some(&both));
}

fn keys_report(event: &Event) -> Option<muster_gossip::KeyReport> {
    match event {
        Event::KeysDone { report, .. } => Some(report.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn a_stranger_with_another_key_is_refused_with_a_reason() {
    if !serf::is_there() {
        return;
    }
    let mut ours = Running::start("ours", 8, |config| {
        config.keyring = Some(Keyring::new([Key::new(&[1; 16]).expect("it is taken")]).expect("it is taken"));
    })
    .await;
    let agent = Agent::start("real", &["-encrypt", &STANDARD.encode([2; 16])]).await;
    let address = agent.address;
    ours.with(move |gossip, now| gossip.join(now, &[address], JoinOptions::default())).await;
    let done = |event: &Event| match event {
        Event::JoinDone { contacted: 0, failures, .. } => Some(failures.clone()),
        _ => None,
    };
    let failures = ours.event("end of the join", done).await;
    assert_eq!(failures.len(), 1);
    let members = ours.with(|gossip, _| gossip.members().count()).await;
    assert_eq!(members, 1);
}

#[tokio::test]
async fn the_one_who_takes_a_name_is_told_so() {
    if !serf::is_there() {
        return;
    }
    // Two know the first `twin`; the second one is ours.
    let (mut agent, twin) = (Agent::start("real", &[]).await, Agent::start("twin", &[]).await);
    agent.run("join", &[&twin.address.to_string()]).await;
    agent.logs(&["EventMemberJoin: twin"]).await;
    let mut ours = Running::start("twin", 9, |_| {}).await;
    let address = agent.address;
    ours.with(move |gossip, now| gossip.join(now, &[address], JoinOptions::default())).await;
    let taken = |event: &Event| match event {
        Event::NameTaken { matching, responses } => Some((*matching, *responses)),
        _ => None,
    };
    assert_eq!(ours.event("conflict", taken).await, (0, 1));
}
