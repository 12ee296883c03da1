//! A client of an agent's RPC: ours or a real one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use muster_types::Redacted;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use super::address::{Address, Connection, DialError};
use super::codec::{RESPONSE_MAX, ReadError, RecordReader};
use super::record::Record;
use super::types::{
    self, AnyEvent, Auth, Coordinate, CoordinateFound, ForceLeave, GetCoordinate, Handshake, Join, Joined, Key, Keys,
    LogLine, Member, Members, MembersFiltered, Monitor, Query, QueryRecord, Request, Respond, ResponseHeader, Stats,
    Stop, Stream, Tags, UserEvent, VERSION,
};

/// How long a connection may take; the real client's figure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take. A query for keys takes 16 s among thousands, a join 10 s for each address that is silent.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
/// Records that come while an answer is waited for.
const WAITING_MAX: usize = 4096;
/// After any other error the body follows as if there were none.
const WITHOUT_BODY: [&str; 3] =
    [types::errors::AUTH_REQUIRED, types::errors::HANDSHAKE_REQUIRED, types::errors::UNSUPPORTED_COMMAND];

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// In the agent's words.
    #[error("{message}")]
    Refused { message: String },
    /// The real agent does so with what it cannot make sense of, such as a wrong expression.
    #[error("client closed")]
    Closed,
    #[error("the agent has not answered within {} s", .after.as_secs())]
    Silent { after: Duration },
    #[error("the agent's answer cannot be read")]
    Read(#[source] ReadError),
    #[error("the request cannot be sent")]
    Write(#[source] std::io::Error),
    #[error("the agent answered a request {seq} that was not made")]
    Answer { seq: u64 },
    #[error("more than {WAITING_MAX} records came before an answer")]
    Flood,
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Dial(DialError::Connect { kind: std::io::ErrorKind::PermissionDenied, .. }) => {
                "the socket belongs to another user; run this as that user or as root".to_owned()
            }
            Self::Dial(DialError::Connect { .. } | DialError::Timeout { .. }) => {
                "is an agent running there? `serf agent` starts one; -rpc-addr or SERF_RPC_ADDR say where it is"
                    .to_owned()
            }
            Self::Dial(DialError::Address { .. }) => "an address is host:port or the path of a socket".to_owned(),
            Self::Dial(DialError::Lookup { .. }) => "check the name, or give an address".to_owned(),
            Self::Refused { message } if message.starts_with(types::errors::AUTH_REQUIRED) => {
                "the agent has an rpc_auth; give it with -rpc-auth or SERF_RPC_AUTH".to_owned()
            }
            Self::Refused { message } if message.starts_with(types::errors::INVALID_AUTH_TOKEN) => {
                "the rpc_auth of the agent's configuration is another one".to_owned()
            }
            Self::Read(ReadError::Decode(_)) => "does something else than Serf's RPC listen there?".to_owned(),
            Self::Silent { .. } => "is the agent's process stopped, or its machine overloaded?".to_owned(),
            _ => return None,
        })
    }
}

/// What comes by itself after a request for it.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamRecord {
    Log(String),
    Event(AnyEvent),
    Query(QueryRecord),
}

#[derive(Debug, Clone, Copy)]
enum StreamKind {
    Log,
    Event,
    Query,
}

/// What members said about keys, and whether all did as they were told.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyAnswer {
    pub keys: Keys,
    pub error: Option<String>,
}

/// One connection. Requests are made one after the other; records of streams that come meanwhile wait. After an error
/// other than `Refused` the connection is of no use any more.
#[derive(Debug)]
pub struct Client {
    reader: RecordReader<ReadHalf<Connection>>,
    writer: WriteHalf<Connection>,
    seq: u64,
    streams: BTreeMap<u64, StreamKind>,
    /// Streams that were stopped: their last records may still come.
    stopped: BTreeMap<u64, StreamKind>,
    waiting: VecDeque<(u64, StreamRecord)>,
    /// A header whose body has not come yet: a read may be dropped between the two.
    header: Option<ResponseHeader>,
    answer_timeout: Duration,
}

impl Client {
    /// Connects, and makes itself known.
    pub async fn connect(address: &Address, auth_key: Option<&Redacted<String>>) -> Result<Self, ClientError> {
        let late = |_| DialError::Timeout { address: address.to_string() };
        let connection = timeout(CONNECT_TIMEOUT, address.dial()).await.map_err(late)??;
        let (reader, writer) = split(connection);
        let mut client = Self {
            reader: RecordReader::new(reader, RESPONSE_MAX),
            writer,
            seq: 0,
            streams: BTreeMap::new(),
            stopped: BTreeMap::new(),
            waiting: VecDeque::new(),
            header: None,
            answer_timeout: ANSWER_TIMEOUT,
        };
        client.order(Request::Handshake(Handshake { version: VERSION })).await?;
        if let Some(auth_key) = auth_key.filter(|key| !key.expose().is_empty()) {
            client.order(Request::Auth(Auth { auth_key: Some(auth_key.clone()) })).await?;
        }
        Ok(client)
    }

