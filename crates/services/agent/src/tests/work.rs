//! Orders and their streams over the wire.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use muster_api::{
    ApplyEvent, ApplyRequest, Check, CheckKind, CheckState, ConfigPhase, ExecExit, ExecRequest, Frame, FrameKind,
};
use muster_pki::token_hash;
use muster_transport::{EventStream, ExecReceiver, Limits, TransportError};
use muster_types::Generation;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::raw::Raw;
use super::{PATIENCE, World};
use crate::AgentLimits;

fn order(document: impl Into<String>) -> ApplyRequest {
    let document = document.into();
    ApplyRequest { generation: Generation(1), hash: token_hash(&document), document }
}

/// A document with one step that waits for a line from a pipe.
struct Gate {
    path: PathBuf,
    /// Open in both directions, which never blocks and lets the line wait for its reader.
    pipe: fs_err::File,
}

impl Gate {
    fn new(world: &World) -> Self {
        let path = world.folder.path().join("gate");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = fs_err::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Self { path, pipe }
    }

    fn document(&self) -> String {
        format!("#cloud-config\nruncmd:\n  - read line < {}\n", self.path.display())
    }

    fn open(&mut self) {
        self.pipe.write_all(b"go on\n").unwrap();
    }
}

async fn rest<T: DeserializeOwned>(stream: &mut EventStream<T>) -> Vec<T> {
    let mut found = Vec::new();
    while let Some(event) = timeout(PATIENCE, stream.next()).await.unwrap().unwrap() {
        found.push(event);
    }
    found
}

async fn until_started(stream: &mut EventStream<ApplyEvent>) {
    while !matches!(stream.next().await.unwrap(), Some(ApplyEvent::Started { .. })) {}
}

fn shell(command: &str) -> ExecRequest {
    let command = ["sh", "-c", command].map(str::to_owned).to_vec();
    ExecRequest { command, env: std::collections::BTreeMap::new(), cwd: None, user: None, tty: None }
}

async fn output(receiver: &mut ExecReceiver) -> (Vec<u8>, ExecExit) {
    let mut stdout = Vec::new();
    loop {
        let frame = timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap().unwrap();
        match frame.kind {
            FrameKind::Stdout => stdout.extend_from_slice(&frame.payload),
            FrameKind::Exit => return (stdout, serde_json::from_slice(&frame.payload).unwrap()),
            other => panic!("{other:?} {frame:?}"),
        }
    }
}

#[tokio::test]
async fn a_configuration_is_streamed_and_remembered() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let order = order("#cloud-config\nruncmd:\n  - echo one\n  - echo two\n");
    let mut stream = client.apply(&order).await.unwrap();
    let events = rest(&mut stream).await;
    assert_eq!(stream.next().await.unwrap(), None);
    let said = |text: &str| {
        let is = |event: &ApplyEvent| matches!(event, ApplyEvent::Output { text: found, .. } if found.trim() == text);
        events.iter().any(is)
    };
    assert!(said("one") && said("two"), "{events:?}");
    let finished = events.last().unwrap();
    assert!(matches!(finished, ApplyEvent::Finished { phase: ConfigPhase::Done, .. }), "{finished:?}");
    let status = client.status().await.unwrap();
    assert_eq!((status.generation, status.config.unwrap().hash), (Generation(1), order.hash));
    let lines = rest(&mut client.logs(10, Some("runcmd[1]"), false).await.unwrap()).await;
    assert_eq!(lines.iter().map(|line| line.text.trim()).collect::<Vec<_>>(), ["two"]);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_the_work() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let mut gate = Gate::new(&world);
    let order = order(gate.document());
    let mut stream = client.apply(&order).await.unwrap();
    until_started(&mut stream).await;
    drop(stream);
    // Another one joins from the start.
    let mut joined = world.client(running.address).apply(&order).await.unwrap();
    until_started(&mut joined).await;
    gate.open();
    let events = rest(&mut joined).await;
    assert!(matches!(events.last(), Some(ApplyEvent::Finished { phase: ConfigPhase::Done, .. })), "{events:?}");
    running.stop().await;
}

