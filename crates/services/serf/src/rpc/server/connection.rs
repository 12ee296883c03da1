//! One connection: requests are answered one after the other, while streams tell what happens.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_gossip::QueryId;
use muster_stdx::{OnError, Supervisor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::requests::Flow;
use crate::agent::{Handle, Level};
use crate::rpc::codec::{ReadError, RecordReader, encode_answer};
use crate::rpc::record::Record;
use crate::rpc::types::{Request, RequestHeader, VERSION, errors};

/// A client that does not take what it is sent.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Records that wait for the client.
const OUTBOX_MAX: usize = 64;
/// Records of one request.
const REQUEST_MAX: usize = 1024 * 1024;
/// Requests may be answered until then; the connection then ends with what is still to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a connection has, for its requests and its streams.
pub(super) struct Connection {
    pub(super) agent: Handle,
    pub(super) out: Outbox,
    pub(super) supervisor: Supervisor,
    /// Streams, monitors and queries end with the connection.
    pub(super) token: CancellationToken,
    pub(super) streams: BTreeMap<u64, DropGuard>,
    pub(super) monitor: Option<u64>,
    pub(super) queries: Queries,
    greeted: bool,
    authenticated: bool,
}

/// Queries that this connection was told of and may answer: by its own number.
#[derive(Debug, Clone, Default)]
pub(super) struct Queries(pub(super) Arc<Mutex<QueriesInner>>);

#[derive(Debug, Default)]
pub(super) struct QueriesInner {
    pub(super) last: u64,
    pub(super) pending: BTreeMap<u64, (QueryId, Instant)>,
}

/// Bytes on their way to the client, and who waits until they are out.
type Parcel = (Vec<u8>, Option<oneshot::Sender<()>>);

#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<Parcel>);

impl Outbox {
    /// `false` if the client is gone.
    pub(super) async fn send(&self, bytes: Vec<u8>) -> bool {
        self.0.send((bytes, None)).await.is_ok()
    }

    /// Until they are written, or the client is gone.
    pub(super) async fn deliver(&self, bytes: Vec<u8>) {
        let (written, delivered) = oneshot::channel();
        if self.0.send((bytes, Some(written))).await.is_ok() {
            delivered.await.ok();
        }
    }
}

pub(super) async fn run<S>(stream: S, agent: Handle, supervisor: Supervisor) -> Result<(), ReadError>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (input, output) = tokio::io::split(stream);
    let (out, outbox) = mpsc::channel(OUTBOX_MAX);
    let token = CancellationToken::new();
    let gone = token.clone();
    let (written, all_written) = oneshot::channel();
    supervisor.spawn("rpc writer", OnError::Log, async move {
        let wrote = write(output, outbox).await;
        gone.cancel();
        written.send(()).ok();
        wrote
    });
    let connection = Connection {
        agent,
        out: Outbox(out),
        supervisor,
        token: token.clone(),
        streams: BTreeMap::new(),
        monitor: None,
        queries: Queries::default(),
        greeted: false,
        authenticated: false,
    };
    let _ends_streams = token.clone().drop_guard();
    // The writer ends when nobody can give it more; a read that is lost was of a client that is gone.
    let served = tokio::select! {
        served = connection.serve(RecordReader::new(input, REQUEST_MAX)) => served,
        () = token.cancelled() => Ok(()),
    };
    token.cancel();
    timeout(LAST_WORDS, all_written).await.ok();
    served
}

async fn write<S: AsyncWrite>(mut output: WriteHalf<S>, mut outbox: mpsc::Receiver<Parcel>) -> io::Result<()> {
    while let Some((bytes, delivered)) = outbox.recv().await {
        match timeout(WRITE_LIMIT, output.write_all(&bytes)).await {
            Ok(written) => written?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        if let Some(delivered) = delivered {
            delivered.send(()).ok();
        }
    }
    output.shutdown().await
}

impl Connection {
    async fn serve<R: AsyncRead + Unpin>(mut self, mut input: RecordReader<R>) -> Result<(), ReadError> {
        while let Some(header) = input.record::<RequestHeader>().await? {
            let seq = header.seq;
            let unknown = !known(&header.command);
            if !self.greeted && header.command != "handshake" {
                self.answer(seq, errors::HANDSHAKE_REQUIRED).await;
                return Ok(());
            }
            if unknown {
                let text = format!("agent.ipc: Unsupported command: {}", header.command);
                self.agent.log().line(Level::Warn, text);
                self.answer(seq, errors::UNSUPPORTED_COMMAND).await;
                return Ok(());
            }
            let Some(Some(request)) = input.request(&header).await? else { return Ok(()) };
            if self.request(seq, request).await == Flow::Close {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn request(&mut self, seq: u64, request: Request) -> Flow {
        match request {
            Request::Handshake(handshake) => {
                let error = if handshake.version != VERSION {
                    errors::UNSUPPORTED_VERSION
                } else if self.greeted {
                    errors::DUPLICATE_HANDSHAKE
                } else {
                    self.greeted = true;
                    ""
                };
                self.answer(seq, error).await
            }
            Request::Auth(auth) => {
                let wanted = self.agent.0.rpc_auth.as_ref();
                let given = auth.auth_key.as_ref().map_or("", |key| key.expose().as_str());
                let right = wanted.map_or("", |key| key.expose().as_str());
                self.authenticated = same(given.as_bytes(), right.as_bytes());
                self.answer(seq, if self.authenticated { "" } else { errors::INVALID_AUTH_TOKEN }).await
            }
            _ if self.agent.0.rpc_auth.is_some() && !self.authenticated => {
                let text = "agent.ipc: Client is not authenticated, refusing its request";
                self.agent.log().line(Level::Warn, text);
                self.answer(seq, errors::AUTH_REQUIRED).await
            }
            request => self.carry_out(seq, request).await,
        }
    }

    pub(super) async fn answer(&self, seq: u64, error: &str) -> Flow {
        self.send(encode_answer(seq, error)).await
    }

    pub(super) async fn answer_with<T: Record>(&self, seq: u64, error: &str, body: &T) -> Flow {
        self.send(crate::rpc::codec::encode_response(seq, error, Some(body))).await
    }

    async fn send(&self, bytes: Vec<u8>) -> Flow {
        if self.out.send(bytes).await { Flow::Continue } else { Flow::Close }
    }
}

fn known(command: &str) -> bool {
    use muster_gossip::wire::msgpack::Reader;
    !matches!(Request::decode(command, &mut Reader::new(&[])), Ok(None))
}

/// Takes as long whatever is wrong.
fn same(one: &[u8], other: &[u8]) -> bool {
    let different = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && different == 0
}
