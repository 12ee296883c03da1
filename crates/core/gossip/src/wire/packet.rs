//! Packets: messages in a compound, compressed, with a check sum, sealed; in this order from the inside out.

use rand::Rng;

use super::compress::{self, CompressError};
use super::keyring::{self, Keyring, SealError};
use super::limits;
use super::message::{Compressed, Message, encoded, kind};
use super::msgpack::{DecodeError, Reader};
use super::record::Record as _;

/// What a compound costs beside its parts, and each part beside itself.
pub const COMPOUND_HEADER: usize = 2;
pub const COMPOUND_PART: usize = 2;
/// More do not fit the count, which is one byte.
pub const COMPOUND_PARTS_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("the packet is empty")]
    Empty,
    #[error("the packet carries the label {0:?}, and this agent has none: its sender belongs to another cluster")]
    Label(String),
    #[error("the packet cannot be opened")]
    Seal(#[source] SealError),
    #[error("the check sum of the packet is wrong")]
    Checksum,
    #[error("a compressed message cannot be read")]
    Compress(#[source] CompressError),
    #[error("a message of the packet cannot be read")]
    Decode(#[source] DecodeError),
    #[error("the compound ends after {whole} of {parts} messages")]
    Truncated { whole: usize, parts: usize },
    #[error("messages are packed in more than {} layers", limits::LAYERS_MAX)]
    Layers,
}

/// What was in a packet. A damaged part does not spoil the others.
#[derive(Debug, Default, PartialEq)]
pub struct Opened {
    pub messages: Vec<Message>,
    pub faults: Vec<PacketError>,
}

/// Opens a packet. With a keyring, what is not sealed is refused.
pub fn open(bytes: &[u8], keyring: Option<&Keyring>) -> Opened {
    let mut opened = Opened::default();
    if let Err(fault) = opened.envelope(bytes, keyring) {
        opened.faults.push(fault);
    }
    opened
}

impl Opened {
    fn envelope(&mut self, bytes: &[u8], keyring: Option<&Keyring>) -> Result<(), PacketError> {
        refuse_label(bytes)?;
        let unsealed;
        let mut bytes = bytes;
        if let Some(keyring) = keyring {
            unsealed = keyring.open(bytes, &[]).map_err(PacketError::Seal)?;
            bytes = &unsealed;
        }
        if let [kind::CRC, a, b, c, d, rest @ ..] = bytes {
            if crc32fast::hash(rest) != u32::from_be_bytes([*a, *b, *c, *d]) {
                return Err(PacketError::Checksum);
            }
            bytes = rest;
        }
        self.message(bytes, limits::LAYERS_MAX, &mut { limits::PACKET_INFLATED_MAX })
    }

    fn message(&mut self, bytes: &[u8], layers: usize, room: &mut usize) -> Result<(), PacketError> {
        let layers = layers.checked_sub(1).ok_or(PacketError::Layers)?;
        match bytes.split_first() {
            None => Err(PacketError::Empty),
            Some((&kind::COMPOUND, parts)) => self.compound(parts, layers, room),
            Some((&kind::COMPRESS, record)) => {
                let compressed = Compressed::decode(&mut Reader::new(record)).map_err(PacketError::Decode)?;
                let inflated = compress::inflate(compressed.algorithm, &compressed.bytes, *room);
                let inflated = inflated.map_err(PacketError::Compress)?;
                *room -= inflated.len();
                self.message(&inflated, layers, room)
            }
            Some(_) => {
                self.messages.push(Message::decode(bytes).map_err(PacketError::Decode)?);
                Ok(())
            }
        }
    }

    fn compound(&mut self, bytes: &[u8], layers: usize, room: &mut usize) -> Result<(), PacketError> {
        let mut lengths = Reader::new(bytes);
        let parts = usize::from(lengths.byte().map_err(PacketError::Decode)?);
        let mut bodies = lengths.clone();
        bodies.take(COMPOUND_PART * parts).map_err(PacketError::Decode)?;
        for whole in 0..parts {
            let length = lengths.take(COMPOUND_PART).map_err(PacketError::Decode)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let body = bodies.take(length).map_err(|_| PacketError::Truncated { whole, parts })?;
            if let Err(fault) = self.message(body, layers, room) {
                self.faults.push(fault);
            }
        }
        Ok(())
    }
}

fn refuse_label(bytes: &[u8]) -> Result<(), PacketError> {
    match bytes {
        [kind::LABEL, len, rest @ ..] => {
            let label = rest.get(..usize::from(*len)).unwrap_or(rest);
            Err(PacketError::Label(String::from_utf8_lossy(label).into_owned()))
        }
        [] => Err(PacketError::Empty),
        _ => Ok(()),
    }
}

/// Puts encoded messages into one; a single one stays as it is.
pub fn compound(messages: &[Vec<u8>]) -> Vec<u8> {
    if let [single] = messages {
        return single.clone();
    }
    let count = u8::try_from(messages.len()).unwrap_or_else(|_| unreachable!("a compound of {}", messages.len()));
    let mut out = vec![kind::COMPOUND, count];
    for message in messages {
        let len = u16::try_from(message.len()).unwrap_or_else(|_| unreachable!("a part of {} bytes", message.len()));
        out.extend_from_slice(&len.to_be_bytes());
    }
    for message in messages {
        out.extend_from_slice(message);
    }
    out
}

/// How a packet is wrapped.
#[derive(Debug, Clone, Copy)]
pub struct Wrap<'a> {
    pub compress: bool,
    /// Only for peers of protocol 5 and later.
    pub checksum: bool,
    pub keyring: Option<&'a Keyring>,
}

/// Wraps an encoded message or compound.
pub fn seal(message: Vec<u8>, wrap: Wrap<'_>, rng: &mut (impl Rng + ?Sized)) -> Vec<u8> {
    let mut bytes = message;
    if wrap.compress {
        let compressed = compressed(&bytes);
        if compressed.len() < bytes.len() {
            bytes = compressed;
        }
    }
    if wrap.checksum {
        let checksum = crc32fast::hash(&bytes).to_be_bytes();
        bytes = [&[kind::CRC], &checksum[..], &bytes].concat();
    }
    match wrap.keyring {
        Some(keyring) => keyring.seal(&bytes, &[], rng),
        None => bytes,
    }
}

pub(super) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let record = Compressed { algorithm: compress::ALGORITHM_LZW, bytes: compress::deflate(bytes) };
    encoded(kind::COMPRESS, &record)
}

/// How many bytes of messages, each with its two bytes in a compound, fit a packet.
pub fn room(keyring: Option<&Keyring>) -> usize {
    limits::PACKET_MAX - COMPOUND_HEADER - if keyring.is_some() { keyring::OVERHEAD } else { 0 }
}
