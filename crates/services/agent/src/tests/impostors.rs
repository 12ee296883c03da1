//! Who answers in a node's place gets nothing.

use std::net::SocketAddr;

use muster_api::{EnrolOffer, StatusReply};
use muster_pki::{Identity, NodeKey, new_token, proof, token_hash};
use muster_transport::{HandshakeFailure, ServerCertificate, ServerTls, TransportError};
use muster_types::{NodeName, Redacted};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::raw::Raw;
use super::{PATIENCE, World, cluster, web_1};
use crate::AgentConfig;

/// Shows a certificate, answers one request with an offer, and keeps all that it hears.
struct Impostor {
    listener: TcpListener,
    tls: ServerTls,
}

impl Impostor {
    async fn new(world: &World, identity: &Identity) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = ServerCertificate::new(&identity.certificate_pem, &identity.key_pem).unwrap();
        let tls = ServerTls::new(world.authority.ca_pem(), certificate).unwrap();
        (Self { listener, tls }, address)
    }

    /// Answers `count` requests of one connection with a status and hangs up when it hears the next.
    async fn answer(&self, count: usize, status: &StatusReply) {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let mut stream = self.tls.acceptor().accept(tcp).await.unwrap();
        for _ in 0..count {
            hear(&mut stream).await;
            say(&mut stream, status).await;
        }
        hear(&mut stream).await;
    }

    async fn play(self, offer: &EnrolOffer) -> String {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let Ok(mut stream) = self.tls.acceptor().accept(tcp).await else { return String::new() };
        let mut heard = hear(&mut stream).await;
        if heard.is_empty() {
            return String::new();
        }
        say(&mut stream, offer).await;
        // Until the client hangs up, which it may do rudely.
        timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().ok();
        String::from_utf8(heard).unwrap()
    }
}

/// One request without a body; nothing when the client hangs up instead.
async fn hear(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            break;
        }
    }
    heard
}

