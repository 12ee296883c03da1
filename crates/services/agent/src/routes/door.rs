//! Who may ask, and when.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use muster_pki::Peer;
use muster_types::{ClusterName, Timestamp};

use super::Shared;
use crate::reply::Refusal;
use crate::serve::Caller;

/// Lets operators of this cluster in. A node's certificate proves who it is and never authorises an order: one rooted
/// node must not become root on all.
pub(super) async fn operators(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match admitted(request.extensions().get::<Caller>(), &shared.cluster, Timestamp::now()) {
        Ok(operator) => {
            if request.method() != Method::GET {
                tracing::info!(operator, method = %request.method(), path = request.uri().path(), "order");
            }
            next.run(request).await
        }
        Err(refusal) => {
            tracing::warn!(path = request.uri().path(), "refused who is no operator");
            refusal.into_response()
        }
    }
}

/// Before it is enrolled, a node cannot prove to the owner that it is itself, so it takes no work.
pub(super) async fn enrolled(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.identity.summary().enrolled {
        return next.run(request).await;
    }
    Refusal::new(StatusCode::CONFLICT, "not_enrolled", "this node is not enrolled yet")
        .hint("run `muster up` to enrol it")
        .into_response()
}

fn admitted<'a>(caller: Option<&'a Caller>, cluster: &ClusterName, now: Timestamp) -> Result<&'a str, Refusal> {
    let forbidden = |code, message| Err(Refusal::new(StatusCode::FORBIDDEN, code, message));
    let Some(caller) = caller else { return forbidden("operator_required", "the caller is not known") };
    match &caller.peer {
        Some(Peer::Operator { cluster: theirs, name }) if theirs == cluster => {
            if caller.not_after.is_none_or(|not_after| not_after < now) {
                return forbidden("certificate_expired", "the operator's certificate has expired");
            }
            Ok(name)
        }
        Some(Peer::Operator { .. }) => forbidden("operator_required", "this is an operator of another cluster"),
        Some(Peer::Node { .. }) => {
            forbidden("operator_required", "a node's certificate gives no orders: use an operator's")
        }
        None => forbidden("operator_required", "the certificate names nobody"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use muster_types::{NodeName, SignedDuration};

    use super::*;

    #[test]
    fn only_a_present_operator_of_this_cluster_is_admitted() {
        let now = Timestamp::now();
        let later = now + SignedDuration::from_hours(1);
        let cluster = ClusterName::new("demo").unwrap();
        let caller = |peer, not_after| Caller { peer, not_after, local: SocketAddr::from(([127, 0, 0, 1], 1)) };
        let operator =
            |name: &str| Some(Peer::Operator { cluster: ClusterName::new(name).unwrap(), name: "jane".to_owned() });
        let node = Some(Peer::Node { cluster: cluster.clone(), name: NodeName::new("web-1").unwrap() });
        assert_eq!(admitted(Some(&caller(operator("demo"), Some(later))), &cluster, now).unwrap(), "jane");
        for refused in [
            caller(operator("demo"), Some(now - SignedDuration::from_secs(1))),
            caller(operator("demo"), None),
            caller(operator("other"), Some(later)),
            caller(node, Some(later)),
            caller(None, Some(later)),
        ] {
            assert!(admitted(Some(&refused), &cluster, now).is_err(), "{refused:?}");
        }
        assert!(admitted(None, &cluster, now).is_err());
    }
}
