//! Whatever the real agent sends is read and, written again, is the same, byte for byte.

use std::collections::BTreeMap;

use muster_gossip::wire::keyring::Keyring;

use crate::driver::{Running, Seen};
use crate::exact;

/// Set while the tests are built, a folder into which everything that comes is written: so the fixtures were made.
const RECORD: Option<&str> = option_env!("MUSTER_GOSSIP_RECORD");

/// Checks all that this member has received.
pub(crate) fn check(ours: &mut Running, what: &str, keyring: Option<&Keyring>) {
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
        exact::check_packet(bytes, keyring);
    }
    for bytes in streams.values() {
        exact::check_stream(bytes, keyring);
    }
    if let Some(folder) = RECORD {
        let keys =
            keyring.map_or(&[][..], |keyring| keyring.keys()).iter().map(|key| format!("key {}\n", hex(key.expose())));
        let packets = packets.iter().map(|bytes| format!("packet {}\n", hex(bytes)));
        let streams = streams.values().map(|bytes| format!("stream {}\n", hex(bytes)));
        let text: String = keys.chain(packets).chain(streams).collect();
        fs_err::write(format!("{folder}/{what}.txt"), text).expect("the file can be written");
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("a nibble is a digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
