//! The routes of Occopus' REST service.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, middleware};
use muster_stdx::{OnError, Supervisor};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::answer::{cost, failed, mistake, report};
use super::{Infrastructures, PASS_EVERY, Refusal, Wish};
use crate::access::{Access, Refused};
use crate::keeper::{Keeper, Next as After};

/// Descriptions are short; larger ones are somebody's mistake.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    work: Arc<dyn Infrastructures>,
    keeper: Keeper,
    /// Removals, which go on when their client has gone.
    supervisor: Supervisor,
    token: CancellationToken,
}

impl Service {
    /// `token` ends removals where a later one can go on.
    pub fn new(work: Arc<dyn Infrastructures>, token: CancellationToken) -> Self {
        let passing = Arc::clone(&work);
        let pass = move |id: String, token| {
            let work = Arc::clone(&passing);
            let pass: std::pin::Pin<Box<dyn Future<Output = After> + Send>> =
                Box::pin(async move { if work.pass(&id, token).await { After::Again } else { After::Gone } });
            pass
        };
        Self { work, keeper: Keeper::new(PASS_EVERY, Box::new(pass)), supervisor: Supervisor::new(), token }
    }

    /// Looks after what was looked after when the service ended. Gives the ids.
    pub async fn resume(&self) -> Result<Vec<String>, Refusal> {
        let ids = self.work.maintained().await?;
        for id in &ids {
            self.keeper.attach(id);
        }
        Ok(ids)
    }

    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    async fn known(&self, id: &str) -> Result<(), Refusal> {
        let known = self.work.list().await?.iter().any(|known| known == id);
        if known { Ok(()) } else { Err(Refusal::NoInfrastructure(id.to_owned())) }
    }
}

pub fn router(service: Service, access: Access) -> Router {
    let one = "/infrastructures/{id}";
    let at = |rest: &str| format!("{one}/{rest}");
    Router::new()
        .route("/infrastructures/", get(list).post(submit))
        .route("/infrastructures", get(list).post(submit))
        .route(one, get(show).delete(destroy))
        .route(&at("attach"), post(attach))
        .route(&at("detach"), post(detach))
        .route(&at("notify"), post(notify))
        .route(&at("cost"), get(costs))
        .route(&at("scaleup/{node}"), post(scale_up_by_one))
        .route(&at("scaleup/{node}/{count}"), post(scale_up))
        .route(&at("scaledown/{node}"), post(scale_down_any))
        .route(&at("scaledown/{node}/{instance}"), post(scale_down))
        .route(&at("scaleto/{node}/{count}"), post(scale_to))
        .route("/info/{key}", get(info))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({ "message": "there is no such path" }))))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(access), admit))
        .with_state(service)
}

/// Lets in who may ask, and tells browsers which pages may read the answer.
async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let origin = access.allowed_origin(request.headers());
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = match access.check(request.headers()) {
        // A browser asks beforehand, and without the token.
        _ if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
        Err(Refused::Token) => {
            let hint = "show the token, as in `Authorization: Bearer TOKEN`, or as the password of a .netrc";
            let body = json!({ "message": "a token is needed", "hint": hint, "status_code": 401 });
            let mut response = (StatusCode::UNAUTHORIZED, Json(body)).into_response();
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"muster\""));
            response
        }
        Err(Refused::Site) => {
            let message = "pages of other sites do not give orders here; serve with a token, or ask 127.0.0.1";
            (StatusCode::FORBIDDEN, Json(json!({ "message": message, "status_code": 403 }))).into_response()
        }
    };
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if is_preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
        }
    }
    response
}

type Answer = Result<Json<Value>, Refusal>;

async fn submit(State(service): State<Service>, body: Bytes) -> Response {
    if body.is_empty() {
        return mistake(400, "Empty POST data");
    }
    let Ok(description) = std::str::from_utf8(&body) else { return mistake(400, "the description is not UTF-8") };
    let id = match service.work.submit(description).await {
        Ok(id) => id,
        Err(refusal) => return refusal.into_response(),
    };
    service.keeper.attach(&id);
    Json(json!({ "infraid": id })).into_response()
}

