//! A fresh key and a fresh certificate, also after a long sleep.

use axum::http::StatusCode;
use muster_api::{EnrolOffer, RenewOffer, RenewRequest};
use muster_pki::Validity;
use muster_transport::TransportError;
use muster_types::{SignedDuration, Timestamp};

use super::raw::Raw;
use super::{World, web_1};

/// A certificate that ended so many days ago.
fn ended(world: &World, csr: &str, days: i64) -> Result<String, String> {
    let not_after = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let validity = Validity { not_before: not_after - SignedDuration::from_hours(24 * 30), not_after };
    world.authority.sign_node_for(csr, &web_1(), validity).map_err(|error| error.to_string())
}

fn key_on_disk(world: &World) -> String {
    let text = fs_err::read_to_string(world.state_dir().join("identity.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_renewal_brings_a_fresh_key_and_outlives_the_agent() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let (before, key_before) = (client.status().await.unwrap(), key_on_disk(&world));
    let later = Validity::days(Timestamp::now(), 60);
    let sign = |offer: &RenewOffer| {
        world.authority.sign_node_for(&offer.csr, &web_1(), later).map_err(|error| error.to_string())
    };
    client.renew(sign).await.unwrap();
    let after = world.client(running.address).status().await.unwrap();
    assert!(after.certificate_not_after > before.certificate_not_after);
    assert_ne!(key_on_disk(&world), key_before);
    running.crash().await;
    let running = world.start();
    let again = world.client(running.address).status().await.unwrap();
    assert_eq!(again.certificate_not_after, after.certificate_not_after);
    assert_eq!(again.token_reuses, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_slept_is_renewed_and_takes_no_orders_before() {
    let world = World::new();
    let running = world.start();
    let client = world.client(running.address);
    client.enrol(&world.token, |offer: &EnrolOffer| ended(&world, &offer.csr, 3)).await.unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, TransportError::Expired { .. }), "{error:?}");
    client.renew(|offer| world.sign(&offer.csr)).await.unwrap();
    assert!(client.status().await.unwrap().enrolled);
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_slept_for_years_is_not_renewed() {
    let world = World::new();
    let running = world.start();
    let client = world.client(running.address);
    client.enrol(&world.token, |offer: &EnrolOffer| ended(&world, &offer.csr, 366)).await.unwrap();
    let error = client.renew(|_| panic!("nothing is signed for it")).await.unwrap_err();
    assert!(matches!(error, TransportError::Expired { .. }), "{error:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_node_that_is_not_enrolled_is_not_renewed() {
    let world = World::new();
    let running = world.start();
    let error = world.client(running.address).renew(|_| panic!("nothing is signed for it")).await.unwrap_err();
    assert!(matches!(error, TransportError::NotEnrolled { .. }), "{error:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_renewal_may_be_repeated_and_must_fit() {
    let world = World::new();
    let (running, client) = world.enrolled().await;
    let mut raw = Raw::connect(running.address, Some(&world.operator())).await;
    let certificate = world.node_identity("web-1").certificate_pem;
    let (status, body) = raw.post("/v1/renew", &RenewRequest { certificate: certificate.clone() }).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::CONFLICT, Some("renewal_unknown")), "none was begun");

    // Two owners begin, both finish: the second offer is for the key of the first.
    let first: RenewOffer = serde_json::from_value(raw.get("/v1/renew").await.1).unwrap();
    let second: RenewOffer = serde_json::from_value(raw.get("/v1/renew").await.1).unwrap();
    let (status, body) = raw.post("/v1/renew", &RenewRequest { certificate }).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::BAD_REQUEST, Some("certificate_refused")));
    let second = RenewRequest { certificate: world.sign(&second.csr).unwrap() };
    for _ in 0..2 {
        assert_eq!(raw.post("/v1/renew", &second).await.0, StatusCode::NO_CONTENT);
    }
    let late = RenewRequest { certificate: world.sign(&first.csr).unwrap() };
    assert_eq!(raw.post("/v1/renew", &late).await.0, StatusCode::CONFLICT);
    client.status().await.unwrap();
    running.stop().await;
}
