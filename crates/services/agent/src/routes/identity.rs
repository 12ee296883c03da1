//! Enrolment and renewal over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use muster_api::{EnrolOffer, EnrolRequest, RenewOffer, RenewRequest};
use muster_stdx::chain;

use super::Shared;
use crate::identity::{Identity, IdentityError};
use crate::reply::{Payload, Refusal};

/// A token and a certificate.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn offer(State(shared): State<Arc<Shared>>) -> Result<Json<EnrolOffer>, Refusal> {
    blocking(&shared, Identity::offer).await.map(Json)
}

pub(super) async fn enrol(
    State(shared): State<Arc<Shared>>,
    Payload(request): Payload<EnrolRequest, REQUEST_BYTES_MAX>,
) -> Result<StatusCode, Refusal> {
    blocking(&shared, move |identity| identity.enrol(&request)).await.map(|()| StatusCode::NO_CONTENT)
}

pub(super) async fn renewal_offer(State(shared): State<Arc<Shared>>) -> Result<Json<RenewOffer>, Refusal> {
    blocking(&shared, Identity::renewal_offer).await.map(Json)
}

pub(super) async fn renew(
    State(shared): State<Arc<Shared>>,
    Payload(request): Payload<RenewRequest, REQUEST_BYTES_MAX>,
) -> Result<StatusCode, Refusal> {
    blocking(&shared, move |identity| identity.renew(&request)).await.map(|()| StatusCode::NO_CONTENT)
}

/// Runs on a thread of its own and to its end, also when the client has gone away: what is on disk and what is shown
/// stay the same.
async fn blocking<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&Identity) -> Result<T, IdentityError> + Send + 'static,
) -> Result<T, Refusal> {
    let identity = Arc::clone(&shared.identity);
    match tokio::task::spawn_blocking(move || work(&identity)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the agent failed")
            .hint("look at the console of the node")),
    }
}

fn refusal(error: &IdentityError) -> Refusal {
    let (status, code, hint) = match error {
        IdentityError::TokenWrong => (StatusCode::FORBIDDEN, "token_wrong", "the node was made by another owner"),
        IdentityError::TokenUsed => (
            StatusCode::CONFLICT,
            "token_used",
            "if it was not you who enrolled this node, somebody else did: replace it",
        ),
        IdentityError::Enrolled => (StatusCode::CONFLICT, "enrolled", "ask for its status"),
        IdentityError::RenewalUnknown => (StatusCode::CONFLICT, "renewal_unknown", "ask for a fresh request first"),
        IdentityError::Certificate(_) | IdentityError::Tls(_) => (StatusCode::BAD_REQUEST, "certificate_refused", ""),
        IdentityError::Request(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "replace the node"),
        IdentityError::Store(_) => (
            StatusCode::INSUFFICIENT_STORAGE,
            "not_stored",
            "make sure that the disk of the node is writable and has room, then try again",
        ),
    };
    Refusal::new(status, code, chain(error)).hint(hint)
}
