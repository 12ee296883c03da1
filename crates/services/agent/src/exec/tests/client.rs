//! The other end of an exec stream.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_api::{ExecExit, ExecRequest, Frame, FrameKind, WindowSize};
use muster_stdx::{OnError, Supervisor};
use muster_sys::process::start_ticks;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::exec::{ExecError, TIMING, Timing, serve};

/// Far more than anything here takes; a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const QUICK: Timing = Timing {
    request: Duration::from_millis(200),
    hangup: Duration::from_millis(200),
    heartbeat: Duration::from_millis(20),
    linger: Duration::from_millis(50),
    ..TIMING
};

pub(super) fn request(words: &[&str]) -> ExecRequest {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ExecRequest { command, env: BTreeMap::new(), cwd: None, user: None, tty: None }
}

pub(super) fn shell(script: &str) -> ExecRequest {
    request(&["sh", "-c", script])
}

pub(super) fn on_terminal(request: ExecRequest) -> ExecRequest {
    ExecRequest { tty: Some(WindowSize { columns: 80, rows: 24 }), ..request }
}

/// A client of an exec that runs in a task of its own.
pub(super) struct Client<S> {
    pub(super) reader: ReadHalf<S>,
    pub(super) writer: WriteHalf<S>,
    pub(super) served: oneshot::Receiver<Result<(), ExecError>>,
    pub(super) supervisor: Supervisor,
    buffer: BytesMut,
}

/// All that came until the exit.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) exit: ExecExit,
}

impl Outcome {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

impl Client<DuplexStream> {
    pub(super) async fn start(request: &ExecRequest, timing: Timing) -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        Self::over(ours, theirs, request, timing).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Client<S> {
    pub(super) async fn over(ours: S, theirs: S, request: &ExecRequest, timing: Timing) -> Self {
        let mut client = Self::silent(ours, theirs, timing);
        client.send(FrameKind::Request, serde_json::to_vec(request).unwrap()).await;
        client
    }

    /// Sends nothing yet.
    pub(super) fn silent(ours: S, theirs: S, timing: Timing) -> Self {
        let supervisor = Supervisor::new();
        let (result, served) = oneshot::channel();
        supervisor.spawn("exec", OnError::Log, async move {
            // Not every test asks.
            result.send(serve(theirs, timing).await).ok();
            Ok::<(), String>(())
        });
        let (reader, writer) = tokio::io::split(ours);
        Self { reader, writer, served, supervisor, buffer: BytesMut::new() }
    }

    pub(super) async fn send(&mut self, kind: FrameKind, payload: impl Into<Bytes>) {
        let mut wire = BytesMut::new();
        Frame::new(kind, payload).encode(&mut wire);
        timeout(PATIENCE, self.writer.write_all(&wire)).await.expect("nobody takes a frame").unwrap();
    }

    pub(super) async fn recv(&mut self) -> Frame {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).unwrap() {
                return frame;
            }
            let read = timeout(PATIENCE, self.reader.read_buf(&mut self.buffer)).await.expect("no frame came");
            assert_ne!(read.unwrap(), 0, "the stream ended without an exit frame");
        }
    }

    /// Reads stdout until it holds `wanted`.
    pub(super) async fn until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let frame = self.recv().await;
            assert_eq!(frame.kind, FrameKind::Stdout, "{:?} after {seen:?}", frame.payload);
            seen.push_str(std::str::from_utf8(&frame.payload).unwrap());
        }
        seen
    }

    /// The first line, which is a process id.
    pub(super) async fn pid(&mut self) -> u32 {
        self.until("\n").await.trim().parse().unwrap()
    }

    pub(super) async fn finish(&mut self) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let frame = self.recv().await;
            match frame.kind {
                FrameKind::Stdout => stdout.extend_from_slice(&frame.payload),
                FrameKind::Stderr => stderr.extend_from_slice(&frame.payload),
                FrameKind::Exit => {
                    let exit = serde_json::from_slice(&frame.payload).unwrap();
                    assert!(self.buffer.is_empty(), "the exit frame is the last");
                    return Outcome { stdout, stderr, exit };
                }
                kind => panic!("the agent sent {kind:?}"),
            }
        }
    }

    /// Goes away as a client that was killed does, and returns how the agent's end ended.
    pub(super) async fn vanish(self) -> Result<(), ExecError> {
        let Self { reader, writer, served, supervisor, .. } = self;
        drop(reader.unsplit(writer));
        let result = timeout(PATIENCE, served).await.expect("the agent did not notice").unwrap();
        assert!(supervisor.shutdown(PATIENCE).await);
        result
    }
}

/// Both ends of a TCP connection.
pub(super) async fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// Runs to the end without input.
pub(super) async fn run(request: &ExecRequest) -> Outcome {
    let mut client = Client::start(request, QUICK).await;
    client.send(FrameKind::StdinClosed, "").await;
    client.finish().await
}

pub(super) fn is_running(pid: u32) -> bool {
    start_ticks(pid).is_ok()
}

/// Looks until it is true.
pub(super) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "{what}: still not");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
