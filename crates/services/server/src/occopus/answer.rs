//! Answers as Occopus writes them. Most mistakes come with status 200 and tell of themselves in the body: programs look there.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{InstanceReport, Refusal, Report};

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, reason) = match &self {
            Self::NoInfrastructure(_) | Self::NoNode { .. } => (300, format!("ERROR: {self}!")),
            Self::Bad(_) => (400, self.to_string()),
            Self::NoKey(_) => (404, self.to_string()),
            Self::Failed(_) => return failed(&self.to_string()),
        };
        mistake(code, &reason)
    }
}

/// As Occopus tells what its caller did wrong.
pub(super) fn mistake(code: u16, reason: &str) -> Response {
    Json(json!({ "message": reason, "reason": reason, "status_code": code })).into_response()
}

/// Where Occopus would say that all is well, or show a trace of its own code.
pub(super) fn failed(message: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "message": message, "status_code": 500 }))).into_response()
}

/// One address is a text, several are a list.
fn address(instance: &InstanceReport) -> Value {
    match instance.addresses.as_slice() {
        [] => Value::Null,
        [one] => Value::from(one.as_str()),
        several => Value::from(several.to_vec()),
    }
}

fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.into_iter().collect::<Map<_, _>>())
}

pub(super) fn report(report: &Report) -> Value {
    object(report.nodes.iter().map(|node| {
        let instances = object(node.instances.iter().map(|instance| {
            let value = json!({ "resource_address": address(instance), "state": instance.state });
            (instance.id.clone(), value)
        }));
        let scaling = json!({
            "actual": node.instances.len(), "max": node.max, "min": node.min, "target": node.target,
        });
        (node.name.clone(), json!({ "instances": instances, "scaling": scaling }))
    }))
}

/// Machines of this computer cost nothing, and no other provider tells a price.
pub(super) fn cost(report: &Report) -> Value {
    let nodes = report.nodes.iter().map(|node| {
        (node.name.clone(), object(node.instances.iter().map(|instance| (instance.id.clone(), Value::from(0)))))
    });
    object(nodes.chain([("totalcost".to_owned(), Value::from(0))]))
}
