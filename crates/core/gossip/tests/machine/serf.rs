//! Intents, events, queries, tags, keys.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_gossip::wire::message::{Dead, Message, address_bytes};
use muster_gossip::wire::serf::{
    EventInSlot, EventSlot, FLAG_ACK, JoinIntent, KeyResponse, LeaveIntent, PushPullState, Query, QueryResponse,
    RelayAddress, RelayHeader, SerfMessage, UserEvent,
};
use muster_gossip::{
    Coalescing, Event, EventError, Filter, Gossip, JoinOptions, KeyOperation, MemberEvent, Phase, QueryError, QueryId,
    QueryRequest, RespondError, Resume, Status,
};

use crate::lone::{Lone, address, alive, node_state};

const SECOND: Duration = Duration::from_secs(1);

fn leave(node: &str, time: u64, prune: bool) -> SerfMessage {
    SerfMessage::Leave(LeaveIntent { time, node: node.to_owned(), prune })
}

fn dead(node: &str, from: &str) -> Message {
    Message::Dead(Dead { from: from.to_owned(), incarnation: 1, node: node.to_owned() })
}

fn user_event(time: u64, payload: &str) -> SerfMessage {
    SerfMessage::UserEvent(UserEvent { coalesce: true, time, name: "deploy".to_owned(), payload: payload.into() })
}

fn payloads(lone: &Lone) -> Vec<String> {
    let payload = |event: &Event| match event {
        Event::User { payload, .. } => Some(String::from_utf8_lossy(payload).into_owned()),
        _ => None,
    };
    lone.events.iter().filter_map(payload).collect()
}

#[test]
fn only_who_said_so_has_left() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.hear_serf(2, &leave("node-2", 5, false));
    assert_eq!(lone.status("node-2"), Some(Status::Leaving));
    lone.hear(2, &dead("node-2", "node-2"));
    // The intent of this one was missed.
    lone.hear(3, &dead("node-3", "node-3"));
    let wanted = [(MemberEvent::Leave, "node-2".to_owned()), (MemberEvent::Failed, "node-3".to_owned())];
    assert_eq!(lone.member_events(), wanted);
    lone.clear();
    lone.hear_serf(4, &leave("node-3", 6, false));
    assert_eq!(lone.member_events(), [(MemberEvent::Leave, "node-3".to_owned())]);
    assert_eq!(lone.status("node-3"), Some(Status::Left));
    lone.hear_serf(4, &leave("node-3", 7, true));
    assert_eq!(lone.status("node-3"), None);
}

#[test]
fn intents_about_strangers_are_kept_for_when_they_come() {
    let mut lone = Lone::with_others(1, |_| {});
    lone.hear_serf(2, &leave("node-5", 9, false));
    lone.hear_serf(2, &SerfMessage::Join(JoinIntent { time: 8, node: "node-5".to_owned() }));
    lone.hear(2, &Message::Alive(alive(5, 1)));
    assert_eq!(lone.status("node-5"), Some(Status::Leaving));
    lone.hear_serf(2, &SerfMessage::Join(JoinIntent { time: 10, node: "node-5".to_owned() }));
    assert_eq!(lone.status("node-5"), Some(Status::Alive));
}

#[test]
fn who_says_that_we_leave_is_contradicted() {
    let mut lone = Lone::with_others(2, |_| {});
    lone.hear_serf(2, &leave("own", 20, false));
    lone.run_for(SECOND);
    assert_eq!(lone.status("own"), Some(Status::Alive));
    let join =
        |message: &SerfMessage| matches!(message, SerfMessage::Join(join) if join.node == "own" && join.time > 20);
    assert!(lone.serf_sent().iter().any(join), "{:?}", lone.serf_sent());
}