async fn say<T: Serialize>(stream: &mut TlsStream<TcpStream>, document: &T) {
    let body = serde_json::to_string(document).unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

fn own_certificate(key: &NodeKey) -> Identity {
    Identity { certificate_pem: key.self_signed(&cluster(), &web_1()).unwrap(), key_pem: key.pem() }
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()
}

/// Enrols at the impostor; returns the error and what the impostor heard.
async fn fall_for(world: &World, identity: &Identity, offer: &EnrolOffer) -> (TransportError, String) {
    let (impostor, address) = Impostor::new(world, identity).await;
    let client = world.client(address);
    let enrol = async {
        let result = client.enrol(&world.token, |_| panic!("nothing is signed for an impostor")).await;
        result.unwrap_err()
    };
    tokio::join!(enrol, impostor.play(offer))
}

#[tokio::test]
async fn a_man_in_the_middle_does_not_get_the_token() {
    let world = World::new();
    let running = world.start();
    // He has the true node's offer, for which he would need an operator's certificate.
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let true_offer: EnrolOffer = serde_json::from_value(raw.get("/v1/enrol").await.1).unwrap();
    let key = NodeKey::generate().unwrap();
    let identity = own_certificate(&key);
    let csr = key.csr(&web_1()).unwrap();
    let guess = proof(&token_hash("guess"), &der(&identity)).unwrap();
    for offer in [
        true_offer.clone(),
        EnrolOffer { csr: csr.clone(), ..true_offer.clone() },
        EnrolOffer { csr: csr.clone(), proof: guess, ..true_offer.clone() },
        EnrolOffer { csr, proof: String::new(), ..true_offer },
    ] {
        let (error, heard) = fall_for(&world, &identity, &offer).await;
        assert!(matches!(error, TransportError::Impostor { .. }), "{error:?}");
        assert!(!error.is_temporary());
        assert!(heard.starts_with("GET /v1/enrol"), "{heard}");
        assert!(!heard.contains("POST") && !heard.contains(world.token.expose().as_str()), "{heard}");
    }
    running.stop().await;
}

#[tokio::test]
async fn who_knows_the_document_gets_a_certificate_for_the_shown_key_and_name_only() {
    let world = World::new();
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let identity = own_certificate(&key);
    let proof = proof(&token_hash(world.token.expose()), &der(&identity)).unwrap();
    let good = EnrolOffer { node: web_1(), csr: key.csr(&web_1()).unwrap(), proof };
    for offer in [
        EnrolOffer { csr: other.csr(&web_1()).unwrap(), ..good.clone() },
        EnrolOffer { csr: "nonsense".to_owned(), ..good.clone() },
        EnrolOffer { node: NodeName::new("web-2").unwrap(), ..good.clone() },
    ] {
        let (error, heard) = fall_for(&world, &identity, &offer).await;
        assert!(matches!(error, TransportError::Impostor { .. }), "{error:?}");
        assert!(!heard.contains("POST"), "{heard}");
    }
}

#[tokio::test]
async fn a_node_with_another_document_is_an_impostor() {
    let world = World::new();
    let bootstrap =
        muster_api::Bootstrap { token_sha256: token_hash(new_token().unwrap().expose()), ..world.bootstrap() };
    let running = World::start_with(AgentConfig { bootstrap, ..world.config() }).unwrap();
    let error = world.enrol(&world.client(running.address)).await.unwrap_err();
    assert!(matches!(error, TransportError::Impostor { .. }), "{error:?}");
    running.stop().await;
}

#[tokio::test]
async fn certificates_that_are_not_this_nodes_end_the_handshake() {
    let (world, foreign) = (World::new(), World::new());
    let offer = EnrolOffer { node: web_1(), csr: String::new(), proof: String::new() };
    for identity in [world.node_identity("web-2"), world.operator(), foreign.node_identity("web-1")] {
        let (error, heard) = fall_for(&world, &identity, &offer).await;
        let certificate = matches!(&error, TransportError::Handshake { source: HandshakeFailure::Certificate(_), .. });
        assert!(certificate, "{error:?}");
        assert_eq!(heard, "");
    }
    // The right one is taken, which shows that the above were refused for what they are.
    let (impostor, address) = Impostor::new(&world, &world.node_identity("web-1")).await;
    let client = world.client(address);
    let (result, _) = tokio::join!(
        async {
            let result = client.enrol(&world.token, |_| panic!("it is enrolled")).await;
            drop(client);
            result
        },
        impostor.play(&offer)
    );
    result.unwrap();
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_apart_from_who_does_not_answer() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = world.client(address);
    let plain = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n").await.unwrap();
        tcp
    };
    let (error, _tcp) = tokio::join!(client.status(), plain);
    let error = error.unwrap_err();
    let other_protocol = matches!(&error, TransportError::Handshake { source: HandshakeFailure::Protocol(_), .. });
    assert!(other_protocol && !error.is_temporary(), "{error:?}");

    let hangs_up = async { drop(listener.accept().await.unwrap()) };
    let (error, ()) = tokio::join!(client.status(), hangs_up);
    let error = error.unwrap_err();
    assert!(matches!(&error, TransportError::Handshake { source: HandshakeFailure::Io(_), .. }), "{error:?}");
    assert!(error.is_temporary());

    // Bound and not listening: it refuses, and nobody else can get the port meanwhile.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let error = world.client(deaf.local_addr().unwrap()).status().await.unwrap_err();
    assert!(matches!(&error, TransportError::Dial { .. }) && error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn a_token_for_nothing_is_worth_nothing() {
    let world = World::new();
    let running = world.start();
    let wrong = Redacted::new("x".repeat(43));
    let error = world.client(running.address).enrol(&wrong, |_| panic!("unproven")).await.unwrap_err();
    assert!(matches!(error, TransportError::Impostor { .. }), "{error:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_kept_connection_that_ends_under_a_request_is_replaced_and_a_fresh_one_is_not() {
    let world = World::new();
    let (running, enrolled) = world.enrolled().await;
    let status = enrolled.status().await.unwrap();
    running.stop().await;
    let (server, address) = Impostor::new(&world, &world.node_identity("web-1")).await;
    let client = world.client(address);
    let asking = async {
        assert_eq!(client.status().await.unwrap(), status, "on a fresh connection");
        assert_eq!(client.status().await.unwrap(), status, "the kept one breaks, the next is asked");
        drop(client);
        world.client(address).status().await.unwrap_err()
    };
    let answering = async {
        server.answer(1, &status).await;
        // This one is dropped by the client, which has been answered, before it hears a second request.
        let (tcp, _) = server.listener.accept().await.unwrap();
        let mut stream = server.tls.acceptor().accept(tcp).await.unwrap();
        hear(&mut stream).await;
        say(&mut stream, &status).await;
        server.answer(0, &status).await;
    };
    let (error, ()) = tokio::join!(asking, answering);
    assert!(matches!(&error, TransportError::Closed { .. }) && error.is_temporary(), "{error:?}");
}
