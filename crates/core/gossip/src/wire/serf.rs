//! Messages of Serf. They travel as user messages of memberlist: one byte that says which, and a record.

use std::collections::BTreeMap;

use super::message::encoded;
use super::msgpack::{self, DecodeError, Reader};
use super::record::{Field, Record, Secret, record};
use super::{limits, message};

pub mod kind {
    pub const LEAVE: u8 = 0;
    pub const JOIN: u8 = 1;
    pub const PUSH_PULL: u8 = 2;
    pub const USER_EVENT: u8 = 3;
    pub const QUERY: u8 = 4;
    pub const QUERY_RESPONSE: u8 = 5;
    pub const CONFLICT_RESPONSE: u8 = 6;
    pub const KEY_REQUEST: u8 = 7;
    pub const KEY_RESPONSE: u8 = 8;
    pub const RELAY: u8 = 9;
    /// First byte of a node's meta data when tags follow.
    pub const TAGS: u8 = 255;
    pub const FILTER_NODES: u8 = 0;
    pub const FILTER_TAG: u8 = 1;
}

/// In a query "please acknowledge", in a response "this is an acknowledgement".
pub const FLAG_ACK: u32 = 1;
/// Process the query, but do not pass it on.
pub const FLAG_NO_BROADCAST: u32 = 2;

record! {
    LeaveIntent {
        "LTime" => time: u64,
        "Node" => node: String,
        "Prune" => prune: bool,
    }
}

record! {
    JoinIntent {
        "LTime" => time: u64,
        "Node" => node: String,
    }
}

record! {
    EventInSlot {
        "Name" => name: String,
        "Payload" => payload: Vec<u8>,
    }
}

record! {
    /// User events of one Lamport time.
    EventSlot {
        "Events" => events: Vec<EventInSlot>,
        "LTime" => time: u64,
    }
}

record! {
    /// Serf's part of a push/pull.
    PushPullState {
        "EventLTime" => event_time: u64,
        "Events" => events: Vec<Option<EventSlot>>,
        "LTime" => time: u64,
        "LeftMembers" => left: Vec<String>,
        "QueryLTime" => query_time: u64,
        "StatusLTimes" => status_times: BTreeMap<String, u64>,
    }
}

record! {
    UserEvent {
        /// Whether several of one name may be given to handlers as one.
        "CC" => coalesce: bool,
        "LTime" => time: u64,
        "Name" => name: String,
        "Payload" => payload: Vec<u8>,
    }
}

record! {
    Query {
        "Addr" => address: Vec<u8>,
        "Filters" => filters: Vec<Vec<u8>>,
        "Flags" => flags: u32,
        "ID" => id: u32,
        "LTime" => time: u64,
        "Name" => name: String,
        "Payload" => payload: Vec<u8>,
        "Port" => port: u16,
        "RelayFactor" => relay_factor: u8,
        "SourceNode" => source_node: String,
        "Timeout" => timeout_ns: i64,
    }
}

record! {
    QueryResponse {
        "Flags" => flags: u32,
        "From" => from: String,
        "ID" => id: u32,
        "LTime" => time: u64,
        "Payload" => payload: Vec<u8>,
    }
}

record! {
    /// A member as an answer to a query about a conflict of names shows it.
    MemberRecord {
        "Addr" => address: Vec<u8>,
        "DelegateCur" => delegate_current: u8,
        "DelegateMax" => delegate_max: u8,
        "DelegateMin" => delegate_min: u8,
        "Name" => name: String,
        "Port" => port: u16,
        "ProtocolCur" => protocol_current: u8,
        "ProtocolMax" => protocol_max: u8,
        "ProtocolMin" => protocol_min: u8,
        "Status" => status: i64,
        "Tags" => tags: BTreeMap<String, String>,
    }
}

record! {
    KeyRequest { "Key" => key: Secret<Vec<u8>>, }
}

record! {
    KeyResponse {
        /// In base64.
        "Keys" => keys: Vec<Secret<String>>,
        "Message" => message: String,
        "PrimaryKey" => primary: Secret<String>,
        "Result" => result: bool,
    }
}

record! {
    RelayAddress {
        "IP" => address: Vec<u8>,
        "Port" => port: u16,
        "Zone" => zone: String,
    }
}

record! {
    RelayHeader {
        "DestAddr" => destination: RelayAddress,
        "DestName" => name: String,
    }
}

record! {
    TagFilter {
        "Expr" => expression: String,
        "Tag" => tag: String,
    }
}