#[test]
fn who_remembers_an_earlier_life_of_ours_hears_of_this_one() {
    let mut lone = Lone::with_others(2, |_| {});
    // An exchange of states tells the time of the leave, and not that it was one.
    let heard = SerfMessage::Join(JoinIntent { time: 31, node: "own".to_owned() });
    let joins = |lone: &Lone| {
        let own =
            |message: &SerfMessage| matches!(message, SerfMessage::Join(join) if join.node == "own" && join.time > 31);
        lone.serf_sent().iter().filter(|message| own(message)).count()
    };
    lone.hear_serf(2, &heard);
    lone.run_for(SECOND);
    assert!(joins(&lone) > 0, "{:?}", lone.serf_sent());
    // Heard once more, it is old.
    lone.run_for(10 * SECOND);
    lone.clear();
    lone.hear_serf(2, &heard);
    lone.run_for(SECOND);
    assert_eq!(joins(&lone), 0, "{:?}", lone.serf_sent());
}

#[test]
fn leaving_says_the_intent_first_and_then_that_we_are_gone() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.act(Gossip::leave);
    assert_eq!(lone.gossip.phase(), Phase::Leaving);
    assert!(lone.run_until(10 * SECOND, |lone| lone.events.contains(&Event::Left)));
    assert!(lone.now < 4 * SECOND, "{:?}", lone.now);
    let is_intent = |message: &Message| matches!(message, Message::User(bytes) if matches!(SerfMessage::decode(bytes), Ok(SerfMessage::Leave(_))));
    let intent = lone.sent.iter().position(|(_, message)| is_intent(message));
    let gone = |message: &Message| matches!(message, Message::Dead(dead) if dead.node == "own" && dead.from == "own");
    let gone = lone.sent.iter().position(|(_, message)| gone(message));
    assert!(intent.is_some() && intent < gone, "{intent:?}, {gone:?}");
    // Nothing more comes from it.
    lone.clear();
    lone.hear(2, &Message::Alive(alive(7, 1)));
    lone.run_for(60 * SECOND);
    assert!(lone.sent.is_empty() && lone.events.is_empty());
}

#[test]
fn alone_one_leaves_at_once() {
    let mut lone = Lone::new(|_| {});
    lone.act(Gossip::leave);
    lone.run_for(Duration::ZERO);
    assert!(lone.events.contains(&Event::Left));
}

#[test]
fn an_event_is_told_and_passed_on_once() {
    let mut lone = Lone::with_others(2, |_| {});
    for payload in ["a", "b", "a", "b"] {
        lone.hear_serf(2, &user_event(40, payload));
    }
    assert_eq!(payloads(&lone), ["a", "b"]);
    lone.hear_serf(2, &user_event(1000, "c"));
    lone.hear_serf(2, &user_event(400, "too old"));
    assert_eq!(payloads(&lone), ["a", "b", "c"]);
    assert_eq!(lone.gossip.stats().event_time, 1001);
    lone.run_for(SECOND);
    let passed_on = lone.serf_sent().iter().filter(|message| matches!(message, SerfMessage::UserEvent(_))).count();
    // Three members: four copies of each, to two others.
    assert_eq!(passed_on, 3 * 4);
}

/// However many come, what is remembered and what waits to be passed on has a limit.
#[test]
fn a_flood_of_events_fills_no_memory() {
    let mut lone = Lone::with_others(2, |_| {});
    for number in 0..5000_u32 {
        lone.hear_serf(2, &user_event(600, &number.to_string()));
    }
    assert_eq!(payloads(&lone).len(), 4096);
    // Those of later times push out those of earlier ones.
    for time in 601..700 {
        for number in 0..100 {
            lone.hear_serf(2, &user_event(time, &number.to_string()));
        }
    }
    assert_eq!(payloads(&lone).len(), 4096 + 9900);
    assert!(lone.gossip.stats().event_queue <= 2 * 4096, "{:?}", lone.gossip.stats());
    lone.hear_serf(2, &user_event(600, "forgotten, and not told again"));
    assert_eq!(payloads(&lone).len(), 4096 + 9900);
}

