//! The RPC of our agent: rules, streams, the Unix socket, handlers, reload.

use muster_serf::agent::Config;
use muster_serf::rpc::address::Address;
use muster_serf::rpc::client::{Client, StreamRecord};
use muster_serf::rpc::codec::{RESPONSE_MAX, RecordReader};
use muster_serf::rpc::types::{Handshake, MembersFiltered, Query, Request, RequestHeader, ResponseHeader, UserEvent};
use muster_types::Redacted;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::peer::{Ours, PATIENCE, Peer};

async fn client(peer: &Peer) -> Client {
    Client::connect(&Address::Tcp(peer.rpc.to_string()), None).await.expect("the agent listens")
}

fn event(name: &str, payload: &'static [u8], coalesce: bool) -> UserEvent {
    UserEvent { coalesce, name: name.to_owned(), payload: payload.into() }
}

async fn record(client: &mut Client) -> (u64, StreamRecord) {
    tokio::time::timeout(PATIENCE, client.record()).await.expect("a record comes").expect("it can be read")
}

/// Sends requests one by one without waiting for what the rules say, and gives back the errors of the answers.
async fn raw(peer: &Peer, requests: &[(u64, Request)]) -> Vec<String> {
    let mut stream = TcpStream::connect(peer.rpc).await.expect("the agent listens");
    let mut bytes = Vec::new();
    for (seq, request) in requests {
        request.encode(*seq, &mut bytes);
    }
    stream.write_all(&bytes).await.expect("it takes requests");
    stream.shutdown().await.expect("it can be half closed");
    let mut reader = RecordReader::new(stream, RESPONSE_MAX);
    let mut errors = Vec::new();
    while let Ok(Some(header)) = reader.record::<ResponseHeader>().await {
        errors.push(header.error);
    }
    errors
}

#[tokio::test]
async fn the_rules_are_serf_s() {
    let peer = Peer::start(Ours, "one", json!({"rpc_auth": "secret"})).await;
    let greet = |version| Request::Handshake(Handshake { version });
    assert_eq!(raw(&peer, &[(1, Request::Members)]).await, ["Handshake required"]);
    let twice = [(1, greet(9)), (2, greet(1)), (3, greet(1))];
    assert_eq!(raw(&peer, &twice).await, ["Unsupported IPC version", "", "Handshake already performed"]);
    let not_allowed = [(1, greet(1)), (2, Request::Event(event("x", b"", false))), (3, Request::Members)];
    assert_eq!(raw(&peer, &not_allowed).await, ["", "Authentication required", "Authentication required"]);

    let address = Address::Tcp(peer.rpc.to_string());
    let wrong = Client::connect(&address, Some(&Redacted::new("wrong".to_owned()))).await;
    assert_eq!(wrong.expect_err("it is refused").to_string(), "Invalid authentication token");
    let right = Client::connect(&address, Some(&Redacted::new("secret".to_owned()))).await;
    assert_eq!(right.expect("it is right").members().await.expect("it is allowed").len(), 1);
}

#[tokio::test]
async fn commands_that_are_not_known_end_the_connection() {
    let peer = Peer::start(Ours, "one", json!({})).await;
    let mut stream = TcpStream::connect(peer.rpc).await.expect("the agent listens");
    let mut bytes = Vec::new();
    Request::Handshake(Handshake { version: 1 }).encode(1, &mut bytes);
    muster_serf::rpc::record::Record::encode(&RequestHeader { command: "dance".into(), seq: 2 }, &mut bytes);
    stream.write_all(&bytes).await.expect("it takes requests");
    let mut reader = RecordReader::new(stream, RESPONSE_MAX);
    let mut errors = Vec::new();
    while let Ok(Some(header)) = reader.record::<ResponseHeader>().await {
        errors.push(header.error);
    }
    assert_eq!(errors, ["", "Unsupported command"]);
}

#[tokio::test]
async fn streams_tell_what_happens_and_queries_are_answered() {
    let peer = Peer::start(Ours, "one", json!({})).await;
    let (mut listener, mut asker) = (client(&peer).await, client(&peer).await);
    let error = listener.stream("nonsense").await.expect_err("there is no such event").to_string();
    assert_eq!(error, "Invalid event filter");
    let stream = listener.stream("user:deploy,query").await.expect("it is a filter");
    asker.event(event("other", b"", false)).await.expect("it is sent");
    asker.event(event("deploy", b"abc", false)).await.expect("it is sent");
    let (seq, StreamRecord::Event(told)) = record(&mut listener).await else { panic!("an event comes") };
    assert_eq!((seq, told.name.as_str(), &told.payload[..]), (stream, "deploy", &b"abc"[..]));

    let question =
        Query { end_early: true, name: "up".into(), request_ack: true, timeout_ns: 30_000_000_000, ..Query::default() };
    let asked = asker.query(question).await.expect("it is asked");
    let (_, StreamRecord::Event(query)) = record(&mut listener).await else { panic!("a query comes") };
    listener.respond(query.id, b"yes"[..].into()).await.expect("it is in time");
    let twice = listener.respond(query.id, b"yes"[..].into()).await.expect_err("once is enough").to_string();
    assert_eq!(twice, "No pending queries matching ID");
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|(kind, _)| kind != "done") {
        let (seq, StreamRecord::Query(record)) = record(&mut asker).await else { panic!("an answer comes") };
        assert_eq!(seq, asked);
        kinds.push((record.kind, record.from));
    }
    let expected = [("ack", "one"), ("response", "one"), ("done", "")].map(|(kind, from)| (kind.into(), from.into()));
    assert_eq!(kinds, expected, "and it ended as soon as all had answered");
    listener.stop(stream).await.expect("it always succeeds");
    let wrong = MembersFiltered { status: "*.".into(), ..MembersFiltered::default() };
    let error = asker.members_filtered(wrong).await.expect_err("the expression is wrong").to_string();
    assert!(error.contains("repetition operator missing expression"), "{error}");
}