#[tokio::test]
async fn orders_that_cannot_be_taken_are_refused_with_a_code() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let mut gate = Gate::new(&world);
    let good = ApplyRequest { generation: Generation(5), ..order(gate.document()) };
    let other = order("#cloud-config\nruncmd:\n  - echo other\n");
    let mut stream = client.apply(&good).await.unwrap();
    until_started(&mut stream).await;
    let code = |result: Result<EventStream<ApplyEvent>, TransportError>| match result {
        Err(error) => error.refusal().unwrap_or_default().to_owned(),
        Ok(_) => "taken".to_owned(),
    };
    let busy = ApplyRequest { generation: Generation(5), ..other.clone() };
    assert_eq!(code(client.apply(&busy).await), "busy");
    let stale = ApplyRequest { generation: Generation(4), ..other.clone() };
    assert_eq!(code(client.apply(&stale).await), "stale_generation");
    gate.open();
    rest(&mut stream).await;
    let damaged = ApplyRequest { hash: "0".repeat(64), generation: Generation(5), ..other };
    assert_eq!(code(client.apply(&damaged).await), "hash_mismatch");
    let invalid = ApplyRequest { generation: Generation(5), ..order("#cloud-config\nruncmd: {") };
    assert_eq!(code(client.apply(&invalid).await), "invalid_document");
    running.stop().await;
}

#[tokio::test]
async fn an_agent_that_ends_in_the_middle_is_noticed() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let gate = Gate::new(&world);
    let mut stream = client.apply(&order(gate.document())).await.unwrap();
    until_started(&mut stream).await;
    running.crash().await;
    let ended = timeout(PATIENCE, async {
        loop {
            match stream.next().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    let error = ended.await.unwrap().unwrap_err();
    assert!(matches!(&error, TransportError::Closed { .. }) && error.is_temporary(), "{error:?}");
    assert_eq!(stream.next().await.unwrap(), None, "an error is the end");
}

#[tokio::test]
async fn a_silent_agent_is_given_up_and_a_working_one_is_never_silent() {
    let world = World::new();
    let beat = Duration::from_millis(20);
    let running = world.start_limited(AgentLimits { heartbeat: beat, ..AgentLimits::default() });
    let client = world.client(running.address);
    world.enrol(&client).await.unwrap();
    let mut gate = Gate::new(&world);
    let good = order(gate.document());
    let mut stream = client.apply(&good).await.unwrap();
    until_started(&mut stream).await;
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let mut body = raw.stream(&Method::POST, "/v1/config", &good).await;
    let mut beats = 0;
    while beats < 3 {
        let data = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
        beats += usize::from(data == "\n");
    }
    gate.open();
    rest(&mut stream).await;
    running.stop().await;

    let world = World::new();
    let (running, _client) = world.enrolled().await;
    let mut gate = Gate::new(&world);
    let limits = Limits { silence: beat, ..Limits::default() };
    let impatient = world.client_as(&world.operator(), running.address, limits);
    let mut stream = impatient.apply(&order(gate.document())).await.unwrap();
    let error = loop {
        if let Err(error) = stream.next().await {
            break error;
        }
    };
    assert!(matches!(&error, TransportError::Timeout { .. }) && error.is_temporary(), "{error:?}");
    gate.open();
    running.stop().await;
}

#[tokio::test]
async fn bodies_have_limits_and_errors_tell_no_content() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let long = order(format!("#cloud-config\n# {}\n", "x".repeat(4 * 1024 * 1024)));
    let error = client.apply(&long).await.err().unwrap();
    assert_eq!(error.refusal(), Some("too_large"), "{error:?}");
    let longer = order("y".repeat(9 * 1024 * 1024));
    let error = client.apply(&longer).await.err().unwrap();
    // The agent answers while the body is still on its way, so the answer may get lost with the connection.
    assert!(error.refusal() == Some("too_large") || matches!(error, TransportError::Closed { .. }), "{error:?}");
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let secret = Bytes::from_static(b"{\"token\": \"secret\", \"certificate\": secret}");
    let (status, body) = raw.ask_bytes(&Method::POST, "/v1/enrol", secret).await.unwrap();
    assert_eq!((status, body["code"].as_str()), (StatusCode::BAD_REQUEST, Some("bad_request")));
    assert!(!body.to_string().contains("secret"), "{body}");
    for query in ["lines=many", "follow=perhaps"] {
        let (status, body) = raw.get(&format!("/v1/logs?{query}")).await;
        assert_eq!((status, body["code"].as_str()), (StatusCode::BAD_REQUEST, Some("bad_request")), "{body}");
    }
    running.stop().await;
}

#[tokio::test]
async fn checks_are_asked_at_the_address_that_was_dialled() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = |kind| Check { kind, timeout_ms: 60_000 };
    let command = ["true".to_owned()].to_vec();
    let asked = [check(CheckKind::Port { port }), check(CheckKind::Command { command })];
    let events = rest(&mut client.checks(&asked).await.unwrap()).await;
    for index in 0..asked.len() {
        let last = events.iter().rfind(|event| event.index == index).unwrap();
        assert_eq!(last.state, CheckState::Passed, "{events:?}");
    }
    let many = vec![asked[0].clone(); 1000];
    let error = client.checks(&many).await.err().unwrap();
    assert_eq!(error.refusal(), Some("too_large"));
    running.stop().await;
}

