//! Streams: states, pings, refusals, limits.

use std::time::Duration;

use muster_gossip::wire::message::{Ack, NodeState, Ping};
use muster_gossip::wire::serf::{PushPullState, SerfMessage};
use muster_gossip::wire::stream::{PushPull, StreamMessage};
use muster_gossip::{Event, JoinOptions, MemberEvent, PeerState, Status, Warning};

use crate::lone::{Lone, address, node_state};

const SECOND: Duration = Duration::from_secs(1);

fn state(nodes: Vec<NodeState>, serf: PushPullState) -> StreamMessage {
    StreamMessage::PushPull(PushPull { join: false, nodes, user_state: SerfMessage::PushPull(serf).encode() })
}

#[test]
fn a_state_is_answered_with_ours_and_taken_over() {
    let mut lone = Lone::new(|_| {});
    let stream = lone.accept(&state(vec![node_state(2, 0), node_state(3, 0)], PushPullState::default()));
    let [(answered, StreamMessage::PushPull(ours))] = &lone.writes[..] else { panic!("{:?}", lone.writes) };
    assert_eq!((*answered, ours.nodes.len(), ours.nodes[0].name.as_str()), (stream, 1, "own"));
    let Ok(SerfMessage::PushPull(serf)) = SerfMessage::decode(&ours.user_state) else { panic!("it is a state") };
    assert_eq!((serf.events.len(), serf.status_times.len()), (512, 1));
    assert_eq!(
        lone.member_events()[1..],
        [(MemberEvent::Join, "node-2".to_owned()), (MemberEvent::Join, "node-3".to_owned())]
    );
}

/// That one member took another for dead is hearsay.
#[test]
fn who_is_dead_in_a_state_is_suspected_only() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.accept(&state(vec![node_state(3, 2)], PushPullState::default()));
    assert_eq!(lone.gossip.peer("node-3").map(|peer| peer.state), Some(PeerState::Suspect));
    let serf = PushPullState {
        left: vec!["node-4".to_owned()],
        status_times: [("node-4".to_owned(), 6)].into(),
        time: 9,
        ..PushPullState::default()
    };
    lone.accept(&state(vec![node_state(4, 3)], serf));
    assert_eq!(lone.gossip.peer("node-4").map(|peer| peer.state), Some(PeerState::Left));
    assert_eq!(lone.status("node-4"), Some(Status::Left));
}

/// The times of those who left do not grow with each exchange.
#[test]
fn states_that_say_the_same_again_change_nothing() {
    let mut lone = Lone::with_others(1, |_| {});
    let serf = PushPullState {
        left: vec!["node-2".to_owned()],
        status_times: [("node-2".to_owned(), 6)].into(),
        time: 9,
        ..PushPullState::default()
    };
    for _ in 0..5 {
        lone.accept(&state(vec![node_state(2, 3)], serf.clone()));
    }
    assert_eq!(lone.gossip.member("node-2").map(|member| member.status_time), Some(7));
}

#[test]
fn members_of_other_versions_are_not_merged() {
    let mut lone = Lone::new(|_| {});
    let mut newer = node_state(2, 0);
    newer.versions = vec![3, 5, 4, 2, 5, 5];
    lone.join(JoinOptions::default(), vec![newer], PushPullState::default());
    let Some(Event::JoinDone { contacted: 0, failures, .. }) = lone.events.last() else { panic!("{:?}", lone.events) };
    assert_eq!(failures[0].address, address(2));
    assert!(lone.warnings.iter().any(|warning| matches!(warning, Warning::Merge { .. })));
    assert_eq!(lone.gossip.members().count(), 1);
}

#[test]
fn a_join_tries_all_and_says_what_failed() {
    let mut lone = Lone::new(|_| {});
    let addresses: Vec<_> = (2..30).map(address).collect();
    lone.act(|gossip, now| gossip.join(now, &addresses, JoinOptions::default()));
    assert_eq!(lone.connects.len(), 8, "not all at once");
    let mut next = 0;
    while let Some((stream, to, _)) = lone.connects.get(next).cloned() {
        next += 1;
        if to == address(7) {
            lone.receive(stream, &state(vec![node_state(7, 0)], PushPullState::default()));
        } else if to == address(8) {
            lone.receive(stream, &StreamMessage::Error("no installed keys".to_owned()));
        } else if to != address(9) {
            lone.act(|gossip, now| gossip.stream_ended(now, stream, "connection refused"));
        }
    }
    lone.run_for(11 * SECOND);
    let done = lone.events.iter().find_map(|event| match event {
        Event::JoinDone { contacted, failures, .. } => Some((*contacted, failures.clone())),
        _ => None,
    });
    let (contacted, failures) = done.expect("the last one was late");
    assert_eq!((contacted, failures.len()), (1, 27));
    let reason =
        |number: u8| failures.iter().find(|failure| failure.address == address(number)).map(ToString::to_string);
    assert_eq!(reason(8).as_deref(), Some("Failed to join 10.0.0.8:7946: remote error: no installed keys"));
    assert_eq!(reason(9).as_deref(), Some("Failed to join 10.0.0.9:7946: i/o timeout"));
}

#[test]
fn after_a_join_another_member_is_asked_too() {
    let mut lone = Lone::new(|_| {});
    lone.join(JoinOptions::default(), vec![node_state(2, 0), node_state(3, 0)], PushPullState::default());
    lone.connects.clear();
    lone.run_for(2 * SECOND);
    let states = lone.connects.iter().filter(|(.., message)| matches!(message, StreamMessage::PushPull(_))).count();
    assert_eq!(states, 1);
}

#[test]
fn pings_on_streams_are_answered_if_they_are_for_us() {
    let mut lone = Lone::new(|_| {});
    let ping = |node: &str| StreamMessage::Ping(Ping { node: node.to_owned(), sequence: 4, ..Ping::default() });
    lone.accept(&ping("own"));
    lone.accept(&ping("other"));
    let acks: Vec<_> = lone.writes.iter().map(|(_, message)| message.clone()).collect();
    assert_eq!(acks, [StreamMessage::Ack(Ack { payload: Vec::new(), sequence: 4 })]);
}

#[test]
fn streams_have_a_limit_in_number_and_time() {
    let mut lone = Lone::new(|_| {});
    let accepted = (0..200).filter(|_| lone.gossip.stream_accepted(lone.now, address(2)).is_some()).count();
    assert_eq!(accepted, 128);
    lone.run_for(11 * SECOND);
    assert_eq!(lone.gossip.stats().streams, 0);
    assert!(lone.gossip.stream_accepted(lone.now, address(2)).is_some());
}

#[test]
fn damage_on_a_stream_is_answered_with_the_reason() {
    let mut lone = Lone::new(|_| {});
    let stream = lone.gossip.stream_accepted(lone.now, address(2)).expect("there is room");
    lone.act(|gossip, now| gossip.stream_data(now, stream, &[200, 1, 2, 3]));
    let [(_, StreamMessage::Error(reason))] = &lone.writes[..] else { panic!("{:?}", lone.writes) };
    assert!(reason.contains("message type 200"), "{reason}");
    assert_eq!(lone.gossip.stats().streams, 0);
}
