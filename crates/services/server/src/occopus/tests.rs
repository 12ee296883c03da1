//! Every route against infrastructures in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Infrastructures, InstanceReport, NodeReport, Refusal, Report, Service, Wish, router};
use crate::Access;

#[derive(Default)]
struct Memory {
    known: Mutex<Vec<String>>,
    said: Mutex<Vec<String>>,
}

impl Memory {
    fn say(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }

    fn check(&self, id: &str) -> Result<(), Refusal> {
        let known = self.known.lock().unwrap().iter().any(|known| known == id);
        if known { Ok(()) } else { Err(Refusal::NoInfrastructure(id.to_owned())) }
    }
}

#[async_trait]
impl Infrastructures for Memory {
    async fn submit(&self, description: &str) -> Result<String, Refusal> {
        if !description.contains("infra_name") {
            return Err(Refusal::Bad("infra_name is missing".to_owned()));
        }
        self.known.lock().unwrap().push("id-1".to_owned());
        Ok("id-1".to_owned())
    }

    async fn list(&self) -> Result<Vec<String>, Refusal> {
        Ok(self.known.lock().unwrap().clone())
    }

    async fn maintained(&self) -> Result<Vec<String>, Refusal> {
        self.list().await
    }

    async fn set_maintained(&self, id: &str, maintained: bool) -> Result<(), Refusal> {
        self.check(id)?;
        self.say(format!("maintained {maintained}"));
        Ok(())
    }

