//! Damage: whatever comes, nothing panics, nothing is held without a limit, and what is read is written the same.

use std::net::SocketAddr;
use std::time::Duration;

use muster_gossip::wire::keyring::Keyring;
use muster_gossip::wire::message::Message;
use muster_gossip::wire::packet::{self, Wrap};
use muster_gossip::wire::serf::SerfMessage;
use muster_gossip::wire::stream::{Decoder, StreamMessage};
use muster_gossip::{Config, Gossip, Output};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::fixtures;

/// Bodies as they are under seals: the damage must reach the codec.
fn corpus() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut rng = StdRng::seed_from_u64(0);
    let (mut packets, mut streams) = (Vec::new(), Vec::new());
    for fixture in fixtures::all() {
        let keyring = fixture.keyring.as_ref();
        for bytes in &fixture.packets {
            let messages = packet::open(bytes, keyring).messages;
            let body = packet::compound(&messages.iter().map(Message::encode).collect::<Vec<_>>());
            packets.push(packet::seal(body.clone(), Wrap { compress: true, checksum: false, keyring: None }, &mut rng));
            packets.push(body);
        }
        for bytes in &fixture.streams {
            let message = Decoder::default().push(bytes, keyring).expect("fixtures can be read").expect("it is whole");
            streams.extend([false, true].map(|compress| message.seal(compress, None, &mut rng)));
        }
    }
    // Found by longer runs, or thought of: each was wrong once, or nearly.
    let known = include_str!("../fixtures/damage.txt").lines().filter(|line| !line.starts_with('#'));
    packets.extend(known.clone().map(fixtures::bytes));
    streams.extend(known.map(fixtures::bytes));
    (packets, streams)
}

/// Changes, cuts, repeats and mixes bytes.
fn damage(bytes: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    const TELLING: [u8; 14] = [0, 1, 0x7f, 0x80, 0x8f, 0x90, 0xa0, 0xbf, 0xc0, 0xc6, 0xdb, 0xdd, 0xdf, 0xff];
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] = TELLING[rng.random_range(0..TELLING.len())],
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, TELLING[rng.random_range(0..TELLING.len())]),
            4 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                bytes.splice(at..at, other[from..].iter().copied().take(64));
            }
            _ => {
                let end = rng.random_range(at..=bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// What is read once is written so that it is read as the same.
fn read_packet(bytes: &[u8], keyring: Option<&Keyring>) {
    for message in packet::open(bytes, keyring).messages {
        let again = Message::decode(&message.encode());
        // Not-a-numbers of coordinates stay within payloads, so messages can be compared.
        assert_eq!(again.as_ref(), Ok(&message), "{bytes:02x?}");
        if let Message::User(serf) = &message
            && let Ok(serf) = SerfMessage::decode(serf)
        {
            assert_eq!(SerfMessage::decode(&serf.encode()), Ok(serf), "{bytes:02x?}");
        }
    }
}

fn read_stream(bytes: &[u8], rng: &mut StdRng) {
    let Ok(Some(message)) = Decoder::default().push(bytes, None) else { return };
    let sealed = message.seal(true, None, rng);
    assert_eq!(Decoder::default().push(&sealed, None), Ok(Some(message.clone())), "{bytes:02x?}");
    if let StreamMessage::PushPull(state) = message
        && let Ok(serf) = SerfMessage::decode(&state.user_state)
    {
        assert_eq!(SerfMessage::decode(&serf.encode()), Ok(serf), "{bytes:02x?}");
    }
}

#[test]
fn damaged_bytes_are_read_or_refused() {
    let (packets, streams) = corpus();
    let mut rng = StdRng::seed_from_u64(7);
    for bytes in &packets {
        read_packet(bytes, None);
    }
    for bytes in &streams {
        read_stream(bytes, &mut rng);
    }
    for _ in 0..muster_testkit::count(6_000, 5_000_000) {
        let other = &packets[rng.random_range(0..packets.len())];
        let packet = damage(&packets[rng.random_range(0..packets.len())], other, &mut rng);
        read_packet(&packet, None);
        if rng.random_ratio(1, 10) {
            let stream = damage(&streams[rng.random_range(0..streams.len())], other, &mut rng);
            read_stream(&stream, &mut rng);
        }
    }
}

#[test]
fn noise_is_read_or_refused() {
    let mut rng = StdRng::seed_from_u64(8);
    for _ in 0..muster_testkit::count(6_000, 5_000_000) {
        let mut noise = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut noise);
        if let Some(first) = noise.first_mut() {
            *first %= 16;
        }
        read_packet(&noise, None);
        read_stream(&noise, &mut rng);
    }
}

/// A whole member under damage: it goes on, and what it holds stays within limits.
#[test]
fn a_member_survives_damage() {
    let (packets, streams) = corpus();
    for seed in 0..muster_testkit::count(2, 50) {
        let mut rng = StdRng::seed_from_u64(seed);
        let address = SocketAddr::from(([127, 0, 0, 1], 7946));
        let config = Config::new("ours", address);
        let mut gossip =
            Gossip::new(config, Box::new(StdRng::seed_from_u64(seed)), Duration::ZERO).expect("fixtures can be read");
        let from = SocketAddr::from(([127, 0, 0, 2], 7946));
        let mut now = Duration::ZERO;
        for _ in 0..muster_testkit::count(1000, 20_000) {
            now += Duration::from_millis(rng.random_range(0..300));
            gossip.tick(now);
            let other = &packets[rng.random_range(0..packets.len())];
            let packet = damage(&packets[rng.random_range(0..packets.len())], other, &mut rng);
            gossip.packet(now, from, &packet);
            if rng.random_ratio(1, 5)
                && let Some(stream) = gossip.stream_accepted(now, from)
            {
                let bytes = damage(&streams[rng.random_range(0..streams.len())], other, &mut rng);
                gossip.stream_data(now, stream, &bytes);
                gossip.stream_ended(now, stream, "EOF");
            }
            let connects: Vec<_> = std::iter::from_fn(|| gossip.poll())
                .filter_map(|output| if let Output::Connect { stream, .. } = output { Some(stream) } else { None })
                .collect();
            for stream in connects {
                let bytes = damage(&streams[rng.random_range(0..streams.len())], other, &mut rng);
                gossip.stream_data(now, stream, &bytes);
                gossip.stream_ended(now, stream, "EOF");
            }
        }
        let stats = gossip.stats();
        assert!(stats.streams < 300 && stats.event_queue < 10_000 && stats.broadcast_queue < 10_000, "{stats:?}");
        assert!(gossip.member("ours").is_some_and(|own| own.status == muster_gossip::Status::Alive));
    }
}
