//! Probes, suspicion, death, and objecting to it.

use std::time::Duration;

use muster_gossip::wire::message::{Ack, Dead, IndirectPing, Message, Nack, Ping, Suspect};
use muster_gossip::wire::stream::StreamMessage;
use muster_gossip::{Evidence, MemberEvent, PeerState, Status, Tuning, Warning};

use crate::lone::{Lone, address, alive, name};

const SECOND: Duration = Duration::from_secs(1);

fn suspect(node: &str, from: &str, incarnation: u32) -> Message {
    Message::Suspect(Suspect { from: from.to_owned(), incarnation, node: node.to_owned() })
}

fn dead(node: &str, from: &str, incarnation: u32) -> Message {
    Message::Dead(Dead { from: from.to_owned(), incarnation, node: node.to_owned() })
}

#[test]
fn a_ping_is_answered_to_the_source_that_it_names() {
    let mut lone = Lone::new(|_| {});
    let ping = |node: &str, source: Vec<u8>| {
        let (source_node, source_port) = ("x".to_owned(), 99);
        Message::Ping(Ping { node: node.to_owned(), sequence: 5, source_address: source, source_node, source_port })
    };
    lone.hear(2, &ping("own", vec![10, 0, 0, 9]));
    lone.hear(2, &ping("", vec![]));
    lone.hear(2, &ping("somebody", vec![]));
    let acks = lone.sent.iter().filter(|(_, message)| matches!(message, Message::Ack(ack) if ack.sequence == 5));
    assert_eq!(acks.map(|(to, _)| to.to_string()).collect::<Vec<_>>(), ["10.0.0.9:99", "10.0.0.2:7946"]);
    assert_eq!(lone.warnings, [Warning::ForeignPing { from: address(2), name: "somebody".to_owned() }]);
}

#[test]
fn an_answered_probe_teaches_the_distance_and_nothing_else_happens() {
    let mut lone = Lone::with_others(1, |_| {});
    assert!(lone.run_until(2 * SECOND, |lone| lone.ping().is_some()));
    let (_, sequence) = lone.ping().expect("it pings");
    let payload = {
        let mut other = Lone::new(|_| {});
        other.hear(3, &Message::Ping(Ping { node: "own".to_owned(), sequence: 1, ..Ping::default() }));
        let Some((_, Message::Ack(ack))) = other.sent.first().cloned() else { panic!("it answers") };
        ack.payload
    };
    lone.now += Duration::from_millis(30);
    lone.hear(2, &Message::Ack(Ack { payload, sequence }));
    lone.run_for(Duration::from_millis(900));
    assert!(lone.connects.is_empty());
    let (own, other) = (lone.gossip.coordinate("own"), lone.gossip.coordinate("node-2"));
    let distance = own.expect("it is here").distance(other.expect("it was told"));
    assert!(distance > Duration::from_millis(1) && distance < Duration::from_millis(60), "{distance:?}");
}

/// Up to the moment at which others are asked.
fn unanswered(tuning: Tuning) -> (Lone, u32, String) {
    let mut lone = Lone::with_others(5, |config| config.tuning = tuning);
    assert!(lone.run_until(2 * SECOND, |lone| lone.ping().is_some()));
    let (to, sequence) = lone.ping().expect("it pings");
    lone.run_for(Duration::from_millis(501));
    let asked = lone.sent.iter().filter(|(_, message)| matches!(message, Message::IndirectPing(ping) if ping.nack));
    assert_eq!(asked.count(), 3);
    let (_, connected, StreamMessage::Ping(ping)) = &lone.connects[0] else { panic!("it pings by a stream") };
    assert_eq!((connected, ping.sequence), (&to, sequence));
    let name = ping.node.clone();
    (lone, sequence, name)
}