impl Field for RelayAddress {
    fn write(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn read(_name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(reader)
    }
}

impl Field for Vec<EventInSlot> {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_array(out, self.len());
        for event in self {
            event.encode(out);
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        (0..reader.array(name, limits::EVENTS_IN_SLOT_MAX)?).map(|_| EventInSlot::decode(reader)).collect()
    }
}

/// The whole ring is sent; most slots are nil.
impl Field for Vec<Option<EventSlot>> {
    fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_array(out, self.len());
        for slot in self {
            match slot {
                Some(slot) => slot.encode(out),
                None => msgpack::write_nil(out),
            }
        }
    }

    fn read(name: &'static str, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let slot = |reader: &mut Reader<'_>| if reader.nil()? { Ok(None) } else { EventSlot::decode(reader).map(Some) };
        (0..reader.array(name, limits::EVENT_SLOTS_MAX)?).map(|_| slot(reader)).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum SerfMessage {
    Leave(LeaveIntent),
    Join(JoinIntent),
    PushPull(PushPullState),
    UserEvent(UserEvent),
    Query(Query),
    QueryResponse(QueryResponse),
    /// `None` if the node asked for is not known.
    ConflictResponse(Option<MemberRecord>),
    KeyRequest(KeyRequest),
    KeyResponse(KeyResponse),
    /// The bytes are a message of Serf for somebody else.
    Relay(RelayHeader, Vec<u8>),
}

impl SerfMessage {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Leave(leave) => encoded(kind::LEAVE, leave),
            Self::Join(join) => encoded(kind::JOIN, join),
            Self::PushPull(state) => encoded(kind::PUSH_PULL, state),
            Self::UserEvent(event) => encoded(kind::USER_EVENT, event),
            Self::Query(query) => encoded(kind::QUERY, query),
            Self::QueryResponse(response) => encoded(kind::QUERY_RESPONSE, response),
            Self::ConflictResponse(Some(member)) => encoded(kind::CONFLICT_RESPONSE, member),
            Self::ConflictResponse(None) => vec![kind::CONFLICT_RESPONSE, 0xc0],
            Self::KeyRequest(request) => encoded(kind::KEY_REQUEST, request),
            Self::KeyResponse(response) => encoded(kind::KEY_RESPONSE, response),
            Self::Relay(header, inner) => {
                let mut out = encoded(kind::RELAY, header);
                out.extend_from_slice(inner);
                out
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(match reader.byte()? {
            kind::LEAVE => Self::Leave(LeaveIntent::decode(&mut reader)?),
            kind::JOIN => Self::Join(JoinIntent::decode(&mut reader)?),
            kind::PUSH_PULL => Self::PushPull(PushPullState::decode(&mut reader)?),
            kind::USER_EVENT => Self::UserEvent(UserEvent::decode(&mut reader)?),
            kind::QUERY => Self::Query(Query::decode(&mut reader)?),
            kind::QUERY_RESPONSE => Self::QueryResponse(QueryResponse::decode(&mut reader)?),
            kind::CONFLICT_RESPONSE if reader.nil()? => Self::ConflictResponse(None),
            kind::CONFLICT_RESPONSE => Self::ConflictResponse(Some(MemberRecord::decode(&mut reader)?)),
            kind::KEY_REQUEST => Self::KeyRequest(KeyRequest::decode(&mut reader)?),
            kind::KEY_RESPONSE => Self::KeyResponse(KeyResponse::decode(&mut reader)?),
            kind::RELAY => {
                let header = RelayHeader::decode(&mut reader)?;
                Self::Relay(header, reader.rest().to_vec())
            }
            other => return Err(DecodeError::UnknownType(other)),
        })
    }

    /// As a message of memberlist.
    pub fn wrapped(&self) -> Vec<u8> {
        [&[message::kind::USER], &self.encode()[..]].concat()
    }
}

/// Tags as a node's meta data.
pub fn encode_tags(tags: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = vec![kind::TAGS];
    tags.write(&mut out);
    out
}

/// Meta data that is no map of tags is the role of a very old agent.
pub fn decode_tags(meta: &[u8]) -> BTreeMap<String, String> {
    let tags = match meta.split_first() {
        Some((&kind::TAGS, map)) => Field::read("tags", &mut Reader::new(map)),
        _ => Ok(BTreeMap::from([("role".to_owned(), String::from_utf8_lossy(meta).into_owned())])),
    };
    tags.unwrap_or_default()
}
