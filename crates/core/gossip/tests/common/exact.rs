//! Checks that bytes of the real agent are read and, written again, are the same.

use muster_gossip::wire::keyring::Keyring;
use muster_gossip::wire::message::{Compressed, Message, kind};
use muster_gossip::wire::msgpack::Reader;
use muster_gossip::wire::packet::{self, Opened};
use muster_gossip::wire::record::Record as _;
use muster_gossip::wire::serf::SerfMessage;
use muster_gossip::wire::stream::{Decoder, StreamMessage};
use muster_gossip::wire::{compress, limits};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub(crate) fn check_packet(bytes: &[u8], keyring: Option<&Keyring>) -> Vec<Message> {
    let Opened { messages, faults } = packet::open(bytes, keyring);
    assert_eq!(faults, [], "{bytes:02x?}");
    let mut body = keyring.map_or_else(
        || bytes.to_vec(),
        |keyring| keyring.open(bytes, &[]).expect("what the real agent sends can be read"),
    );
    if body[0] == kind::CRC {
        body.drain(..5);
    }
    let written: Vec<Vec<u8>> = messages.iter().map(Message::encode).collect();
    assert_eq!(packet::compound(&written), inflated(body));
    for message in &messages {
        if let Message::User(serf) = message {
            assert_eq!(SerfMessage::decode(serf).expect("what the real agent sends can be read").encode(), *serf);
        }
    }
    messages
}

pub(crate) fn check_stream(bytes: &[u8], keyring: Option<&Keyring>) -> StreamMessage {
    let message =
        Decoder::default().push(bytes, keyring).expect("what the real agent sends can be read").expect("it is whole");
    let body = match keyring {
        Some(keyring) => keyring.open(&bytes[5..], &bytes[..5]).expect("what the real agent sends can be read"),
        None => bytes.to_vec(),
    };
    assert_eq!(message.seal(false, None, &mut StdRng::seed_from_u64(0)), inflated(body));
    if let StreamMessage::PushPull(state) = &message {
        // Go writes maps in no order, so only what is read twice is compared.
        let serf = SerfMessage::decode(&state.user_state).expect("what the real agent sends can be read");
        assert_eq!(serf.encode().len(), state.user_state.len());
        assert_eq!(SerfMessage::decode(&serf.encode()).expect("what the real agent sends can be read"), serf);
    }
    message
}

fn inflated(body: Vec<u8>) -> Vec<u8> {
    if body[0] != kind::COMPRESS {
        return body;
    }
    let Compressed { algorithm, bytes } =
        Compressed::decode(&mut Reader::new(&body[1..])).expect("what the real agent sends can be read");
    compress::inflate(algorithm, &bytes, limits::STREAM_INFLATED_MAX).expect("what the real agent sends can be read")
}
