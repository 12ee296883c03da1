//! Who gets in.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use muster_pki::{Authority, Identity};
use muster_transport::{HandshakeFailure, Limits, TransportError};
use muster_types::{SignedDuration, Timestamp};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::raw::{Raw, tls};
use super::{PATIENCE, Running, World, cluster};
use crate::AgentLimits;
use crate::routes::{When, routes};

/// Whether the server answers one request on a connection with this identity.
async fn is_answered(running: &Running, identity: Option<&Identity>) -> bool {
    let mut raw = Raw::connect(running.address, identity).await;
    raw.ask_bytes(&Method::GET, "/v1/status", Bytes::new()).await.is_ok()
}

#[tokio::test]
async fn a_nodes_certificate_is_refused_on_every_route() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    let node = world.node_identity("web-2");
    let own = world.node_identity("web-1");
    let everywhere = routes().into_iter().map(|route| (route.method, route.path));
    let elsewhere = [(Method::GET, "/"), (Method::GET, "/v1/none"), (Method::DELETE, "/v1/status")];
    for (method, path) in everywhere.chain(elsewhere) {
        for identity in [&node, &own] {
            let mut raw = Raw::connect(running.address, Some(identity)).await;
            let (status, body) = raw.ask_bytes(&method, path, Bytes::new()).await.unwrap();
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(body["code"], "operator_required", "{method} {path}");
            let again = raw.ask_bytes(&method, path, Bytes::new()).await;
            assert!(again.is_err(), "its connection is closed after the answer");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn an_operator_finds_every_route_and_learns_of_others() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    for route in routes() {
        let (status, body) = raw.ask_bytes(&route.method, route.path, Bytes::new()).await.unwrap();
        let found = ![StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
        assert!(found, "{} {}: {status} {body}", route.method, route.path);
        if !status.is_success() {
            assert!(body["code"].is_string() && body["message"].is_string(), "{} {body}", route.path);
        }
    }
    for (method, path, code) in
        [(Method::GET, "/v1/none", "not_found"), (Method::DELETE, "/v1/status", "method_not_allowed")]
    {
        let (status, body) = raw.ask_bytes(&method, path, Bytes::new()).await.unwrap();
        assert!(status.is_client_error());
        assert_eq!(body["code"], code);
    }
    running.stop().await;
}

#[tokio::test]
async fn before_enrolment_only_two_routes_answer() {
    let world = World::new();
    let running = world.start();
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    for route in routes() {
        let (status, body) = raw.ask_bytes(&route.method, route.path, Bytes::new()).await.unwrap();
        let refused = body["code"] == "not_enrolled" && status == StatusCode::CONFLICT;
        assert_eq!(refused, route.when == When::Enrolled, "{} {}: {status}", route.method, route.path);
    }
    let (_, status) = raw.get("/v1/status").await;
    assert_eq!((&status["enrolled"], &status["boot_id"]), (&false.into(), &"this-start".into()));
    // A node's certificate is refused here too.
    let mut node = Raw::connect(running.address, Some(&world.node_identity("web-2"))).await;
    assert_eq!(node.get("/v1/enrol").await.0, StatusCode::FORBIDDEN);
    running.stop().await;
}

#[tokio::test]
async fn strangers_do_not_get_past_the_handshake() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    let folder = tempfile::tempdir().unwrap();
    let foreign = Authority::open_or_create(folder.path(), &cluster()).unwrap();
    let foreign = foreign.operator_at("jane", Timestamp::now()).unwrap();
    let long_ago = Timestamp::now() - SignedDuration::from_hours(24 * 400);
    let expired = World::new();
    let expired_world = expired.authority.operator_at("jane", long_ago).unwrap();
    assert!(is_answered(&running, Some(&world.operator())).await);
    assert!(!is_answered(&running, None).await, "no certificate");
    assert!(!is_answered(&running, Some(&foreign)).await, "another cluster's CA of the same name");
    let mut refused = world.client_as(&foreign, running.address, Limits::default()).status().await.unwrap_err();
    assert!(is_rejection(&refused), "{refused:?}");
    assert!(!refused.is_temporary());
    let running_expired = expired.start();
    expired.enrol(&expired.client(running_expired.address)).await.unwrap();
    refused = expired.client_as(&expired_world, running_expired.address, Limits::default()).status().await.unwrap_err();
    assert!(is_rejection(&refused), "{refused:?}");
    running.stop().await;
    running_expired.stop().await;
}

fn is_rejection(error: &TransportError) -> bool {
    matches!(error, TransportError::Handshake { source: HandshakeFailure::Rejected(_), .. })
}

/// The server hangs up and has said nothing that is an answer.
async fn is_hung_up(tcp: &mut TcpStream) {
    let mut said = Vec::new();
    timeout(PATIENCE, tcp.read_to_end(&mut said)).await.unwrap().ok();
    assert!(!said.starts_with(b"HTTP"), "no answer without TLS");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_dropped() {
    let world = World::new();
    let limits = AgentLimits { handshake: Duration::from_millis(50), ..AgentLimits::default() };
    let running = world.start_limited(limits);
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    is_hung_up(&mut silent).await;
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    is_hung_up(&mut plain).await;
    running.stop().await;
}

#[tokio::test]
async fn who_is_slow_to_shake_hands_gives_way() {
    let world = World::new();
    let limits = AgentLimits { handshake: 10 * PATIENCE, handshakes: 2, ..AgentLimits::default() };
    let running = world.start_limited(limits);
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    assert!(is_answered(&running, Some(&world.operator())).await);
    for tcp in &mut silent[..4] {
        is_hung_up(tcp).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn connections_have_a_limit_and_strangers_have_their_own() {
    let world = World::new();
    let limits = AgentLimits { connections: 1, strangers: 1, ..AgentLimits::default() };
    let running = world.start_limited(limits);
    let (operator, node) = (world.operator(), world.node_identity("web-2"));
    // A connection without a request keeps its place once it has been served, which its first answer shows.
    let mut first = Raw::connect(running.address, Some(&operator)).await;
    first.get("/v1/status").await;
    assert!(!is_answered(&running, Some(&operator)).await, "the one place is taken");
    assert!(is_answered(&running, Some(&node)).await, "strangers have their own");
    drop(first);
    let freed = async { while !is_answered(&running, Some(&operator)).await {} };
    timeout(PATIENCE, freed).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_the_client_opens_another() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    running.stop().await;
    let running = world.start_limited(AgentLimits { idle: Duration::from_millis(300), ..AgentLimits::default() });
    let client = world.client(running.address);
    client.status().await.unwrap();
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let operator = world.operator();
    let mut idle = tls(Some(&operator)).connect(ServerName::try_from("any").unwrap(), tcp).await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut said)).await.unwrap().ok();
    // By now the kept connection of the client, which is older, has been closed too.
    assert!(client.status().await.unwrap().enrolled);
    running.stop().await;
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let world = World::new();
    let running = world.start();
    let connector = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(connector));
    let error = connector.connect(ServerName::try_from("any").unwrap(), tcp).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    running.stop().await;
}