    async fn report(&self, id: &str) -> Result<Report, Refusal> {
        self.check(id)?;
        let instance = |id: &str, addresses: &[&str]| InstanceReport {
            id: id.to_owned(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            state: "ready",
            machine: format!("machine of {id}"),
        };
        let instances = vec![instance("n1", &["10.0.0.1"]), instance("n2", &["10.0.0.2", "192.0.2.2"])];
        Ok(Report { nodes: vec![NodeReport { name: "worker".to_owned(), instances, target: 3, min: 1, max: 5 }] })
    }

    async fn wish(&self, id: &str, node: &str, wish: Wish) -> Result<(), Refusal> {
        self.check(id)?;
        if node != "worker" {
            return Err(Refusal::NoNode { id: id.to_owned(), node: node.to_owned() });
        }
        self.say(format!("{wish:?}"));
        Ok(())
    }

    async fn notify(&self, id: &str, how: &str) -> Result<(), Refusal> {
        self.check(id)?;
        self.say(how.to_owned());
        Ok(())
    }

    async fn pass(&self, _: &str, _: CancellationToken) -> bool {
        true
    }

    async fn destroy(&self, id: &str, _: CancellationToken) -> Result<(), Refusal> {
        self.check(id)?;
        if self.said.lock().unwrap().iter().any(|said| said == "stuck") {
            return Err(Refusal::Failed("machine m1 is still listed".to_owned()));
        }
        self.known.lock().unwrap().clear();
        Ok(())
    }

    async fn info(&self, key: &str, parameters: &BTreeMap<String, String>) -> Result<Value, Refusal> {
        match key {
            "infrastructure.name" => Ok(json!(parameters.get("infra_id"))),
            _ => Err(Refusal::NoKey(key.to_owned())),
        }
    }
}

async fn ask(memory: &Arc<Memory>, line: &str, body: &str) -> (StatusCode, Value) {
    let service = Service::new(Arc::clone(memory) as Arc<dyn Infrastructures>, CancellationToken::new());
    ask_service(&service, line, body).await
}

async fn ask_service(service: &Service, line: &str, body: &str) -> (StatusCode, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let router = router(service.clone(), Access::Local);
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn there() -> Arc<Memory> {
    Arc::new(Memory { known: Mutex::new(vec!["id-1".to_owned()]), ..Memory::default() })
}

/// Request → answer, as Occopus gives it.
#[tokio::test]
async fn answers_are_those_of_occopus() {
    let memory = there();
    let scaling = json!({ "actual": 2, "max": 5, "min": 1, "target": 3 });
    let report = json!({ "worker": { "instances": {
        "n1": { "resource_address": "10.0.0.1", "state": "ready" },
        "n2": { "resource_address": ["10.0.0.2", "192.0.2.2"], "state": "ready" },
    }, "scaling": scaling } });
    let missing = |reason: &str, code: u16| json!({ "message": reason, "reason": reason, "status_code": code });
    let table = [
        ("GET /infrastructures/", json!({ "infrastructures": ["id-1"], "infrastuctures": ["id-1"] })),
        ("GET /infrastructures/id-1", report),
        ("GET /infrastructures/id-1/cost", json!({ "worker": { "n1": 0, "n2": 0 }, "totalcost": 0 })),
        ("POST /infrastructures/id-1/notify", json!({ "infraid": "id-1" })),
        (
            "POST /infrastructures/id-1/scaleup/worker",
            json!({ "count": 1, "infraid": "id-1", "method": "scaleup", "nodename": "worker" }),
        ),
        (
            "POST /infrastructures/id-1/scaleup/worker/3",
            json!({ "count": 3, "infraid": "id-1", "method": "scaleup", "nodename": "worker" }),
        ),
        (
            "POST /infrastructures/id-1/scaledown/worker",
            json!({ "infraid": "id-1", "method": "scaledown", "nodeid": null, "nodename": "worker" }),
        ),
        (
            "POST /infrastructures/id-1/scaledown/worker/n2",
            json!({ "infraid": "id-1", "method": "scaledown", "nodeid": "n2", "nodename": "worker" }),
        ),
        (
            "POST /infrastructures/id-1/scaleto/worker/4",
            json!({ "count": 4, "infraid": "id-1", "method": "scaleto", "nodename": "worker" }),
        ),
        ("GET /info/infrastructure.name?infra_id=id-1", json!({ "result": "id-1" })),
        ("GET /info/nothing", missing("Key not found: \"nothing\"", 404)),
        ("GET /infrastructures/other", missing("ERROR: infrastructure 'other' does not exist!", 300)),
        ("DELETE /infrastructures/other", missing("ERROR: infrastructure 'other' does not exist!", 300)),
        ("POST /infrastructures/other/attach", missing("ERROR: infrastructure 'other' does not exist!", 300)),
        (
            "POST /infrastructures/id-1/scaleup/master",
            missing("ERROR: node 'master' does not exist in infrastructure 'id-1'!", 300),
        ),
        ("POST /infrastructures/id-1/detach", missing("ERROR: Infrastructure id-1 is not maintained!", 300)),
        ("POST /infrastructures/", missing("Empty POST data", 400)),
    ];
    for (line, expected) in table {
        assert_eq!(ask(&memory, line, "").await, (StatusCode::OK, expected), "{line}");
    }
    let said = memory.said.lock().unwrap().join("; ");
    assert_eq!(said, "; More(1); More(3); Fewer(None); Fewer(Some(\"n2\")); To(4); maintained false");
    assert_eq!(ask(&memory, "GET /nothing", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&memory, "POST /infrastructures/", "nodes: []").await.1["status_code"], 400);
}

#[tokio::test]
async fn what_is_submitted_is_looked_after_until_it_is_removed() {
    let memory = Arc::new(Memory::default());
    let service = Service::new(Arc::clone(&memory) as Arc<dyn Infrastructures>, CancellationToken::new());
    let (_, made) = ask_service(&service, "POST /infrastructures/", "infra_name: x").await;
    assert_eq!(made, json!({ "infraid": "id-1" }));
    assert!(service.keeper().keeps("id-1"));
    let (_, again) = ask_service(&service, "POST /infrastructures/id-1/attach", "").await;
    assert_eq!(again["reason"], "ERROR: Infrastructure id-1 already being maintained!");
    ask_service(&service, "POST /infrastructures/id-1/detach", "").await;
    assert!(!service.keeper().keeps("id-1"));
    assert_eq!(service.resume().await.unwrap(), ["id-1"]);
    assert!(service.keeper().keeps("id-1"));
    let (_, gone) = ask_service(&service, "DELETE /infrastructures/id-1", "").await;
    assert_eq!(gone, json!({ "infraid": "id-1" }));
    assert!(!service.keeper().keeps("id-1"));
}

#[tokio::test]
async fn a_removal_that_fails_does_not_look_like_one_that_did_not() {
    let memory = there();
    memory.say("stuck".to_owned());
    let (status, body) = ask(&memory, "DELETE /infrastructures/id-1", "").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["message"], "machine m1 is still listed");
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let memory = Arc::new(Memory::default());
    let text = "infra_name: x\n".repeat(100_000);
    let (status, _) = ask(&memory, "POST /infrastructures/", &text).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}