#[tokio::test]
async fn monitors_hear_what_was_and_what_comes() {
    let peer = Peer::start(Ours, "one", json!({})).await;
    let (mut listener, mut asker) = (client(&peer).await, client(&peer).await);
    let error = listener.monitor("loud").await.expect_err("there is no such level").to_string();
    assert_eq!(error, "Unknown log level: LOUD");
    listener.monitor("info").await.expect("it is a level");
    asker.event(event("deploy", b"", false)).await.expect("it is sent");
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.ends_with("agent: Received event: user-event: deploy")) {
        let (_, StreamRecord::Log(line)) = record(&mut listener).await else { panic!("a line comes") };
        lines.push(line);
    }
    assert!(lines.iter().any(|line| line.contains("serf: EventMemberJoin: one 127.0.0.1")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("[DEBUG]")), "{lines:?}");
}

#[tokio::test]
async fn the_unix_socket_is_made_anew_after_a_crash_and_goes_with_its_agent() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("serf.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("it can be made"));
    let peer = Peer::start(Ours, "one", json!({"rpc_socket": path})).await;
    let mut client = Client::connect(&Address::Unix(path.clone()), None).await.expect("the agent listens");
    assert_eq!(client.members().await.expect("it answers")[0].name, "one");
    peer.kill().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn handlers_keep_their_order_and_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (file, fifo) = (folder.path().join("told"), folder.path().join("gate"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
    let slow = format!("user:step=read x < {}; cat >> {}", fifo.display(), file.display());
    let quick = format!("user:step=echo quick $(cat) >> {}.quick", file.display());
    let limits = json!({"event_handlers": [slow, quick], "coalesce_period": "0"});
    let peer = Peer::start(Ours, "one", limits).await;
    let mut asker = client(&peer).await;
    for payload in [b"1", b"2", b"3"] {
        asker.event(event("step", payload, true)).await.expect("it is sent");
    }
    holds(folder.path().join("told.quick"), "quick 1\nquick 2\nquick 3\n").await;
    assert!(!file.exists(), "the slow one stands at its gate");
    for wanted in ["1\n", "1\n2\n", "1\n2\n3\n"] {
        let fifo = fifo.clone();
        tokio::task::spawn_blocking(move || fs_err::write(fifo, "go\n")).await.expect("it runs").expect("it is read");
        holds(file.clone(), wanted).await;
    }
}

/// GIS.lab's handlers leave the cluster and then switch the machine off.
#[tokio::test]
async fn a_handler_outlives_its_agent() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (begun, told, fifo) = (folder.path().join("begun"), folder.path().join("told"), folder.path().join("gate"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
    let [begin, wait, tell] = [&begun, &fifo, &told].map(|path| path.display().to_string());
    let handler = format!("user:off=echo begun > {begin}; read x < {wait}; echo gone; echo off > {tell}");
    let mut peer = Peer::start(Ours, "one", json!({"event_handlers": [handler]})).await;
    let mut asker = client(&peer).await;
    asker.event(event("off", b"", false)).await.expect("it is sent");
    holds(begun, "begun\n").await;
    asker.leave().await.expect("it is answered before the agent ends");
    peer.ends().await;
    tokio::task::spawn_blocking(move || fs_err::write(fifo, "go\n")).await.expect("it runs").expect("it is read");
    holds(told, "off\n").await;
}

/// Waits until a file has this content.
async fn holds(path: std::path::PathBuf, wanted: &'static str) {
    let waiting = tokio::task::spawn_blocking(move || {
        muster_testkit::wait_for(wanted, PATIENCE, || {
            (fs_err::read_to_string(&path).unwrap_or_default() == wanted).then_some(())
        });
    });
    waiting.await.expect("it comes to that");
}

#[tokio::test]
async fn a_reload_changes_handlers_and_takes_tags_back() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let told = folder.path().join("told");
    let peer = Peer::start(Ours, "one", json!({"tags": {"a": "1"}})).await;
    let mut asker = client(&peer).await;
    asker.tags([("b".to_owned(), "2".to_owned())].into(), Vec::new()).await.expect("they are set");
    assert_eq!(asker.members().await.expect("it answers")[0].tags.len(), 2);
    let handler = format!("user:go=echo $SERF_TAG_A > {}", told.display());
    let config = json!({"tags": {"a": "3"}, "event_handlers": [handler]}).to_string();
    let config = Config::parse(&config).expect("the keys are known");
    peer.handle().reload(config).await.expect("it is good");
    let tags = asker.members().await.expect("it answers").remove(0).tags;
    assert_eq!(tags, [("a".to_owned(), "3".to_owned())].into());
    asker.event(event("go", b"", false)).await.expect("it is sent");
    holds(told, "3\n").await;
    let stats = asker.stats().await.expect("it answers");
    assert!(stats["event_handlers"].contains_key("user:go"), "{stats:?}");
}
