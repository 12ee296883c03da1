//! Whatever the real agent sends is read and, written again, is the same, byte for byte.

use std::collections::BTreeMap;

use muster_gossip::wire::keyring::{Key, Keyring};
use muster_gossip::wire::message::{Compressed, Message, kind};
use muster_gossip::wire::msgpack::Reader;
use muster_gossip::wire::packet::{self, Opened};
use muster_gossip::wire::record::Record as _;
use muster_gossip::wire::serf::SerfMessage;
use muster_gossip::wire::stream::{Decoder, StreamMessage};
use muster_gossip::wire::{compress, limits};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::driver::{Running, Seen};

/// Set while the tests are built, a folder into which everything that comes is written: so the fixtures were made.
const RECORD: Option<&str> = option_env!("MUSTER_GOSSIP_RECORD");

/// Checks all that this member has received.
pub async fn check(ours: &mut Running, key: Option<&[u8]>) {
    let keyring = key.map(|key| Keyring::new([Key::new(key).unwrap()]).unwrap());
    let (mut packets, mut streams) = (Vec::new(), BTreeMap::<_, Vec<u8>>::new());
    while let Ok(seen) = ours.seen.try_recv() {
        match seen {
            Seen::Packet(bytes) => packets.push(bytes),
            Seen::Stream(id, bytes) => streams.entry(id).or_default().extend(bytes),
        }
    }
    assert!(packets.len() > 5, "only {} packets came", packets.len());
    assert!(!streams.is_empty());
    for bytes in &packets {
        check_packet(bytes, keyring.as_ref());
    }
    for bytes in streams.values() {
        check_stream(bytes, keyring.as_ref());
    }
    assert!(ours.warnings.try_recv().is_err(), "nothing went wrong");
    if let Some(folder) = RECORD {
        let bits = key.map_or(0, |key| key.len() * 8);
        record(&format!("{folder}/packets-{bits}.txt"), packets.iter());
        record(&format!("{folder}/streams-{bits}.txt"), streams.values());
    }
}

fn record<'a>(path: &str, all: impl Iterator<Item = &'a Vec<u8>>) {
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    fs_err::write(path, all.map(|bytes| hex(bytes) + "\n").collect::<String>()).unwrap();
}

fn check_packet(bytes: &[u8], keyring: Option<&Keyring>) {
    let Opened { messages, faults } = packet::open(bytes, keyring);
    assert_eq!(faults, [], "{bytes:02x?}");
    let mut body = keyring.map_or_else(|| bytes.to_vec(), |keyring| keyring.open(bytes, &[]).unwrap());
    if body[0] == kind::CRC {
        body.drain(..5);
    }
    let written: Vec<Vec<u8>> = messages.iter().map(Message::encode).collect();
    assert_eq!(packet::compound(&written), inflated(body));
    for message in &messages {
        if let Message::User(serf) = message {
            assert_eq!(SerfMessage::decode(serf).unwrap().encode(), *serf);
        }
    }
}

fn check_stream(bytes: &[u8], keyring: Option<&Keyring>) {
    let message = Decoder::default().push(bytes, keyring).unwrap().expect("it is whole");
    let body = match keyring {
        Some(keyring) => keyring.open(&bytes[5..], &bytes[..5]).unwrap(),
        None => bytes.to_vec(),
    };
    assert_eq!(message.seal(false, None, &mut StdRng::seed_from_u64(0)), inflated(body));
    if let StreamMessage::PushPull(state) = message {
        // Go writes maps in no order, so only what is read twice is compared.
        let serf = SerfMessage::decode(&state.user_state).unwrap();
        assert_eq!(serf.encode().len(), state.user_state.len());
        assert_eq!(SerfMessage::decode(&serf.encode()).unwrap(), serf);
    }
}

fn inflated(body: Vec<u8>) -> Vec<u8> {
    if body[0] != kind::COMPRESS {
        return body;
    }
    let Compressed { algorithm, bytes } = Compressed::decode(&mut Reader::new(&body[1..])).unwrap();
    compress::inflate(algorithm, &bytes, limits::STREAM_INFLATED_MAX).unwrap()
}