#[test]
fn a_probe_fails_as_soon_as_nobody_can_say_otherwise() {
    let (mut lone, sequence, target) = unanswered(Tuning::ours());
    for helper in 0..3 {
        assert_eq!(lone.gossip.peer(&target).map(|peer| peer.state), Some(PeerState::Alive));
        lone.hear(helper, &Message::Nack(Nack { sequence }));
    }
    let (stream, ..) = lone.connects[0];
    lone.act(|gossip, now| gossip.stream_ended(now, stream, "connection refused"));
    assert_eq!(lone.gossip.peer(&target).map(|peer| peer.state), Some(PeerState::Suspect));
    let evidence = Evidence { helpers: 3, without_answer: 3, stream: Some("connection refused".to_owned()) };
    assert!(lone.warnings.contains(&Warning::Suspected { name: target, evidence }));
    assert_eq!(lone.gossip.stats().health_score, 0, "all helpers answered, so it is not us");
}

#[test]
fn helpers_that_say_nothing_speak_against_us() {
    let (mut lone, _, target) = unanswered(Tuning::serf());
    lone.run_for(Duration::from_millis(600));
    assert_eq!(lone.gossip.peer(&target).map(|peer| peer.state), Some(PeerState::Suspect));
    assert_eq!(lone.gossip.stats().health_score, 3);
}

#[test]
fn who_answers_on_a_stream_only_is_alive_with_a_warning() {
    let (mut lone, sequence, target) = unanswered(Tuning::ours());
    let (stream, ..) = lone.connects[0];
    lone.receive(stream, &StreamMessage::Ack(Ack { payload: Vec::new(), sequence }));
    assert!(lone.warnings.contains(&Warning::StreamOnly { name: target.clone() }));
    assert_eq!(lone.gossip.peer(&target).map(|peer| peer.state), Some(PeerState::Alive));
}

#[test]
fn a_refusal_of_packets_asks_others_at_once() {
    let mut lone = Lone::with_others(5, |_| {});
    assert!(lone.run_until(2 * SECOND, |lone| lone.ping().is_some()));
    let (to, _) = lone.ping().expect("it pings");
    lone.act(|gossip, now| gossip.refused(now, to));
    assert_eq!(lone.connects.len(), 1);
}

#[test]
fn confirmations_bring_death_sooner() {
    // Of ten members suspicion lasts 24 s, with two confirmations 4 s. Our own probe, when its turn comes, is one.
    for (confirmations, least, most) in [(0, 10, 25), (2, 3, 5)] {
        let mut lone = Lone::with_others(9, |_| {});
        lone.hear(3, &suspect("node-2", "node-3", 1));
        for number in 0..confirmations {
            lone.hear(4, &suspect("node-2", &name(4 + number), 1));
            lone.hear(4, &suspect("node-2", &name(4 + number), 1));
        }
        let begin = lone.now;
        let failed = |lone: &Lone| lone.member_events().contains(&(MemberEvent::Failed, "node-2".to_owned()));
        assert!(lone.run_until(60 * SECOND, failed));
        let took = lone.now.saturating_sub(begin);
        assert!(took > least * SECOND && took < most * SECOND, "{confirmations}: {took:?}");
        assert_eq!(lone.status("node-2"), Some(Status::Failed));
        let told = lone.sent.iter().any(|(_, message)| matches!(message, Message::Dead(dead) if dead.node == "node-2"));
        assert!(told || lone.run_until(SECOND, |lone| lone.sent.iter().any(|(_, m)| matches!(m, Message::Dead(_)))));
    }
}

#[test]
fn who_objects_is_alive_again() {
    let mut lone = Lone::with_others(9, |_| {});
    lone.hear(3, &suspect("node-2", "node-3", 1));
    assert_eq!(lone.gossip.peer("node-2").map(|peer| peer.accusers().collect::<Vec<_>>()), Some(vec!["node-3"]));
    lone.hear(3, &Message::Alive(alive(2, 1)));
    assert_eq!(lone.gossip.peer("node-2").map(|peer| peer.state), Some(PeerState::Suspect), "nothing new");
    lone.hear(3, &Message::Alive(alive(2, 2)));
    assert_eq!(lone.gossip.peer("node-2").map(|peer| peer.state), Some(PeerState::Alive));
    lone.hear(3, &suspect("node-2", "node-3", 1));
    assert_eq!(lone.gossip.peer("node-2").map(|peer| peer.state), Some(PeerState::Alive), "an old accusation");
}