/// It would wait for a packet that has room for it.
#[test]
fn what_no_packet_holds_is_not_passed_on() {
    let mut lone = Lone::with_others(2, |_| {});
    lone.hear_serf(2, &user_event(5, &"x".repeat(1400)));
    assert_eq!(payloads(&lone).len(), 1);
    assert_eq!(lone.gossip.stats().event_queue, 0);
    lone.run_for(SECOND);
    lone.clear();
    lone.run_for(Duration::from_millis(900));
    assert!(lone.sent.len() < 20, "{} messages", lone.sent.len());
}

#[test]
fn what_happened_before_a_join_is_told_on_demand_only() {
    for (replay, told) in [(false, vec![]), (true, vec!["old"])] {
        let mut lone = Lone::new(|_| {});
        let events = vec![EventInSlot { name: "deploy".to_owned(), payload: b"old".to_vec() }];
        let mut slots = vec![None; 512];
        slots[30] = Some(EventSlot { events, time: 30 });
        let state = PushPullState { event_time: 31, events: slots, time: 9, query_time: 4, ..PushPullState::default() };
        lone.join(JoinOptions { replay }, vec![node_state(2, 0)], state);
        assert_eq!(payloads(&lone), told);
        let done = |event: &Event| matches!(event, Event::JoinDone { contacted: 1, .. });
        assert!(lone.events.iter().any(done));
        lone.hear_serf(2, &user_event(31, "new"));
        assert_eq!(payloads(&lone).last().map(String::as_str), Some("new"));
        let stats = lone.gossip.stats();
        assert!(stats.member_time >= 9 && stats.event_time == 32 && stats.query_time == 4, "{stats:?}");
    }
}

#[test]
fn what_a_snapshot_remembers_is_not_told_again() {
    let resume = Resume { clock: 5, event_clock: 30, query_clock: 7 };
    let mut lone = Lone::with_others(1, |config| config.resume = resume);
    lone.hear_serf(2, &user_event(30, "told before"));
    lone.hear_serf(2, &user_event(31, "new"));
    assert_eq!(payloads(&lone), ["new"]);
    assert_eq!(lone.gossip.clocks(), Resume { clock: lone.gossip.clocks().clock, event_clock: 31, query_clock: 7 });
}

#[test]
fn events_that_are_too_long_are_refused() {
    let mut lone = Lone::new(|_| {});
    let mut send = |len: usize| lone.act(|gossip, now| gossip.user_event(now, "name", &vec![1; len], true));
    assert_eq!(send(509), Err(EventError::Size(512)));
    assert_eq!(send(500), Err(EventError::EncodedSize(512)));
    assert_eq!(send(400), Ok(1));
    assert_eq!(send(400), Ok(2));
}

#[test]
fn events_of_members_may_be_told_together() {
    let mut lone = Lone::new(|config| config.coalesce = Some(Coalescing::default()));
    lone.run_for(5 * SECOND);
    lone.clear();
    for number in 2..6 {
        lone.hear(2, &Message::Alive(alive(number, 1)));
        lone.run_for(Duration::from_millis(300));
    }
    assert!(lone.events.is_empty());
    lone.run_for(3 * SECOND);
    let [Event::Members { kind: MemberEvent::Join, members }] = &lone.events[..] else { panic!("{:?}", lone.events) };
    assert_eq!(members.len(), 4);
}

fn query(time: u64, filters: &[(u8, &str)], flags: u32) -> Query {
    let filter = |(tag, name): &(u8, &str)| {
        let mut bytes = vec![*tag, 0x91, 0xa0 | u8::try_from(name.len()).expect("it is short")];
        bytes.extend(name.bytes());
        bytes
    };
    Query {
        address: address_bytes(address(2).ip()),
        filters: filters.iter().map(filter).collect(),
        flags,
        id: 77,
        time,
        name: "load".to_owned(),
        payload: b"now".to_vec(),
        port: 7946,
        relay_factor: 0,
        source_node: "node-2".to_owned(),
        timeout_ns: 2_000_000_000,
    }
}