    /// How long an answer may take from now on.
    pub fn set_answer_timeout(&mut self, limit: Duration) {
        self.answer_timeout = limit;
    }

    pub async fn members(&mut self) -> Result<Vec<Member>, ClientError> {
        Ok(self.ask::<Members>(Request::Members).await?.members)
    }

    pub async fn members_filtered(&mut self, filter: MembersFiltered) -> Result<Vec<Member>, ClientError> {
        Ok(self.ask::<Members>(Request::MembersFiltered(filter)).await?.members)
    }

    pub async fn event(&mut self, event: UserEvent) -> Result<(), ClientError> {
        self.order(Request::Event(event)).await
    }

    pub async fn force_leave(&mut self, node: &str, prune: bool) -> Result<(), ClientError> {
        self.order(Request::ForceLeave(ForceLeave { node: node.to_owned(), prune })).await
    }

    /// How many were contacted.
    pub async fn join(&mut self, addresses: Vec<String>, replay: bool) -> Result<i32, ClientError> {
        Ok(self.ask::<Joined>(Request::Join(Join { existing: addresses, replay })).await?.num)
    }

    pub async fn leave(&mut self) -> Result<(), ClientError> {
        self.order(Request::Leave).await
    }

    pub async fn tags(&mut self, tags: BTreeMap<String, String>, delete_tags: Vec<String>) -> Result<(), ClientError> {
        self.order(Request::Tags(Tags { delete_tags, tags })).await
    }

    pub async fn stats(&mut self) -> Result<Stats, ClientError> {
        self.ask(Request::Stats).await
    }

    /// `None` if the agent has none of this node.
    pub async fn coordinate(&mut self, node: &str) -> Result<Option<Coordinate>, ClientError> {
        let request = Request::GetCoordinate(GetCoordinate { node: node.to_owned() });
        let found: CoordinateFound = self.ask(request).await?;
        Ok(found.ok.then_some(found.coord))
    }

    pub async fn install_key(&mut self, key: Redacted<String>) -> Result<KeyAnswer, ClientError> {
        self.keys(Request::InstallKey(Key { key: Some(key) })).await
    }

    pub async fn use_key(&mut self, key: Redacted<String>) -> Result<KeyAnswer, ClientError> {
        self.keys(Request::UseKey(Key { key: Some(key) })).await
    }

    pub async fn remove_key(&mut self, key: Redacted<String>) -> Result<KeyAnswer, ClientError> {
        self.keys(Request::RemoveKey(Key { key: Some(key) })).await
    }

    pub async fn list_keys(&mut self) -> Result<KeyAnswer, ClientError> {
        self.keys(Request::ListKeys).await
    }

    /// Answers a query that came on a stream of this connection.
    pub async fn respond(&mut self, id: u64, payload: bytes::Bytes) -> Result<(), ClientError> {
        self.order(Request::Respond(Respond { id, payload })).await
    }

    /// Starts a query; `record` brings acks and responses under this number, and at the end one that is `done`.
    pub async fn query(&mut self, query: Query) -> Result<u64, ClientError> {
        self.open(Request::Query(query), StreamKind::Query).await
    }

    /// Events of these kinds, in the notation of handlers; `*` is all.
    pub async fn stream(&mut self, kind: &str) -> Result<u64, ClientError> {
        self.open(Request::Stream(Stream { kind: kind.to_owned() }), StreamKind::Event).await
    }

    /// The agent's log from this level on: some of what was, and all that comes.
    pub async fn monitor(&mut self, level: &str) -> Result<u64, ClientError> {
        self.open(Request::Monitor(Monitor { log_level: level.to_uppercase() }), StreamKind::Log).await
    }

    pub async fn stop(&mut self, stream: u64) -> Result<(), ClientError> {
        self.order(Request::Stop(Stop { stop: stream })).await?;
        if let Some(kind) = self.streams.remove(&stream) {
            self.stopped.insert(stream, kind);
        }
        self.waiting.retain(|(seq, _)| *seq != stream);
        Ok(())
    }