#[tokio::test]
async fn a_dropped_stream_gives_its_place_back() {
    let world = World::new();
    let limits = AgentLimits { connections: 2, ..AgentLimits::default() };
    let running = world.start_limited(limits);
    let client = world.client(running.address);
    world.enrol(&client).await.unwrap();
    let never = Check { kind: CheckKind::Command { command: vec!["false".to_owned()] }, timeout_ms: 600_000 };
    for _ in 0..10 {
        let waiting = async {
            // The place of the stream before may be given back a moment later.
            loop {
                if let Ok(stream) = client.checks(std::slice::from_ref(&never)).await {
                    return stream;
                }
            }
        };
        let mut stream = timeout(PATIENCE, waiting).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().state, CheckState::Waiting);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_command_runs_over_the_wire() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let stream = client.exec(&shell("read line; echo got $line; exit 3")).await.unwrap();
    let (mut sender, mut receiver) = stream.split();
    sender.send(Frame::new(FrameKind::Stdin, "it\n")).await.unwrap();
    let (stdout, exit) = output(&mut receiver).await;
    assert_eq!((stdout.as_slice(), exit.code), (&b"got it\n"[..], 3));
    assert_eq!(receiver.recv().await.unwrap(), None);
    let long = ExecRequest { command: vec!["x".repeat(70_000)], ..shell("") };
    assert!(matches!(client.exec(&long).await, Err(TransportError::TooLarge { .. })));
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let (status, body) = raw.ask_bytes(&Method::POST, "/v1/exec", Bytes::new()).await.unwrap();
    assert_eq!((status, body["code"].as_str()), (StatusCode::UPGRADE_REQUIRED, Some("upgrade_required")));
    running.stop().await;
}

#[tokio::test]
async fn commands_have_a_limit_of_their_own() {
    let world = World::new();
    let limits = AgentLimits { execs: 1, connections: 1, ..AgentLimits::default() };
    let running = world.start_limited(limits);
    let client = world.client(running.address);
    world.enrol(&client).await.unwrap();
    let mut first = client.exec(&shell("echo up; read line")).await.unwrap();
    let frame = timeout(PATIENCE, first.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.kind, FrameKind::Stdout);
    // Its connection has become the command's and gave its place back, or this could not even be asked.
    let error = client.exec(&shell("true")).await.err().unwrap();
    assert_eq!(error.refusal(), Some("busy"), "{error:?}");
    assert!(error.is_temporary());
    drop(first);
    let freed = async { while client.exec(&shell("true")).await.is_err() {} };
    timeout(PATIENCE, freed).await.unwrap();
    running.stop().await;
}

/// A command of an owner whose time is up, or who is gone, ends with all that it has started.
#[tokio::test]
async fn a_command_ends_with_its_connection() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let mut exec = client.exec(&shell("sleep 1000 & echo $$ $!; wait")).await.unwrap();
    let frame = timeout(PATIENCE, exec.recv()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(frame.payload.to_vec()).unwrap();
    let pids: Vec<u32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let ticks: Vec<u64> = pids.iter().map(|pid| muster_sys::process::start_ticks(*pid).unwrap()).collect();
    drop(exec);
    let gone = async {
        while pids.iter().zip(&ticks).any(|(pid, ticks)| muster_sys::process::is_alive(*pid, *ticks)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    running.stop().await;
}

/// One thread is what a node's agent has.
#[tokio::test(flavor = "current_thread")]
async fn many_clients_at_once_on_one_thread() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    let clients: Vec<_> = (0..20).map(|_| world.client(running.address)).collect();
    let asked = clients.iter().map(|client| async move {
        for _ in 0..5 {
            assert!(client.status().await.unwrap().enrolled);
        }
    });
    timeout(PATIENCE, futures_util::future::join_all(asked)).await.unwrap();
    running.stop().await;
}
