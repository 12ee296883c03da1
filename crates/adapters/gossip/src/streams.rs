//! Connections of a member: each is a task that carries bytes between its socket and the state machine.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use muster_gossip::StreamId;
use muster_stdx::{OnError, Supervisor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The state machine writes once to a stream; more would be a mistake of ours.
const WRITES_MAX: usize = 4;
/// Pieces of all streams that wait for the state machine.
const INBOX_MAX: usize = 64;
const PIECE: usize = 16 * 1024;
/// After the state machine is done with a stream: for what is still to be written.
const LINGER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Input {
    Data(Vec<u8>),
    Ended(String),
}

#[derive(Debug)]
pub(crate) struct Streams {
    writers: BTreeMap<StreamId, mpsc::Sender<Vec<u8>>>,
    inbox: mpsc::Sender<(StreamId, Input)>,
    supervisor: Supervisor,
}

impl Streams {
    pub(crate) fn new(supervisor: Supervisor) -> (Self, mpsc::Receiver<(StreamId, Input)>) {
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        (Self { writers: BTreeMap::new(), inbox, supervisor }, inputs)
    }

    pub(crate) fn accepted(&mut self, id: StreamId, stream: TcpStream) {
        self.spawn(id, async { Ok(stream) }, Vec::new());
    }

    pub(crate) fn connect(&mut self, id: StreamId, to: SocketAddr, first: Vec<u8>) {
        self.spawn(id, TcpStream::connect(to), first);
    }

    pub(crate) fn write(&mut self, id: StreamId, bytes: Vec<u8>) {
        if let Some(writer) = self.writers.get(&id) {
            writer.try_send(bytes).ok();
        }
    }

    /// Once everything is written.
    pub(crate) fn close(&mut self, id: StreamId) {
        self.writers.remove(&id);
    }

    fn spawn<C>(&mut self, id: StreamId, connect: C, first: Vec<u8>)
    where
        C: Future<Output = io::Result<TcpStream>> + Send + 'static,
    {
        let (writer, writes) = mpsc::channel(WRITES_MAX);
        self.writers.insert(id, writer);
        let inbox = self.inbox.clone();
        self.supervisor.spawn("gossip stream", OnError::Log, async move {
            let reason = match talk(id, connect, first, writes, &inbox).await {
                Ok(()) => "EOF".to_owned(),
                Err(error) => error.to_string(),
            };
            inbox.send((id, Input::Ended(reason))).await
        });
    }
}

async fn talk<C>(
    id: StreamId,
    connect: C,
    first: Vec<u8>,
    mut writes: mpsc::Receiver<Vec<u8>>,
    inbox: &mpsc::Sender<(StreamId, Input)>,
) -> io::Result<()>
where
    C: Future<Output = io::Result<TcpStream>>,
{
    let (mut stream, mut early) = (None, Vec::new());
    tokio::pin!(connect);
    while stream.is_none() {
        // Losing the connect is only told by the state machine's end of the stream; what it wrote is kept.
        tokio::select! {
            connected = &mut connect => stream = Some(connected?),
            write = writes.recv() => match write {
                Some(bytes) => early.push(bytes),
                None => return Ok(()),
            },
        }
    }
    let Some(mut stream) = stream else { return Ok(()) };
    stream.set_nodelay(true)?;
    stream.write_all(&first).await?;
    for bytes in early {
        stream.write_all(&bytes).await?;
    }
    let mut buffer = vec![0; PIECE];
    loop {
        // A read that is cancelled has read nothing, a receive has taken nothing.
        tokio::select! {
            read = stream.read(&mut buffer) => match read? {
                0 => return Ok(()),
                len => {
                    // The state machine ends after all its streams; without it nothing is to be told.
                    inbox.send((id, Input::Data(buffer[..len].to_vec()))).await.ok();
                }
            },
            write = writes.recv() => match write {
                Some(bytes) => match tokio::time::timeout(LINGER, stream.write_all(&bytes)).await {
                    Ok(written) => written?,
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                },
                None => return stream.shutdown().await,
            },
        }
    }
}
