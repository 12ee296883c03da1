//! The fake provider passes the contract, the contract finds providers that do not keep it, and the fake's faults do
//! what they say.

mod contract;
mod faults;
mod handles;

use muster_provider::{Machine, MachineRequest, Provider, Size, Tags};
use muster_types::{ClientToken, NodeName, Redacted};

fn request(name: &str) -> MachineRequest {
    MachineRequest {
        name: NodeName::new(name).expect("a name"),
        token: ClientToken::new(format!("token-of-{name}")),
        tags: owned(),
        image: None,
        packages: std::collections::BTreeSet::new(),
        shared_folders: std::collections::BTreeSet::new(),
        size: Size::default(),
        settings: None,
        user_data: Redacted::new(format!("data of {name}")),
    }
}

fn owned() -> Tags {
    Tags::from([("owner".to_owned(), "tests".to_owned())])
}

async fn running(provider: &dyn Provider, name: &str) -> Machine {
    let made = provider.create(&request(name)).await.expect("no fault is injected");
    provider.wait_running(&made.id).await.expect("no fault is injected")
}
