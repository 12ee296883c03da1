//! The routes, in one table. Only operators get past the door, whatever the route.

mod door;
mod identity;
mod work;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router, middleware};
use muster_api::{NodeFacts, StatusReply};
use muster_stdx::Supervisor;
use muster_types::{ClusterName, NodeName};
use tokio::sync::Semaphore;

use crate::AgentLimits;
use crate::apply::Applier;
use crate::boot::Boot;
use crate::identity::Identity;
use crate::reply::Refusal;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) cluster: ClusterName,
    pub(crate) node: NodeName,
    pub(crate) boot: Boot,
    pub(crate) facts: NodeFacts,
    pub(crate) identity: Arc<Identity>,
    pub(crate) applier: Applier,
    pub(crate) supervisor: Supervisor,
    pub(crate) execs: Arc<Semaphore>,
    pub(crate) limits: AgentLimits,
}

/// Whether a route answers before the node is enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Enrolled,
}

pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the handler has it too; tests walk the table by it"))]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) when: When,
    handler: MethodRouter<Arc<Shared>>,
}

pub(crate) fn routes() -> Vec<Route> {
    let route = |method, path, when, handler| Route { method, path, when, handler };
    vec![
        route(Method::GET, "/v1/status", When::Always, get(status)),
        route(Method::GET, "/v1/enrol", When::Always, get(identity::offer)),
        route(Method::POST, "/v1/enrol", When::Always, post(identity::enrol)),
        route(Method::GET, "/v1/renew", When::Enrolled, get(identity::renewal_offer)),
        route(Method::POST, "/v1/renew", When::Enrolled, post(identity::renew)),
        route(Method::POST, "/v1/config", When::Enrolled, post(work::configure)),
        route(Method::POST, "/v1/checks", When::Enrolled, post(work::checks)),
        route(Method::GET, "/v1/logs", When::Enrolled, get(work::logs)),
        route(Method::POST, "/v1/exec", When::Enrolled, post(work::exec)),
    ]
}

pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for Route { path, when, handler, .. } in routes() {
        let handler = match when {
            When::Always => handler,
            When::Enrolled => handler.layer(middleware::from_fn_with_state(Arc::clone(shared), door::enrolled)),
        };
        router = router.route(path, handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        // The outermost layer: it also stands before the fallbacks and before routes that are yet to come.
        .layer(middleware::from_fn_with_state(Arc::clone(shared), door::operators))
        .with_state(Arc::clone(shared))
}

#[derive(Debug, Default, serde::Deserialize)]
struct StatusQuery {
    #[serde(default)]
    drift: bool,
}

async fn status(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Json<StatusReply> {
    let asked = query.is_ok_and(|Query(query)| query.drift);
    let drifted = if asked { shared.applier.drifted().await } else { Vec::new() };
    let summary = shared.identity.summary();
    Json(StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: shared.cluster.clone(),
        node: shared.node.clone(),
        boot_id: shared.boot.id.clone(),
        booted_at: shared.boot.at,
        enrolled: summary.enrolled,
        certificate_not_after: summary.not_after,
        generation: shared.applier.generation(),
        config: shared.applier.state(),
        token_reuses: summary.token_reuses,
        facts: shared.facts.clone(),
        drifted,
    })
}

async fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "the agent has no such route")
        .hint("use the version of muster that the node's agent has")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the agent's route does not take this method")
        .hint("use the version of muster that the node's agent has")
}
