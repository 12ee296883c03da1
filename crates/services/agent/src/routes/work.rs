//! Orders: configure, check, run, and what became of them.

use std::fmt::Display;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use muster_api::{ApplyRequest, Check};
use muster_stdx::{OnError, chain};
use serde::Deserialize;

use super::Shared;
use crate::apply::{ApplyError, ApplyRefusal};
use crate::reply::{Payload, Refusal, lines};
use crate::serve::Caller;
use crate::{checks as health, exec as command};

const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// JSON escapes line ends and quotes as two bytes each.
const CONFIG_BYTES_MAX: usize = DOCUMENT_BYTES_MAX * 2;
const CHECKS_BYTES_MAX: usize = 256 * 1024;
const CHECKS_MAX: usize = 256;
const LOG_LINES_MAX: usize = 100_000;
const LOG_LINES_DEFAULT: usize = 1000;
const EXEC_PROTOCOL: &str = "muster-exec";

pub(super) async fn configure(
    State(shared): State<Arc<Shared>>,
    Payload(request): Payload<ApplyRequest, CONFIG_BYTES_MAX>,
) -> Result<Response, Refusal> {
    if request.document.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document is longer than {DOCUMENT_BYTES_MAX} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            .hint("have the nodes fetch large files instead of writing them into the document"));
    }
    let events = shared.applier.apply(request).await.map_err(|refused| Refusal::from(&refused))?;
    Ok(lines(events, shared.limits.heartbeat))
}

pub(super) async fn checks(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Payload(checks): Payload<Vec<Check>, CHECKS_BYTES_MAX>,
) -> Result<Response, Refusal> {
    if checks.len() > CHECKS_MAX {
        let message = format!("{} checks at once are more than {CHECKS_MAX}", checks.len());
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
    }
    // The address that the operator has reached is the node's own, whatever the machine calls itself.
    let events = health::run(checks, caller.local.ip(), &shared.supervisor);
    Ok(lines(events, shared.limits.heartbeat))
}

#[derive(Debug, Deserialize)]
pub(super) struct LogQuery {
    lines: Option<usize>,
    step: Option<String>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let bad = |error: &dyn Display| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", error.to_string());
    let Query(query) = query.map_err(|error| bad(&error))?;
    let count = query.lines.unwrap_or(LOG_LINES_DEFAULT).min(LOG_LINES_MAX);
    let events = shared.applier.logs(count, query.step, query.follow).await.map_err(|error| log_refusal(&error))?;
    Ok(lines(events, shared.limits.heartbeat))
}

/// Answers 101 and hands the connection over. The place among the connections is given back then; a command takes one
/// of its own.
pub(super) async fn exec(State(shared): State<Arc<Shared>>, mut request: Request) -> Result<Response, Refusal> {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|protocol| protocol == EXEC_PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| wanted).ok_or_else(|| {
        let message = format!("this route answers requests that upgrade to {EXEC_PROTOCOL}");
        Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
    })?;
    let place = Arc::clone(&shared.execs).try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "as many commands run as the agent takes at once")
            .hint("wait until some have ended")
    })?;
    let work = async move {
        let _place = place;
        let stream = upgrade.await.map_err(|error| chain(&error))?;
        command::run(TokioIo::new(stream)).await.map_err(|error| chain(&error))
    };
    shared.supervisor.spawn("exec", OnError::Log, Box::pin(work));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(EXEC_PROTOCOL));
    Ok(response)
}

impl From<&ApplyRefusal> for Refusal {
    fn from(refused: &ApplyRefusal) -> Self {
        let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, refused.code(), chain(refused)).hint(refused.hint())
    }
}

fn log_refusal(error: &ApplyError) -> Refusal {
    match error {
        ApplyError::NoStep { .. } => Refusal::new(StatusCode::NOT_FOUND, "no_step", chain(error))
            .hint("leave out the step to see the lines of all"),
        ApplyError::Open { .. } => {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "logs", chain(error)).hint("look at the disk of the node")
        }
    }
}