#[test]
fn a_query_is_answered_once_and_in_time() {
    let mut lone = Lone::with_others(2, |_| {});
    let asked = SerfMessage::Query(query(9, &[(0, "own")], FLAG_ACK));
    lone.hear_serf(3, &asked);
    lone.hear_serf(3, &asked);
    let id = QueryId { time: 9, id: 77 };
    let told = lone.events.iter().filter(|event| matches!(event, Event::Query { query, .. } if *query == id)).count();
    assert_eq!(told, 1);
    let answers = |lone: &Lone, flags: u32| {
        let is = |(to, message): &&(_, Message)| {
            let Message::User(bytes) = message else { return false };
            let Ok(SerfMessage::QueryResponse(response)) = SerfMessage::decode(bytes) else { return false };
            *to == address(2) && response.flags == flags && response.from == "own"
        };
        lone.sent.iter().filter(is).count()
    };
    assert_eq!((answers(&lone, FLAG_ACK), answers(&lone, 0)), (1, 0));

    let respond = |lone: &mut Lone, len: usize| lone.act(|gossip, now| gossip.respond(now, id, vec![1; len]));
    assert_eq!(respond(&mut lone, 1100), Err(RespondError::Size(1024)));
    assert_eq!(respond(&mut lone, 900), Ok(()));
    assert_eq!(respond(&mut lone, 900), Err(RespondError::Twice));
    assert_eq!(answers(&lone, 0), 1);
    lone.run_for(3 * SECOND);
    assert_eq!(respond(&mut lone, 1), Err(RespondError::Unknown));
}

#[test]
fn a_query_for_others_is_passed_on_only() {
    for filters in [vec![(0, "node-9")], vec![(9, "own")]] {
        let mut lone = Lone::with_others(2, |_| {});
        lone.hear_serf(3, &SerfMessage::Query(query(9, &filters, FLAG_ACK)));
        assert!(lone.events.is_empty());
        lone.run_for(SECOND);
        let sent = lone.serf_sent();
        assert!(sent.iter().any(|message| matches!(message, SerfMessage::Query(_))));
        assert!(!sent.iter().any(|message| matches!(message, SerfMessage::QueryResponse(_))));
    }
}

