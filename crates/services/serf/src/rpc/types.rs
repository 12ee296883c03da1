//! All that is said on the RPC: requests, their answers, the records of streams.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use muster_gossip::wire::msgpack::{DecodeError, Reader};
use muster_types::Redacted;

use super::record::{Record, records};

/// The one version of the protocol that there is.
pub const VERSION: i32 = 1;

/// What an agent answers in `Error`, word for word: clients compare them.
pub mod errors {
    /// The agent then closes the connection.
    pub const UNSUPPORTED_COMMAND: &str = "Unsupported command";
    pub const UNSUPPORTED_VERSION: &str = "Unsupported IPC version";
    pub const DUPLICATE_HANDSHAKE: &str = "Handshake already performed";
    /// The agent then closes the connection.
    pub const HANDSHAKE_REQUIRED: &str = "Handshake required";
    pub const MONITOR_EXISTS: &str = "Monitor already exists";
    pub const INVALID_FILTER: &str = "Invalid event filter";
    pub const STREAM_EXISTS: &str = "Stream with given sequence exists";
    pub const INVALID_QUERY: &str = "No pending queries matching ID";
    /// Answered without a body, whatever was asked.
    pub const AUTH_REQUIRED: &str = "Authentication required";
    pub const INVALID_AUTH_TOKEN: &str = "Invalid authentication token";
}

records! {
    /// Before each request; a `seq` that a stream has is not used again on its connection.
    RequestHeader { "Command" => command: String, "Seq" => seq: u64, }
    /// Before each answer and each record of a stream. An empty error is none.
    ResponseHeader { "Error" => error: String, "Seq" => seq: u64, }

    Handshake { "Version" => version: i32, }
    Auth { "AuthKey" => auth_key: Option<Redacted<String>>, }
    UserEvent { "Coalesce" => coalesce: bool, "Name" => name: String, "Payload" => payload: Bytes, }
    ForceLeave { "Node" => node: String, "Prune" => prune: bool, }
    Join { "Existing" => existing: Vec<String>, "Replay" => replay: bool, }
    /// Expressions for the whole of a value; empty ones let everything pass.
    MembersFiltered { "Name" => name: String, "Status" => status: String, "Tags" => tags: BTreeMap<String, String>, }
    Tags { "DeleteTags" => delete_tags: Vec<String>, "Tags" => tags: BTreeMap<String, String>, }
    /// `kind` is a list of kinds of events, as handlers have it.
    Stream { "Type" => kind: String, }
    Monitor { "LogLevel" => log_level: String, }
    Stop { "Stop" => stop: u64, }
    Query {
        /// Ours: `done` may come as soon as all have answered. The real command loses answers that come right before it,
        /// so who does not ask for it is told at the deadline.
        "EndEarly" => end_early: bool,
        "FilterNodes" => filter_nodes: Vec<String>,
        "FilterTags" => filter_tags: BTreeMap<String, String>,
        "Name" => name: String,
        "Payload" => payload: Bytes,
        "RelayFactor" => relay_factor: u8,
        "RequestAck" => request_ack: bool,
        /// Nanoseconds; 0 lets the agent choose.
        "Timeout" => timeout_ns: i64,
    }
    Respond { "ID" => id: u64, "Payload" => payload: Bytes, }
    /// In base64.
    Key { "Key" => key: Option<Redacted<String>>, }
    GetCoordinate { "Node" => node: String, }

    Joined { "Num" => num: i32, }
    Members { "Members" => members: Vec<Member>, }
    Member {
        "Addr" => addr: Option<IpAddr>,
        "DelegateCur" => delegate_cur: u8,
        "DelegateMax" => delegate_max: u8,
        "DelegateMin" => delegate_min: u8,
        "Name" => name: String,
        "Port" => port: u16,
        "ProtocolCur" => protocol_cur: u8,
        "ProtocolMax" => protocol_max: u8,
        "ProtocolMin" => protocol_min: u8,
        /// One of `none alive leaving left failed`.
        "Status" => status: String,
        "Tags" => tags: BTreeMap<String, String>,
    }
    Keys {
        /// How many have each key; nil but for `list-keys`.
        "Keys" => keys: Option<BTreeMap<String, i64>>,
        "Messages" => messages: BTreeMap<String, String>,
        "NumErr" => num_err: i64,
        "NumNodes" => num_nodes: i64,
        "NumResp" => num_resp: i64,
    }
    Coordinate {
        "Adjustment" => adjustment: f64,
        "Error" => error: f64,
        "Height" => height: f64,
        "Vec" => vec: Vec<f64>,
    }
    CoordinateFound { "Coord" => coord: Coordinate, "Ok" => ok: bool, }

    LogLine { "Log" => log: String, }
    MemberEvent { "Event" => event: String, "Members" => members: Vec<Member>, }
    /// `event` is "user".
    UserEventRecord {
        "Coalesce" => coalesce: bool,
        "Event" => event: String,
        "LTime" => ltime: u64,
        "Name" => name: String,
        "Payload" => payload: Bytes,
    }
    /// `event` is "query"; `id` is the connection's own, and answers may be given until the query's deadline.
    QueryEvent {
        "Event" => event: String,
        "ID" => id: u64,
        "LTime" => ltime: u64,
        "Name" => name: String,
        "Payload" => payload: Bytes,
    }
    /// `kind` is `ack`, `response` or `done`. Agents of Go may send some with an empty `from` near the deadline.
    QueryRecord { "From" => from: String, "Payload" => payload: Bytes, "Type" => kind: String, }
    /// Any event of a stream: what its kind does not have is empty.
    AnyEvent {
        "Coalesce" => coalesce: bool,
        "Event" => event: String,
        "ID" => id: u64,
        "LTime" => ltime: u64,
        "Members" => members: Vec<Member>,
        "Name" => name: String,
        "Payload" => payload: Bytes,
    }
}