fn own_incarnations(lone: &Lone) -> Vec<u32> {
    let own = |message: &Message| match message {
        Message::Alive(alive) if alive.node == "own" => Some(alive.incarnation),
        _ => None,
    };
    lone.sent.iter().filter_map(|(_, message)| own(message)).collect()
}

#[test]
fn we_object_to_be_taken_for_dead() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.hear(2, &suspect("own", "node-2", 7));
    lone.run_for(SECOND);
    assert!(own_incarnations(&lone).contains(&8), "{:?}", own_incarnations(&lone));
    lone.hear(2, &dead("own", "node-2", 8));
    lone.run_for(SECOND);
    assert!(own_incarnations(&lone).contains(&9));
    assert_eq!(lone.status("own"), Some(Status::Alive));
    assert_eq!(lone.gossip.stats().health_score, 2);
}

/// A machine that was started again begins at one, and others remember more of it.
#[test]
fn an_old_record_of_us_is_overtaken() {
    let mut lone = Lone::with_others(3, |_| {});
    let mut old = alive(1, 5);
    old.node = "own".to_owned();
    lone.hear(2, &Message::Alive(old));
    lone.run_for(SECOND);
    assert!(own_incarnations(&lone).contains(&6));
}

#[test]
fn pings_for_others_are_forwarded_both_ways() {
    let mut lone = Lone::with_others(2, |_| {});
    let request = |sequence| {
        Message::IndirectPing(IndirectPing {
            nack: true,
            node: "node-3".to_owned(),
            port: 7946,
            sequence,
            target: vec![10, 0, 0, 3],
            ..IndirectPing::default()
        })
    };
    lone.hear(2, &request(70));
    let (to, sequence) = lone.ping().expect("it pings for the other");
    assert_eq!(to, address(3));
    lone.hear(3, &Message::Ack(Ack { payload: vec![1], sequence }));
    assert!(lone.sent.contains(&(address(2), Message::Ack(Ack { payload: Vec::new(), sequence: 70 }))));

    lone.clear();
    lone.hear(2, &request(71));
    lone.run_for(Duration::from_millis(501));
    assert!(lone.sent.contains(&(address(2), Message::Nack(Nack { sequence: 71 }))));
}

#[test]
fn the_name_of_who_left_may_be_taken_and_that_of_who_failed_may_not() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.hear(2, &dead("node-2", "node-2", 1));
    lone.hear(3, &dead("node-3", "node-4", 1));
    for number in [2, 3] {
        let mut moved = alive(number, 2);
        moved.address = vec![10, 0, 1, number];
        lone.hear(4, &Message::Alive(moved));
    }
    assert_eq!(lone.gossip.peer("node-2").map(|peer| peer.address.to_string()), Some("10.0.1.2:7946".to_owned()));
    assert_eq!(lone.gossip.peer("node-3").map(|peer| peer.address.to_string()), Some("10.0.0.3:7946".to_owned()));
    assert!(lone.warnings.iter().any(|warning| matches!(warning, Warning::Conflict { name, .. } if name == "node-3")));
}

#[test]
fn the_dead_are_forgotten_by_memberlist_and_remembered_by_serf() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.hear(3, &dead("node-2", "node-3", 1));
    assert!(lone.run_until(120 * SECOND, |lone| lone.gossip.peer("node-2").is_none()));
    assert!(lone.now > 30 * SECOND);
    assert_eq!(lone.status("node-2"), Some(Status::Failed));
    lone.run_for(Duration::from_hours(25));
    assert_eq!(lone.status("node-2"), None);
    assert!(lone.member_events().contains(&(MemberEvent::Reap, "node-2".to_owned())));
}
