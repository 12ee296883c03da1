//! One token, one enrolment, whatever breaks in between.

use std::os::unix::fs::PermissionsExt as _;

use axum::http::StatusCode;
use muster_api::{Bootstrap, EnrolOffer, EnrolRequest};
use muster_pki::{new_token, token_hash};
use muster_transport::TransportError;
use muster_types::{NodeName, Redacted};

use super::raw::Raw;
use super::{Running, World, web_1};
use crate::{AgentConfig, AgentError, NodeLimits};

/// What an owner would post, made from a fresh offer.
async fn request(world: &World, running: &Running) -> EnrolRequest {
    let csr = csr(world, running).await;
    EnrolRequest { token: world.token.clone(), certificate: world.sign(&csr).unwrap() }
}

async fn csr(world: &World, running: &Running) -> String {
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let (status, offer) = raw.get("/v1/enrol").await;
    assert_eq!(status, StatusCode::OK, "{offer}");
    serde_json::from_value::<EnrolOffer>(offer).unwrap().csr
}

async fn post(world: &World, running: &Running, request: &EnrolRequest) -> (StatusCode, String) {
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let (status, body) = raw.post("/v1/enrol", request).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_node_is_told_apart_until_it_is_enrolled_and_stays_so() {
    let world = World::new();
    let running = world.start();
    let client = world.client(running.address);
    let error = client.status().await.unwrap_err();
    assert!(matches!(&error, TransportError::NotEnrolled { node } if *node == web_1()), "{error:?}");
    world.enrol(&client).await.unwrap();
    let status = client.status().await.unwrap();
    assert!(status.enrolled && status.certificate_not_after.is_some());
    assert_eq!((status.node, status.boot_id.as_str(), status.token_reuses), (web_1(), "this-start", 0));
    assert!(status.facts.cpus > 0 && status.facts.memory_bytes > 1 << 20, "{:?}", status.facts);
    running.crash().await;

    let identity = world.state_dir().join("identity.json");
    assert_eq!(fs_err::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs_err::metadata(world.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    let node_limits = NodeLimits { memory_bytes: Some(1 << 20), cpus: Some(0.5) };
    let running = World::start_with(AgentConfig { node_limits, ..world.config() }).unwrap();
    let again = world.client(running.address).status().await.unwrap();
    assert_eq!((again.facts.cpus, again.facts.memory_bytes), (1, 1 << 20));
    assert_eq!(again.certificate_not_after, status.certificate_not_after);
    running.stop().await;
}

#[tokio::test]
async fn a_crash_before_the_record_leaves_the_token_unused() {
    let world = World::new();
    let running = world.start();
    let lost = request(&world, &running).await;
    running.crash().await;
    // What a crash in the middle of writing leaves behind.
    fs_err::write(world.state_dir().join(".identity.json.1.new"), "{\"version\":1,\"clu").unwrap();
    let running = world.start();
    // The key was in memory only: what was signed for it fits no more, and uses nothing up.
    assert_eq!(post(&world, &running, &lost).await, (StatusCode::BAD_REQUEST, "certificate_refused".to_owned()));
    let client = world.client(running.address);
    assert!(matches!(client.status().await, Err(TransportError::NotEnrolled { .. })));
    world.enrol(&client).await.unwrap();
    assert_eq!(client.status().await.unwrap().token_reuses, 0);
    running.stop().await;
}

#[tokio::test]
async fn an_owner_who_lost_the_reply_may_repeat_and_nobody_else() {
    let world = World::new();
    let running = world.start();
    let first = request(&world, &running).await;
    let second = request(&world, &running).await;
    assert_eq!(post(&world, &running, &first).await.0, StatusCode::NO_CONTENT);
    running.crash().await;

    let running = world.start();
    assert_eq!(post(&world, &running, &first).await.0, StatusCode::NO_CONTENT, "the same request");
    let client = world.client(running.address);
    let unasked = |_: &EnrolOffer| Err("nothing is to be signed".to_owned());
    client.enrol(&world.token, unasked).await.unwrap();
    assert_eq!(client.status().await.unwrap().token_reuses, 0);

    assert_eq!(post(&world, &running, &second).await, (StatusCode::CONFLICT, "token_used".to_owned()));
    assert_eq!(client.status().await.unwrap().token_reuses, 1);
    running.crash().await;
    let running = world.start();
    let client = world.client(running.address);
    assert_eq!(client.status().await.unwrap().token_reuses, 1, "the count outlives the agent");
    assert_eq!(post(&world, &running, &second).await.1, "token_used");
    assert_eq!(client.status().await.unwrap().token_reuses, 2);
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    assert_eq!(raw.get("/v1/enrol").await.1["code"], "enrolled");
    running.stop().await;
}

#[tokio::test]
async fn two_owners_at_once_enrol_once() {
    let world = World::new();
    let running = world.start();
    let (first, second) = (request(&world, &running).await, request(&world, &running).await);
    let (one, two) = tokio::join!(post(&world, &running, &first), post(&world, &running, &second));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [StatusCode::NO_CONTENT, StatusCode::CONFLICT]);
    assert_eq!(world.client(running.address).status().await.unwrap().token_reuses, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_full_disk_leaves_the_token_unused() {
    let world = World::new();
    let running = world.start();
    let good = request(&world, &running).await;
    // A folder in the place of the file can neither be renamed over nor be written.
    let identity = world.state_dir().join("identity.json");
    fs_err::create_dir_all(identity.join("in the way")).unwrap();
    assert_eq!(post(&world, &running, &good).await, (StatusCode::INSUFFICIENT_STORAGE, "not_stored".to_owned()));
    let client = world.client(running.address);
    assert!(matches!(client.status().await, Err(TransportError::NotEnrolled { .. })), "it shows what is on disk");
    fs_err::remove_dir_all(&identity).unwrap();
    world.enrol(&client).await.unwrap();
    assert_eq!(client.status().await.unwrap().token_reuses, 0);
    running.stop().await;
}

#[tokio::test]
async fn wrong_tokens_and_certificates_use_nothing_up() {
    let world = World::new();
    let running = world.start();
    let good = request(&world, &running).await;
    let wrong = EnrolRequest { token: new_token().unwrap(), ..good.clone() };
    assert_eq!(post(&world, &running, &wrong).await, (StatusCode::FORBIDDEN, "token_wrong".to_owned()));
    let (csr, stranger) = (csr(&world, &running).await, World::new());
    for certificate in [
        world.authority.sign_node(&csr, &NodeName::new("web-2").unwrap()).unwrap(),
        stranger.sign(&csr).unwrap(),
        world.node_identity("web-1").certificate_pem,
        world.operator().certificate_pem,
        String::new(),
    ] {
        let bad = EnrolRequest { certificate, ..good.clone() };
        assert_eq!(post(&world, &running, &bad).await, (StatusCode::BAD_REQUEST, "certificate_refused".to_owned()));
    }
    assert_eq!(post(&world, &running, &good).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.client(running.address).status().await.unwrap().token_reuses, 0);
    running.stop().await;
}

#[tokio::test]
async fn another_bootstrap_document_starts_anew() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    running.stop().await;
    let other_ca = World::new();
    for bootstrap in [
        Bootstrap { node: NodeName::new("web-2").unwrap(), ..world.bootstrap() },
        Bootstrap { token_sha256: token_hash("another"), ..world.bootstrap() },
        Bootstrap { ca: other_ca.authority.ca_pem().to_owned(), ..world.bootstrap() },
    ] {
        let running = World::start_with(AgentConfig { bootstrap: bootstrap.clone(), ..world.config() }).unwrap();
        let owner = if bootstrap.ca == world.bootstrap().ca { &world } else { &other_ca };
        let mut raw = Raw::connect(running.address, Some(&owner.operator())).await;
        assert_eq!(raw.get("/v1/status").await.1["enrolled"], false);
        running.stop().await;
    }
    // Nothing was overwritten: the first document still finds its identity.
    let running = world.start();
    assert!(world.client(running.address).status().await.unwrap().enrolled);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_not_a_fresh_start() {
    let world = World::new();
    let (running, _client) = world.enrolled().await;
    running.stop().await;
    fs_err::write(world.state_dir().join("identity.json"), "{").unwrap();
    let damaged = World::start_with(world.config()).err();
    assert!(matches!(damaged, Some(AgentError::IdentityDamaged { .. })), "{damaged:?}");
    let newer = Bootstrap { version: 99, ..world.bootstrap() };
    let newer = World::start_with(AgentConfig { bootstrap: newer, ..world.config() }).err();
    assert!(matches!(newer, Some(AgentError::Bootstrap { found: 99, .. })), "{newer:?}");
}

#[tokio::test]
async fn a_refusal_to_sign_is_told_and_uses_nothing_up() {
    let world = World::new();
    let running = world.start();
    let client = world.client(running.address);
    let refused = client.enrol(&world.token, |_| Err("the lease was lost".to_owned())).await.unwrap_err();
    assert!(matches!(&refused, TransportError::Sign { message, .. } if message == "the lease was lost"));
    world.enrol(&client).await.unwrap();
    running.stop().await;
}

#[test]
fn a_token_is_not_printed() {
    let request = EnrolRequest { token: Redacted::new("secret".to_owned()), certificate: String::new() };
    assert!(!format!("{request:?}").contains("secret"));
}
