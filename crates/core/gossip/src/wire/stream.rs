//! Streams: one message a direction, compressed and sealed as a whole.

use rand::Rng;

use super::compress::{self, CompressError};
use super::keyring::{Keyring, SealError};
use super::limits;
use super::message::{Ack, Compressed, ErrorReply, NodeState, Ping, PushPullHeader, UserHeader, encoded, kind};
use super::msgpack::{DecodeError, Reader};
use super::packet;
use super::record::Record as _;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("the stream carries a label, and this agent has none: the other end belongs to another cluster")]
    Label,
    #[error("the stream is encrypted, and this agent has no key")]
    Encrypted,
    #[error("the stream is not encrypted, and this agent's cluster is")]
    NotEncrypted,
    #[error("the stream cannot be opened")]
    Seal(#[source] SealError),
    #[error("the sealed message has {len} bytes, more than {max}")]
    TooLong { len: usize, max: usize },
    #[error("the compressed message cannot be read")]
    Compress(#[source] CompressError),
    #[error("the message cannot be read")]
    Decode(#[source] DecodeError),
    #[error("{field} is {value}, not between 0 and {max}")]
    Length { field: &'static str, value: i64, max: usize },
    #[error("{0} bytes follow after the end of the message")]
    Trailing(usize),
}

/// All that a node knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushPull {
    pub join: bool,
    pub nodes: Vec<NodeState>,
    /// Serf's part, an encoded `SerfMessage::PushPull`.
    pub user_state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StreamMessage {
    PushPull(PushPull),
    User(Vec<u8>),
    Ping(Ping),
    Ack(Ack),
    Error(String),
}

impl StreamMessage {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::PushPull(state) => {
                let len = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
                let header = PushPullHeader {
                    join: state.join,
                    nodes: len(state.nodes.len()),
                    user_state_len: len(state.user_state.len()),
                };
                let mut out = encoded(kind::PUSH_PULL, &header);
                for node in &state.nodes {
                    node.encode(&mut out);
                }
                out.extend_from_slice(&state.user_state);
                out
            }
            Self::User(bytes) => {
                let header = UserHeader { len: i64::try_from(bytes.len()).unwrap_or(i64::MAX) };
                let mut out = encoded(kind::USER, &header);
                out.extend_from_slice(bytes);
                out
            }
            Self::Ping(ping) => encoded(kind::PING, ping),
            Self::Ack(ack) => encoded(kind::ACK, ack),
            Self::Error(message) => encoded(kind::ERROR, &ErrorReply { message: message.clone() }),
        }
    }

    /// The bytes to send. memberlist compresses on streams even what grows by it.
    pub fn seal(&self, compress: bool, keyring: Option<&Keyring>, rng: &mut (impl Rng + ?Sized)) -> Vec<u8> {
        let mut bytes = self.encode();
        if compress {
            bytes = packet::compressed(&bytes);
        }
        let Some(keyring) = keyring else { return bytes };
        let sealed_len = u32::try_from(bytes.len() + super::keyring::OVERHEAD).unwrap_or(u32::MAX).to_be_bytes();
        let head = [&[kind::ENCRYPT], &sealed_len[..]].concat();
        [&head[..], &keyring.seal(&bytes, &head, rng)].concat()
    }
}

/// Puts one message together from what arrives. After an error or a message it is done.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// `bytes` were sealed or compressed, and are whole.
    inner: bool,
    pushed: Option<HalfPushPull>,
}

#[derive(Debug)]
struct HalfPushPull {
    header: PushPullHeader,
    nodes: Vec<NodeState>,
    /// Where the next node begins.
    at: usize,
}

impl Decoder {
    /// `None` until the message is whole.
    pub fn push(&mut self, bytes: &[u8], keyring: Option<&Keyring>) -> Result<Option<StreamMessage>, StreamError> {
        self.bytes.extend_from_slice(bytes);
        match self.step(keyring) {
            Err(StreamError::Decode(DecodeError::Incomplete)) if !self.inner => {
                let (len, max) = (self.bytes.len(), limits::STREAM_INFLATED_MAX + limits::USER_STATE_MAX);
                if len > max { Err(StreamError::TooLong { len, max }) } else { Ok(None) }
            }
            Ok(message) => Ok(Some(message)),
            Err(error) => Err(error),
        }
    }

