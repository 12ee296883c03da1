//! Requests and answers: bodies with limits, errors with codes, streams with signs of life.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use muster_api::ApiError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::routes::Shared;

/// Events that wait are sent together, about this many bytes of them.
const CHUNK_BYTES: usize = 16 * 1024;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ApiError { code: code.to_owned(), message: message.into(), hint: String::new() } }
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        hint.clone_into(&mut self.error.hint);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.error)).into_response()
    }
}

/// A JSON body of at most so many bytes.
#[derive(Debug)]
pub(crate) struct Payload<T, const BYTES_MAX: usize>(pub(crate) T);

impl<T: DeserializeOwned, const BYTES_MAX: usize> FromRequest<std::sync::Arc<Shared>> for Payload<T, BYTES_MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &std::sync::Arc<Shared>) -> Result<Self, Refusal> {
        let body = read(request.into_body(), BYTES_MAX, shared.limits.body).await?;
        let read = serde_json::from_slice(&body);
        // The error names line and column and no content, which may hold secrets.
        read.map(Self).map_err(|error| {
            let message = format!(
                "the body of the request is not what it should be, at line {} column {}",
                error.line(),
                error.column()
            );
            Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
                .hint("use the version of muster that the node's agent has")
        })
    }
}

async fn read(body: Body, bytes_max: usize, limit: Duration) -> Result<Bytes, Refusal> {
    let collected = timeout(limit, Limited::new(body, bytes_max).collect()).await;
    let collected = collected.map_err(|_| {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body of the request did not arrive in time")
    })?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("the body of the request is longer than {bytes_max} bytes");
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
        }
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "the body of the request broke off")
    })
}

/// One JSON document a line, until the sender is done. A client that goes away drops the receiver.
pub(crate) fn lines<T: Serialize + Send + 'static>(events: mpsc::Receiver<T>, heartbeat: Duration) -> Response {
    let chunks = stream::unfold(events, move |mut events| async move {
        let chunk = next_chunk(&mut events, heartbeat).await;
        chunk.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), events))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(chunks)).into_response()
}

async fn next_chunk<T: Serialize>(events: &mut mpsc::Receiver<T>, heartbeat: Duration) -> Option<Bytes> {
    let Ok(first) = timeout(heartbeat, events.recv()).await else {
        return Some(Bytes::from_static(b"\n"));
    };
    let mut chunk = BytesMut::new();
    write_line(&mut chunk, &first?);
    while chunk.len() < CHUNK_BYTES
        && let Ok(event) = events.try_recv()
    {
        write_line(&mut chunk, &event);
    }
    Some(chunk.freeze())
}

fn write_line<T: Serialize>(chunk: &mut BytesMut, event: &T) {
    // Wire types have string keys and no failing Serialize: only those can make this fail.
    serde_json::to_writer((&mut *chunk).writer(), event).expect("wire types become JSON");
    chunk.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_that_wait_are_sent_together_and_silence_is_filled() {
        let (sender, mut receiver) = mpsc::channel(8);
        assert_eq!(next_chunk(&mut receiver, Duration::ZERO).await.unwrap(), "\n");
        for text in ["a", "b"] {
            sender.send(text).await.unwrap();
        }
        let long = Duration::from_mins(10);
        assert_eq!(next_chunk(&mut receiver, long).await.unwrap(), "\"a\"\n\"b\"\n");
        drop(sender);
        assert_eq!(next_chunk(&mut receiver, long).await, None);
    }
}
