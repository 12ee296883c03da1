//! The client of Serf's RPC that Python programs use, against our agent.

use serde_json::json;
use tokio::process::Command;

use crate::peer::{Ours, PATIENCE, Peer};

const PROGRAM: &str = r#"
import sys
from serfclient.client import SerfClient
host, port = sys.argv[1].split(":")
client = SerfClient(host=host, port=int(port), rpc_auth="secret", timeout=20)
members = client.members().body["Members"]
print([(m["Name"], m["Status"], m["Tags"]) for m in [{k.decode() if isinstance(k, bytes) else k: v for k, v in m.items()} for m in members]])
print(client.event("deploy", "now", coalesce=False).head)
print(client.force_leave("nobody").head)
print(client.stats().body.keys() if hasattr(client, "stats") else "")
client.close()
"#;

#[tokio::test]
async fn serfclient_takes_our_agent_for_a_real_one() {
    let python = match muster_testkit::python(env!("CARGO_TARGET_TMPDIR"), "serfclient-1", &["serfclient==1.2.0"]) {
        Ok(python) => python,
        Err(error) => return muster_testkit::skipped(&format!("serfclient cannot be installed: {error}")),
    };
    let mut peer = Peer::start(Ours, "one", json!({"rpc_auth": "secret", "tags": {"role": "web"}})).await;
    let run = Command::new(python).args(["-c", PROGRAM]).arg(peer.rpc.to_string()).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("it starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    for part in ["one", "alive", "role", "web"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    peer.logs(&["Received event: user-event: deploy"]).await;
}