    fn step(&mut self, keyring: Option<&Keyring>) -> Result<StreamMessage, StreamError> {
        if !self.inner && self.pushed.is_none() {
            self.unwrap_layers(keyring)?;
        }
        let mut reader = Reader::new(&self.bytes);
        let message = match reader.byte().map_err(StreamError::Decode)? {
            kind::PUSH_PULL => return self.push_pull(),
            kind::USER => {
                let header = UserHeader::decode(&mut reader).map_err(StreamError::Decode)?;
                let len = length("the length of a user message", header.len, limits::USER_MESSAGE_MAX)?;
                StreamMessage::User(reader.take(len).map_err(StreamError::Decode)?.to_vec())
            }
            kind::PING => StreamMessage::Ping(Ping::decode(&mut reader).map_err(StreamError::Decode)?),
            kind::ACK => StreamMessage::Ack(Ack::decode(&mut reader).map_err(StreamError::Decode)?),
            kind::ERROR => StreamMessage::Error(ErrorReply::decode(&mut reader).map_err(StreamError::Decode)?.message),
            other => return Err(StreamError::Decode(DecodeError::UnknownType(other))),
        };
        ended(&reader)?;
        Ok(message)
    }

    /// Takes the seal and the compression off, once all of it is there.
    fn unwrap_layers(&mut self, keyring: Option<&Keyring>) -> Result<(), StreamError> {
        let first = *self.bytes.first().ok_or(StreamError::Decode(DecodeError::Incomplete))?;
        match (first, keyring) {
            (kind::LABEL, _) => return Err(StreamError::Label),
            (kind::ENCRYPT, None) => return Err(StreamError::Encrypted),
            (kind::ENCRYPT, Some(keyring)) => self.unseal(keyring)?,
            (_, Some(_)) => return Err(StreamError::NotEncrypted),
            (_, None) => {}
        }
        if self.bytes.first() == Some(&kind::COMPRESS) {
            let mut reader = Reader::new(&self.bytes[1..]);
            let compressed = Compressed::decode(&mut reader).map_err(StreamError::Decode)?;
            ended(&reader)?;
            let max = limits::STREAM_INFLATED_MAX;
            self.bytes =
                compress::inflate(compressed.algorithm, &compressed.bytes, max).map_err(StreamError::Compress)?;
            self.inner = true;
        }
        Ok(())
    }

    fn unseal(&mut self, keyring: &Keyring) -> Result<(), StreamError> {
        let Some((head, sealed)) = self.bytes.split_first_chunk::<5>() else {
            return Err(StreamError::Decode(DecodeError::Incomplete));
        };
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (len, max) = (usize::try_from(len).unwrap_or(usize::MAX), limits::STREAM_MAX);
        if len > max {
            return Err(StreamError::TooLong { len, max });
        }
        let sealed = sealed.get(..len).ok_or(StreamError::Decode(DecodeError::Incomplete))?;
        let after = self.bytes.len() - head.len() - len;
        if after > 0 {
            return Err(StreamError::Trailing(after));
        }
        self.bytes = keyring.open(sealed, head).map_err(StreamError::Seal)?;
        self.inner = true;
        Ok(())
    }

    /// Goes on where the last step ended, so that a state that comes in many pieces is not read from its beginning
    /// with each of them.
    fn push_pull(&mut self) -> Result<StreamMessage, StreamError> {
        let mut half = match self.pushed.take() {
            Some(half) => half,
            None => half_push_pull(&self.bytes)?,
        };
        let done = half.advance(&self.bytes);
        match done {
            Ok(state) => Ok(StreamMessage::PushPull(state)),
            Err(error) => {
                self.pushed = Some(half);
                Err(error)
            }
        }
    }
}

fn half_push_pull(bytes: &[u8]) -> Result<HalfPushPull, StreamError> {
    let mut reader = Reader::new(bytes);
    reader.byte().map_err(StreamError::Decode)?;
    let header = PushPullHeader::decode(&mut reader).map_err(StreamError::Decode)?;
    length("the number of nodes", header.nodes, limits::NODES_MAX)?;
    length("the length of the user state", header.user_state_len, limits::USER_STATE_MAX)?;
    Ok(HalfPushPull { header, nodes: Vec::new(), at: reader.position() })
}

impl HalfPushPull {
    fn advance(&mut self, bytes: &[u8]) -> Result<PushPull, StreamError> {
        let nodes = length("the number of nodes", self.header.nodes, limits::NODES_MAX)?;
        while self.nodes.len() < nodes {
            let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default());
            self.nodes.push(NodeState::decode(&mut reader).map_err(StreamError::Decode)?);
            self.at += reader.position();
        }
        let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default());
        let len = length("the length of the user state", self.header.user_state_len, limits::USER_STATE_MAX)?;
        let user_state = reader.take(len).map_err(StreamError::Decode)?.to_vec();
        ended(&reader)?;
        Ok(PushPull { join: self.header.join, nodes: std::mem::take(&mut self.nodes), user_state })
    }
}

fn length(field: &'static str, value: i64, max: usize) -> Result<usize, StreamError> {
    match usize::try_from(value) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(StreamError::Length { field, value, max }),
    }
}

fn ended(reader: &Reader<'_>) -> Result<(), StreamError> {
    match reader.rest().len() {
        0 => Ok(()),
        after => Err(StreamError::Trailing(after)),
    }
}
