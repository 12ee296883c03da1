//! Agents of a cluster that was never made: there are none to ask.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use muster_api::{ApplyEvent, ApplyRequest, Check, CheckEvent, StatusReply};
use muster_engine::{AgentLink, AgentLinks, LinkError, LinkStream, RunEvent};
use muster_types::{NodeName, Redacted};

pub(crate) struct NoAgents;

impl AgentLinks for NoAgents {
    fn node(&self, _: &NodeName, _: IpAddr) -> Arc<dyn AgentLink> {
        Arc::new(Self)
    }
}

fn none<T>() -> Result<T, LinkError> {
    Err(LinkError::Unreachable { reason: "the cluster has no keys to speak with agents".to_owned() })
}

#[async_trait]
impl AgentLink for NoAgents {
    async fn status(&self) -> Result<StatusReply, LinkError> {
        none()
    }

    async fn enrol(&self, _: &Redacted<String>) -> Result<(), LinkError> {
        none()
    }

    async fn renew(&self) -> Result<(), LinkError> {
        none()
    }

    async fn apply(&self, _: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError> {
        none()
    }

    async fn checks(&self, _: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError> {
        none()
    }

    async fn run(&self, _: &str) -> Result<LinkStream<RunEvent>, LinkError> {
        none()
    }

    async fn ping(&self) -> Result<(), LinkError> {
        none()
    }
}
