//! Messages of memberlist: one byte that says which, and a record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::msgpack::{DecodeError, Reader};
use super::record::{Record, record};

/// The numbers of the messages.
pub mod kind {
    pub const PING: u8 = 0;
    pub const INDIRECT_PING: u8 = 1;
    pub const ACK: u8 = 2;
    pub const SUSPECT: u8 = 3;
    pub const ALIVE: u8 = 4;
    pub const DEAD: u8 = 5;
    pub const PUSH_PULL: u8 = 6;
    pub const COMPOUND: u8 = 7;
    pub const USER: u8 = 8;
    pub const COMPRESS: u8 = 9;
    pub const ENCRYPT: u8 = 10;
    pub const NACK: u8 = 11;
    pub const CRC: u8 = 12;
    pub const ERROR: u8 = 13;
    pub const LABEL: u8 = 244;
}

record! {
    /// "Are you there?" The answer goes to the source that is named in it, or else to where the packet came from.
    Ping {
        "Node" => node: String,
        "SeqNo" => sequence: u32,
        "SourceAddr" omitempty => source_address: Vec<u8>,
        "SourceNode" omitempty => source_node: String,
        "SourcePort" omitempty => source_port: u16,
    }
}

record! {
    /// "Ask that node for me."
    IndirectPing {
        /// Whether to say so when the target does not answer.
        "Nack" => nack: bool,
        "Node" => node: String,
        "Port" => port: u16,
        "SeqNo" => sequence: u32,
        "SourceAddr" omitempty => source_address: Vec<u8>,
        "SourceNode" omitempty => source_node: String,
        "SourcePort" omitempty => source_port: u16,
        "Target" => target: Vec<u8>,
    }
}

record! {
    Ack {
        /// Serf's coordinate, in answers that come directly.
        "Payload" => payload: Vec<u8>,
        "SeqNo" => sequence: u32,
    }
}

record! {
    /// "I asked, it did not answer me either."
    Nack { "SeqNo" => sequence: u32, }
}

record! {
    Suspect {
        "From" => from: String,
        "Incarnation" => incarnation: u32,
        "Node" => node: String,
    }
}

record! {
    Alive {
        "Addr" => address: Vec<u8>,
        "Incarnation" => incarnation: u32,
        "Meta" => meta: Vec<u8>,
        "Node" => node: String,
        "Port" => port: u16,
        "Vsn" => versions: Vec<u8>,
    }
}

record! {
    /// With `from` equal to `node`, the node says itself that it leaves.
    Dead {
        "From" => from: String,
        "Incarnation" => incarnation: u32,
        "Node" => node: String,
    }
}

record! {
    ErrorReply { "Error" => message: String, }
}

record! {
    Compressed {
        "Algo" => algorithm: u8,
        "Buf" => bytes: Vec<u8>,
    }
}

record! {
    PushPullHeader {
        "Join" => join: bool,
        "Nodes" => nodes: i64,
        "UserStateLen" => user_state_len: i64,
    }
}

record! {
    UserHeader { "UserMsgLen" => len: i64, }
}

record! {
    /// What one node knows of another, in a push/pull.
    NodeState {
        "Addr" => address: Vec<u8>,
        "Incarnation" => incarnation: u32,
        "Meta" => meta: Vec<u8>,
        "Name" => name: String,
        "Port" => port: u16,
        "State" => state: i64,
        "Vsn" => versions: Vec<u8>,
    }
}

/// A message of a packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Ping(Ping),
    IndirectPing(IndirectPing),
    Ack(Ack),
    Nack(Nack),
    Suspect(Suspect),
    Alive(Alive),
    Dead(Dead),
    /// Of the layer above, Serf's.
    User(Vec<u8>),
    Error(ErrorReply),
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ping(ping) => encoded(kind::PING, ping),
            Self::IndirectPing(ping) => encoded(kind::INDIRECT_PING, ping),
            Self::Ack(ack) => encoded(kind::ACK, ack),
            Self::Nack(nack) => encoded(kind::NACK, nack),
            Self::Suspect(suspect) => encoded(kind::SUSPECT, suspect),
            Self::Alive(alive) => encoded(kind::ALIVE, alive),
            Self::Dead(dead) => encoded(kind::DEAD, dead),
            Self::User(bytes) => [&[kind::USER], &bytes[..]].concat(),
            Self::Error(error) => encoded(kind::ERROR, error),
        }
    }

    /// Bytes that follow the record are let pass, as Go does.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(match reader.byte()? {
            kind::PING => Self::Ping(Ping::decode(&mut reader)?),
            kind::INDIRECT_PING => Self::IndirectPing(IndirectPing::decode(&mut reader)?),
            kind::ACK => Self::Ack(Ack::decode(&mut reader)?),
            kind::NACK => Self::Nack(Nack::decode(&mut reader)?),
            kind::SUSPECT => Self::Suspect(Suspect::decode(&mut reader)?),
            kind::ALIVE => Self::Alive(Alive::decode(&mut reader)?),
            kind::DEAD => Self::Dead(Dead::decode(&mut reader)?),
            kind::USER => Self::User(reader.rest().to_vec()),
            kind::ERROR => Self::Error(ErrorReply::decode(&mut reader)?),
            other => return Err(DecodeError::UnknownType(other)),
        })
    }
}

/// A record behind its number.
pub fn encoded(kind: u8, record: &impl Record) -> Vec<u8> {
    let mut out = vec![kind];
    record.encode(&mut out);
    out
}

/// An address as it stands in messages: 4 or 16 bytes.
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Go sends addresses of version 4 in 4 bytes or, mapped, in 16.
pub fn socket_address(bytes: &[u8], port: u16) -> Option<SocketAddr> {
    let address = if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}