#[test]
fn a_query_ends_when_all_who_live_have_answered() {
    let mut lone = Lone::with_others(2, |_| {});
    let filters = vec![Filter::Nodes(vec!["node-2".to_owned(), "node-3".to_owned()])];
    let request = QueryRequest { name: "load".to_owned(), filters, ack: true, ..QueryRequest::default() };
    let id = lone.act(|gossip, now| gossip.query(now, request)).expect("it is allowed");
    let answer = |flags: u32| {
        let payload = if flags == 0 { b"1".to_vec() } else { Vec::new() };
        SerfMessage::QueryResponse(QueryResponse {
            flags,
            from: "node-2".to_owned(),
            id: id.id,
            time: id.time,
            payload,
        })
    };
    for flags in [FLAG_ACK, FLAG_ACK, 0, 0] {
        lone.hear_serf(2, &answer(flags));
    }
    let done = |lone: &Lone| {
        lone.events.iter().find_map(|event| match event {
            Event::QueryDone { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
    };
    assert_eq!(done(&lone), None);
    lone.hear(2, &dead("node-3", "node-2"));
    let outcome = done(&lone).expect("the other one is dead");
    assert_eq!((outcome.acks, outcome.responses, outcome.silent.len(), outcome.early), (1, 1, 0, true));
}

#[test]
fn a_query_tells_at_its_end_who_was_silent() {
    let mut lone = Lone::with_others(2, |_| {});
    let request = QueryRequest { name: "_serf_ping".to_owned(), ack: true, ..QueryRequest::default() };
    lone.act(|gossip, now| gossip.query(now, request)).expect("it is allowed");
    let acked = |lone: &Lone| lone.events.iter().any(|event| matches!(event, Event::QueryDone { .. }));
    assert!(lone.run_until(4 * SECOND, acked));
    let Some(Event::QueryDone { outcome, .. }) = lone.events.last() else { panic!("{:?}", lone.events) };
    // The answer of this member to itself goes over the network, which is not there.
    assert_eq!(outcome.silent, ["node-2", "node-3", "own"]);
}

#[test]
fn users_cannot_ask_in_the_name_of_serf() {
    let mut lone = Lone::new(|_| {});
    let mut ask = |name: &str, payload: &[u8], filters| {
        let request =
            QueryRequest { name: name.to_owned(), payload: payload.to_vec(), filters, ..QueryRequest::default() };
        lone.act(|gossip, now| gossip.query(now, request))
    };
    assert_eq!(ask("_serf_install-key", b"", vec![]), Err(QueryError::Internal));
    assert_eq!(ask("_serf_ping", b"x", vec![]), Err(QueryError::Internal));
    assert_eq!(ask("load", &[0; 1000], vec![]), Err(QueryError::Size(1024)));
    let broken = Filter::Tag { tag: "role".to_owned(), expression: "*.".to_owned() };
    assert!(matches!(ask("load", b"", vec![broken]), Err(QueryError::Filter(_))));
}

#[test]
fn a_relayed_message_goes_on_to_whom_it_is_for() {
    let mut lone = Lone::with_others(2, |_| {});
    let inner = SerfMessage::QueryResponse(QueryResponse { from: "node-3".to_owned(), ..QueryResponse::default() });
    let destination = RelayAddress { address: vec![10, 0, 0, 2], port: 7946, zone: String::new() };
    let header = RelayHeader { destination, name: "node-2".to_owned() };
    lone.hear_serf(3, &SerfMessage::Relay(header, inner.encode()));
    assert!(lone.sent.contains(&(address(2), Message::User(inner.encode()))));
}

#[test]
fn tags_are_told_with_a_new_incarnation_and_have_a_limit() {
    let mut lone = Lone::with_others(2, |_| {});
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let operation = lone.act(|gossip, now| gossip.set_tags(now, tags)).expect("they are short");
    let told = Event::Told { operation, in_time: true };
    assert!(lone.run_until(4 * SECOND, |lone| lone.events.contains(&told)));
    assert_eq!(lone.member_events(), [(MemberEvent::Update, "own".to_owned())]);
    let own =
        |message: &Message| matches!(message, Message::Alive(alive) if alive.node == "own" && alive.incarnation == 2);
    assert!(lone.sent.iter().any(|(_, message)| own(message)));
    let long = BTreeMap::from([("a".to_owned(), "b".repeat(600))]);
    assert!(lone.act(|gossip, now| gossip.set_tags(now, long)).is_err());
}

#[test]
fn without_a_keyring_orders_about_keys_fail_with_a_reason() {
    let mut lone = Lone::with_others(1, |_| {});
    lone.act(|gossip, now| gossip.change_keys(now, &KeyOperation::Install(vec![1; 16]))).expect("it can be asked");
    let refusal = |message: &SerfMessage| {
        let SerfMessage::QueryResponse(response) = message else { return None };
        match SerfMessage::decode(&response.payload) {
            Ok(SerfMessage::KeyResponse(KeyResponse { message, result: false, .. })) => Some(message),
            _ => None,
        }
    };
    let reasons: Vec<String> = lone.serf_sent().iter().filter_map(refusal).collect();
    assert_eq!(reasons, ["No keyring to modify (encryption not enabled)"]);
}

#[test]
fn a_removed_member_that_failed_counts_as_left() {
    let mut lone = Lone::with_others(3, |_| {});
    lone.hear(3, &dead("node-2", "node-3"));
    let operation = lone.act(|gossip, now| gossip.remove(now, "node-2", true)).expect("it is another one");
    assert_eq!(lone.status("node-2"), None, "pruned");
    assert!(lone.run_until(5 * SECOND, |lone| lone.events.contains(&Event::Told { operation, in_time: true })));
    assert!(lone.act(|gossip, now| gossip.remove(now, "own", false)).is_err());
}