    /// The next record of any stream, however long that takes. A call that is dropped loses nothing.
    pub async fn record(&mut self) -> Result<(u64, StreamRecord), ClientError> {
        if let Some(record) = self.waiting.pop_front() {
            return Ok(record);
        }
        loop {
            let seq = self.next_header().await?.seq;
            if let Some(record) = self.body_of_stream(seq).await? {
                return Ok((seq, record));
            }
        }
    }

    async fn order(&mut self, request: Request) -> Result<(), ClientError> {
        let seq = self.send(&request).await?;
        let error = self.answer(seq).await?;
        if error.is_empty() { Ok(()) } else { Err(ClientError::Refused { message: error }) }
    }

    async fn ask<T: Record>(&mut self, request: Request) -> Result<T, ClientError> {
        let seq = self.send(&request).await?;
        let error = self.answer(seq).await?;
        if WITHOUT_BODY.contains(&error.as_str()) {
            return Err(ClientError::Refused { message: error });
        }
        let body = self.body().await?;
        if error.is_empty() { Ok(body) } else { Err(ClientError::Refused { message: error }) }
    }

    async fn keys(&mut self, request: Request) -> Result<KeyAnswer, ClientError> {
        let seq = self.send(&request).await?;
        let error = self.answer(seq).await?;
        if WITHOUT_BODY.contains(&error.as_str()) {
            return Err(ClientError::Refused { message: error });
        }
        Ok(KeyAnswer { keys: self.body().await?, error: (!error.is_empty()).then_some(error) })
    }

    async fn open(&mut self, request: Request, kind: StreamKind) -> Result<u64, ClientError> {
        let seq = self.send(&request).await?;
        let error = self.answer(seq).await?;
        if !error.is_empty() {
            return Err(ClientError::Refused { message: error });
        }
        self.streams.insert(seq, kind);
        Ok(seq)
    }

    async fn send(&mut self, request: &Request) -> Result<u64, ClientError> {
        let seq = self.seq;
        self.seq += 1;
        let mut bytes = Vec::new();
        request.encode(seq, &mut bytes);
        let silent = ClientError::Silent { after: self.answer_timeout };
        let sent = timeout(self.answer_timeout, self.writer.write_all(&bytes)).await.map_err(|_| silent)?;
        sent.map_err(ClientError::Write)?;
        Ok(seq)
    }

    /// The error of an answer, which is empty if there is none; its body has not been read.
    async fn answer(&mut self, wanted: u64) -> Result<String, ClientError> {
        let limit = self.answer_timeout;
        let answered = timeout(limit, async {
            loop {
                let header = self.next_header().await?;
                if header.seq == wanted {
                    self.header = None;
                    return Ok(header.error);
                }
                if let Some(record) = self.body_of_stream(header.seq).await? {
                    if self.waiting.len() >= WAITING_MAX {
                        return Err(ClientError::Flood);
                    }
                    self.waiting.push_back((header.seq, record));
                }
            }
        });
        answered.await.map_err(|_| ClientError::Silent { after: limit })?
    }

    /// A header that was read stays until its body is.
    async fn next_header(&mut self) -> Result<ResponseHeader, ClientError> {
        if self.header.is_none() {
            self.header = Some(read(&mut self.reader).await?);
        }
        Ok(self.header.clone().unwrap_or_default())
    }

    async fn body<T: Record>(&mut self) -> Result<T, ClientError> {
        let limit = self.answer_timeout;
        timeout(limit, read(&mut self.reader)).await.map_err(|_| ClientError::Silent { after: limit })?
    }

    /// `None` if the stream has been stopped.
    async fn body_of_stream(&mut self, seq: u64) -> Result<Option<StreamRecord>, ClientError> {
        let running = self.streams.get(&seq).copied();
        let kind = running.or_else(|| self.stopped.get(&seq).copied()).ok_or(ClientError::Answer { seq })?;
        let record = match kind {
            StreamKind::Log => StreamRecord::Log(read::<LogLine>(&mut self.reader).await?.log),
            StreamKind::Event => StreamRecord::Event(read(&mut self.reader).await?),
            StreamKind::Query => StreamRecord::Query(read(&mut self.reader).await?),
        };
        self.header = None;
        Ok(running.map(|_| record))
    }
}

async fn read<T: Record>(reader: &mut RecordReader<ReadHalf<Connection>>) -> Result<T, ClientError> {
    match reader.record().await {
        Ok(Some(record)) => Ok(record),
        Ok(None) | Err(ReadError::Cut) => Err(ClientError::Closed),
        Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => Err(ClientError::Closed),
        Err(error) => Err(ClientError::Read(error)),
    }
}
