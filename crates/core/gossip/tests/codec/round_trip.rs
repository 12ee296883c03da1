//! Everything that is written is read as the same.

use std::collections::BTreeMap;

use muster_gossip::wire::keyring::{Key, Keyring};
use muster_gossip::wire::message::{
    Ack, Alive, Dead, ErrorReply, IndirectPing, Message, Nack, NodeState, Ping, PushPullHeader, Suspect,
};
use muster_gossip::wire::packet::{self, PacketError, Wrap};
use muster_gossip::wire::record::{Record, Secret};
use muster_gossip::wire::serf::{
    EventInSlot, EventSlot, JoinIntent, KeyRequest, KeyResponse, LeaveIntent, MemberRecord, PushPullState, Query,
    QueryResponse, RelayAddress, RelayHeader, SerfMessage, TagFilter, UserEvent, decode_tags, encode_tags,
};
use muster_gossip::wire::stream::{Decoder, PushPull, StreamError, StreamMessage};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn ping() -> impl Strategy<Value = Ping> {
    (any::<u32>(), text(), bytes(17), any::<u16>(), text()).prop_map(
        |(sequence, node, source_address, source_port, source_node)| Ping {
            node,
            sequence,
            source_address,
            source_node,
            source_port,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let numbers = || (any::<u32>(), text(), text());
    prop_oneof![
        ping().prop_map(Message::Ping),
        (ping(), any::<bool>(), bytes(17), any::<u16>()).prop_map(|(ping, nack, target, port)| {
            let Ping { node, sequence, source_address, source_node, source_port } = ping;
            let fields = IndirectPing { nack, node, port, sequence, source_address, source_node, source_port, target };
            Message::IndirectPing(fields)
        }),
        (any::<u32>(), bytes(200)).prop_map(|(sequence, payload)| Message::Ack(Ack { payload, sequence })),
        any::<u32>().prop_map(|sequence| Message::Nack(Nack { sequence })),
        numbers().prop_map(|(incarnation, node, from)| Message::Suspect(Suspect { from, incarnation, node })),
        numbers().prop_map(|(incarnation, node, from)| Message::Dead(Dead { from, incarnation, node })),
        (text(), bytes(17), bytes(513), any::<(u16, u32)>(), bytes(7)).prop_map(
            |(node, address, meta, (port, incarnation), versions)| {
                Message::Alive(Alive { address, incarnation, meta, node, port, versions })
            }
        ),
        bytes(300).prop_map(Message::User),
        text().prop_map(|message| Message::Error(ErrorReply { message })),
    ]
}

fn query() -> impl Strategy<Value = SerfMessage> {
    (bytes(17), vec(bytes(20), 0..4), any::<(u32, u32, u64, u16, u8, i64)>(), text(), bytes(500), text()).prop_map(
        |(address, filters, (flags, id, time, port, relay_factor, timeout_ns), name, payload, source_node)| {
            SerfMessage::Query(Query {
                address,
                filters,
                flags,
                id,
                time,
                name,
                payload,
                port,
                relay_factor,
                source_node,
                timeout_ns,
            })
        },
    )
}

fn push_pull_state() -> impl Strategy<Value = PushPullState> {
    let event = (text(), bytes(40)).prop_map(|(name, payload)| EventInSlot { name, payload });
    let slot = (any::<u64>(), vec(event, 0..4)).prop_map(|(time, events)| EventSlot { events, time });
    (
        any::<(u64, u64, u64)>(),
        vec(proptest::option::of(slot), 0..520),
        vec(text(), 0..5),
        btree_map(text(), any::<u64>(), 0..40),
    )
        .prop_map(|((event_time, time, query_time), events, left, status_times)| PushPullState {
            event_time,
            events,
            time,
            left,
            query_time,
            status_times,
        })
}

fn serf_message() -> impl Strategy<Value = SerfMessage> {
    prop_oneof![
        (any::<u64>(), text(), any::<bool>()).prop_map(|(time, node, prune)| SerfMessage::Leave(LeaveIntent {
            time,
            node,
            prune
        })),
        (any::<u64>(), text()).prop_map(|(time, node)| SerfMessage::Join(JoinIntent { time, node })),
        push_pull_state().prop_map(SerfMessage::PushPull),
        (any::<bool>(), any::<u64>(), text(), bytes(600)).prop_map(|(coalesce, time, name, payload)| {
            SerfMessage::UserEvent(UserEvent { coalesce, time, name, payload })
        }),
        query(),
        (any::<(u32, u32, u64)>(), text(), bytes(500)).prop_map(|((flags, id, time), from, payload)| {
            SerfMessage::QueryResponse(QueryResponse { flags, from, id, time, payload })
        }),
        (bytes(33)).prop_map(|key| SerfMessage::KeyRequest(KeyRequest { key: Secret::new(key) })),
        (vec(text(), 0..5), text(), text(), any::<bool>()).prop_map(|(keys, message, primary, result)| {
            let keys = keys.into_iter().map(Secret::new).collect();
            SerfMessage::KeyResponse(KeyResponse { keys, message, primary: Secret::new(primary), result })
        }),
        (bytes(17), any::<u16>(), text(), bytes(100)).prop_map(|(address, port, name, inner)| {
            let destination = RelayAddress { address, port, zone: String::new() };
            SerfMessage::Relay(RelayHeader { destination, name }, inner)
        }),
        (text(), btree_map(text(), text(), 0..5), any::<[u8; 6]>()).prop_map(|(name, tags, versions)| {
            let [delegate_current, delegate_max, delegate_min, protocol_current, protocol_max, protocol_min] = versions;
            SerfMessage::ConflictResponse(Some(MemberRecord {
                address: vec![127, 0, 0, 1],
                delegate_current,
                delegate_max,
                delegate_min,
                name,
                port: 7946,
                protocol_current,
                protocol_max,
                protocol_min,
                status: 1,
                tags,
            }))
        }),
        Just(SerfMessage::ConflictResponse(None)),
    ]
}

fn keyring() -> impl Strategy<Value = Option<Keyring>> {
    let key = prop_oneof![Just(16_usize), Just(24), Just(32)].prop_flat_map(|len| vec(any::<u8>(), len));
    proptest::option::of(key.prop_map(|key| Keyring::new(Key::new(&key)).expect("the key has a right size")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: muster_testkit::count(32, 5000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets(
        messages in vec(message(), 1..20),
        keyring in keyring(),
        compress in any::<bool>(),
        checksum in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let encoded: Vec<Vec<u8>> = messages.iter().map(Message::encode).collect();
        let wrap = Wrap { compress, checksum, keyring: keyring.as_ref() };
        let sealed = packet::seal(packet::compound(&encoded), wrap, &mut StdRng::seed_from_u64(seed));
        let opened = packet::open(&sealed, keyring.as_ref());
        prop_assert_eq!(opened.faults, vec![]);
        prop_assert_eq!(opened.messages, messages);
    }

    #[test]
    fn messages_of_serf(message in serf_message()) {
        prop_assert_eq!(SerfMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn streams_in_pieces(
        state in push_pull_state(),
        names in vec(text(), 0..20),
        keyring in keyring(),
        compress in any::<bool>(),
        piece in 1_usize..2000,
        seed in any::<u64>(),
    ) {
        let nodes = names.into_iter().map(|name| NodeState { name, ..NodeState::default() }).collect();
        let user_state = SerfMessage::PushPull(state).encode();
        let message = StreamMessage::PushPull(PushPull { join: true, nodes, user_state });
        let sealed = message.seal(compress, keyring.as_ref(), &mut StdRng::seed_from_u64(seed));
        let mut decoder = Decoder::default();
        let mut read = None;
        for chunk in sealed.chunks(piece) {
            prop_assert_eq!(&read, &None, "it is whole before its end");
            read = decoder.push(chunk, keyring.as_ref()).unwrap();
        }
        prop_assert_eq!(read, Some(message));
    }

    #[test]
    fn tags(tags in btree_map(text(), text(), 0..20)) {
        prop_assert_eq!(decode_tags(&encode_tags(&tags)), tags);
    }
}

/// Keys of records are sorted, as Go writes them.
#[test]
fn keys_are_in_the_order_of_the_alphabet() {
    fn check<R: Record>() {
        assert!(R::KEYS.is_sorted(), "{:?}", R::KEYS);
    }
    check::<Ping>();
    check::<IndirectPing>();
    check::<Ack>();
    check::<Suspect>();
    check::<Alive>();
    check::<Dead>();
    check::<NodeState>();
    check::<PushPullHeader>();
    check::<LeaveIntent>();
    check::<PushPullState>();
    check::<EventSlot>();
    check::<UserEvent>();
    check::<Query>();
    check::<QueryResponse>();
    check::<MemberRecord>();
    check::<KeyResponse>();
    check::<RelayHeader>();
    check::<TagFilter>();
}

#[test]
fn labels_are_refused_with_a_reason() {
    let labelled = b"\xf4\x05blue!\x00\x80";
    let opened = packet::open(labelled, None);
    assert_eq!(opened.faults, [PacketError::Label("blue!".to_owned())]);
    assert_eq!(Decoder::default().push(labelled, None), Err(StreamError::Label));
}

#[test]
fn encryption_on_one_side_only_is_an_error_on_both() {
    let ring = Keyring::new([Key::new(&[1; 16]).unwrap()]).unwrap();
    let ping = StreamMessage::Ping(Ping::default());
    let mut rng = StdRng::seed_from_u64(1);
    assert_eq!(Decoder::default().push(&ping.seal(true, None, &mut rng), Some(&ring)), Err(StreamError::NotEncrypted));
    assert_eq!(Decoder::default().push(&ping.seal(true, Some(&ring), &mut rng), None), Err(StreamError::Encrypted));
    let plain = Message::Ping(Ping::default()).encode();
    assert!(matches!(packet::open(&plain, Some(&ring)).faults[..], [PacketError::Seal(_)]));
}

#[test]
fn later_versions_may_add_keys() {
    let mut longer = vec![2, 0x83, 0xa5];
    longer.extend(b"SeqNo\x07\xa3New\x92\x01\xa1x\xa7Payload\xc4\x01\x05");
    assert_eq!(Message::decode(&longer), Ok(Message::Ack(Ack { payload: vec![5], sequence: 7 })));
}

#[test]
fn a_state_that_promises_too_much_is_refused_at_once() {
    for (header, field) in [
        (PushPullHeader { join: true, nodes: 1 << 40, user_state_len: 0 }, "the number of nodes"),
        (PushPullHeader { join: true, nodes: -1, user_state_len: 0 }, "the number of nodes"),
        (PushPullHeader { join: true, nodes: 0, user_state_len: 1 << 40 }, "the length of the user state"),
    ] {
        let mut bytes = vec![6];
        header.encode(&mut bytes);
        let refused = Decoder::default().push(&bytes, None);
        assert!(matches!(refused, Err(StreamError::Length { field: found, .. }) if found == field), "{refused:?}");
    }
    let empty: BTreeMap<String, String> = BTreeMap::new();
    assert_eq!(decode_tags(&encode_tags(&empty)), empty);
}

#[test]
fn keys_are_not_printed() {
    let request = KeyRequest { key: Secret::new(b"a secret of sixteen".to_vec()) };
    assert_eq!(format!("{request:?}"), "KeyRequest { key: [redacted] }");
}