/// Sections with keys and values, of the request `stats`.
pub type Stats = BTreeMap<String, BTreeMap<String, String>>;

impl Record for Stats {
    fn encode(&self, out: &mut Vec<u8>) {
        super::record::Field::write(self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        super::record::Field::read("Stats", reader)
    }
}

/// Declares the requests: the command's name, and the body that follows its header, if one does.
macro_rules! requests {
    ($($name:literal => $variant:ident $(($body:ident))?,)*) => {
        /// A request without its header.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request { $($variant $(($body))?,)* }

        impl Request {
            /// As it stands in the header.
            pub fn command(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }

            /// Reads what follows a header; `None` if there is no such command.
            pub fn decode(command: &str, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
                Ok(match command {
                    $($name => Some(Self::$variant $(($body::decode(reader)?))?),)*
                    _ => None,
                })
            }

            /// With its header.
            pub fn encode(&self, seq: u64, out: &mut Vec<u8>) {
                RequestHeader { command: self.command().to_owned(), seq }.encode(out);
                $(requests!(@body self out $variant $($body)?);)*
            }
        }
    };
    (@body $self:ident $out:ident $variant:ident) => {};
    (@body $self:ident $out:ident $variant:ident $body:ident) => {
        if let Self::$variant(body) = $self { body.encode($out); }
    };
}

requests! {
    "handshake" => Handshake(Handshake),
    "auth" => Auth(Auth),
    "event" => Event(UserEvent),
    "force-leave" => ForceLeave(ForceLeave),
    "join" => Join(Join),
    "members" => Members,
    "members-filtered" => MembersFiltered(MembersFiltered),
    "tags" => Tags(Tags),
    "stream" => Stream(Stream),
    "monitor" => Monitor(Monitor),
    "stop" => Stop(Stop),
    "leave" => Leave,
    "query" => Query(Query),
    "respond" => Respond(Respond),
    "install-key" => InstallKey(Key),
    "use-key" => UseKey(Key),
    "remove-key" => RemoveKey(Key),
    "list-keys" => ListKeys,
    "stats" => Stats,
    "get-coordinate" => GetCoordinate(GetCoordinate),
}
