//! What the real agent sent, as it was recorded. `fixtures/README.md` says how.

use std::collections::BTreeMap;

use muster_gossip::wire::keyring::{Key, Keyring};
use muster_gossip::wire::message::Message;
use muster_gossip::wire::serf::SerfMessage;
use muster_gossip::wire::stream::StreamMessage;

use crate::exact;

pub(crate) struct Fixture {
    pub(crate) keyring: Option<Keyring>,
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) streams: Vec<Vec<u8>>,
}

pub(crate) fn all() -> Vec<Fixture> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let names = ["day-0", "day-128", "day-192", "day-256", "keys", "kill", "relay"];
    names
        .map(|name| read(&fs_err::read_to_string(format!("{folder}/{name}.txt")).expect("the fixture is whole")))
        .into()
}

fn read(text: &str) -> Fixture {
    let (mut keys, mut packets, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let (kind, hex) = line.split_once(' ').expect("the fixture is whole");
        match kind {
            "key" => keys.push(Key::new(&bytes(hex)).expect("the fixture is whole")),
            "packet" => packets.push(bytes(hex)),
            "stream" => streams.push(bytes(hex)),
            other => panic!("{other} is no kind of line"),
        }
    }
    Fixture { keyring: Keyring::new(keys).ok(), packets, streams }
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the fixture is whole"))
        .collect()
}

#[test]
fn what_the_real_agent_sent_is_written_the_same() {
    let mut kinds = BTreeMap::<String, usize>::new();
    for fixture in all() {
        for packet in &fixture.packets {
            for message in exact::check_packet(packet, fixture.keyring.as_ref()) {
                *kinds.entry(kind(&message)).or_default() += 1;
            }
        }
        for stream in &fixture.streams {
            let StreamMessage::PushPull(state) = exact::check_stream(stream, fixture.keyring.as_ref()) else {
                continue;
            };
            assert!(!state.nodes.is_empty());
            *kinds.entry("PushPull".to_owned()).or_default() += 1;
        }
    }
    let seen: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let wanted = [
        "Ack",
        "Alive",
        "Dead",
        "Ping",
        "PushPull",
        "Suspect",
        "User Join",
        "User Leave",
        "User Query",
        "User QueryResponse",
        "User Relay",
        "User UserEvent",
    ];
    assert_eq!(wanted.map(|kind| seen.contains(&kind)), [true; 12], "{seen:?}");
}

fn kind(message: &Message) -> String {
    let first = |text: String| text.split('(').next().unwrap_or_default().to_owned();
    match message {
        Message::User(serf) => {
            format!("User {}", first(format!("{:?}", SerfMessage::decode(serf).expect("the fixture is whole"))))
        }
        other => first(format!("{other:?}")),
    }
}

/// Samples that were captured before, from the protocol's description.
#[test]
fn captured_messages_mean_what_they_should() {
    let alive = bytes(
        "0486a441646472a47f0000c9ab496e6361726e6174696f6e01a44d657461b6ff82a4726f6c65a6736572766572a26463a465617374\
         a44e6f6465a47265616ca4506f7274cd1f0aa356736ea6010502020505",
    );
    let Message::Alive(read) = Message::decode(&alive).expect("the fixture is whole") else { panic!("it is alive") };
    assert_eq!(
        (read.node.as_str(), read.port, &read.address[..], read.incarnation),
        ("real", 7946, &[127, 0, 0, 201][..], 1)
    );
    let tags = muster_gossip::wire::serf::decode_tags(&read.meta);
    assert_eq!(tags, BTreeMap::from([("dc".to_owned(), "east".to_owned()), ("role".to_owned(), "server".to_owned())]));
    assert_eq!(Message::Alive(read).encode(), alive);

    let ack = bytes("0585a5466c61677301a446726f6da47265616ca24944cd0309a54c54696d651fa75061796c6f6164c0");
    let SerfMessage::QueryResponse(response) = SerfMessage::decode(&ack).expect("the fixture is whole") else {
        panic!("it is a response")
    };
    assert_eq!((response.flags, response.id, response.time), (1, 777, 31));
    assert_eq!(SerfMessage::QueryResponse(response).encode(), ack);
}
