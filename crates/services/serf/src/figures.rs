//! Figures of an agent over HTTP, for Prometheus.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::agent::Handle;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) async fn serve(listener: TcpListener, agent: Handle) -> io::Result<()> {
    let router = Router::new().route("/metrics", get(metrics)).with_state(agent);
    axum::serve(listener, router).await
}

async fn metrics(State(agent): State<Handle>) -> Response {
    match agent.figures().await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