/// The key is spelt as Occopus spells it, and once more as its manual does.
async fn list(State(service): State<Service>) -> Answer {
    let ids = service.work.list().await?;
    Ok(Json(json!({ "infrastructures": ids, "infrastuctures": ids })))
}

async fn show(State(service): State<Service>, Path(id): Path<String>) -> Answer {
    Ok(Json(report(&service.work.report(&id).await?)))
}

async fn costs(State(service): State<Service>, Path(id): Path<String>) -> Answer {
    Ok(Json(cost(&service.work.report(&id).await?)))
}

async fn destroy(State(service): State<Service>, Path(id): Path<String>) -> Response {
    if let Err(refusal) = service.known(&id).await {
        return refusal.into_response();
    }
    // A client that goes away leaves nothing half done.
    let (sender, receiver) = oneshot::channel();
    let (own, removed) = (service.clone(), id.clone());
    service.supervisor.spawn("removal of an infrastructure", OnError::Log, async move {
        own.keeper.detach(&removed).await;
        let result = own.work.destroy(&removed, own.token.clone()).await;
        if sender.send(result).is_err() {
            tracing::info!(id = removed, "nobody waits for the end of a removal any more");
        }
        Ok::<(), std::convert::Infallible>(())
    });
    match receiver.await {
        Ok(Ok(())) => Json(json!({ "infraid": id })).into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => failed("the service ended before the removal did; ask again when it is back"),
    }
}

async fn attach(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Refusal> {
    service.known(&id).await?;
    service.work.set_maintained(&id, true).await?;
    if !service.keeper.attach(&id) {
        return Ok(mistake(300, &format!("ERROR: Infrastructure {id} already being maintained!")));
    }
    Ok(Json(json!({ "infraid": id })).into_response())
}

async fn detach(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Refusal> {
    service.known(&id).await?;
    service.work.set_maintained(&id, false).await?;
    if !service.keeper.detach(&id).await {
        return Ok(mistake(300, &format!("ERROR: Infrastructure {id} is not maintained!")));
    }
    Ok(Json(json!({ "infraid": id })).into_response())
}

async fn notify(State(service): State<Service>, Path(id): Path<String>, body: String) -> Answer {
    service.work.notify(&id, &body).await?;
    Ok(Json(json!({ "infraid": id })))
}

async fn wish(service: &Service, id: &str, node: &str, wish: Wish) -> Result<(), Refusal> {
    service.work.wish(id, node, wish).await?;
    service.keeper.nudge(id);
    Ok(())
}

async fn scale_up_by_one(state: State<Service>, Path((id, node)): Path<(String, String)>) -> Answer {
    scale_up(state, Path((id, node, 1))).await
}

async fn scale_up(State(service): State<Service>, Path((id, node, count)): Path<(String, String, u32)>) -> Answer {
    wish(&service, &id, &node, Wish::More(count)).await?;
    Ok(Json(json!({ "count": count, "infraid": id, "method": "scaleup", "nodename": node })))
}

async fn scale_down_any(State(service): State<Service>, Path((id, node)): Path<(String, String)>) -> Answer {
    fewer(&service, (id, node), None).await
}

async fn scale_down(
    State(service): State<Service>,
    Path((id, node, instance)): Path<(String, String, String)>,
) -> Answer {
    fewer(&service, (id, node), Some(instance)).await
}

async fn fewer(service: &Service, (id, node): (String, String), instance: Option<String>) -> Answer {
    wish(service, &id, &node, Wish::Fewer(instance.clone())).await?;
    Ok(Json(json!({ "infraid": id, "method": "scaledown", "nodeid": instance, "nodename": node })))
}

async fn scale_to(State(service): State<Service>, Path((id, node, count)): Path<(String, String, u32)>) -> Answer {
    wish(&service, &id, &node, Wish::To(count)).await?;
    Ok(Json(json!({ "count": count, "infraid": id, "method": "scaleto", "nodename": node })))
}

async fn info(
    State(service): State<Service>,
    Path(key): Path<String>,
    Query(parameters): Query<BTreeMap<String, String>>,
) -> Answer {
    Ok(Json(json!({ "result": service.work.info(&key, &parameters).await? })))
}
