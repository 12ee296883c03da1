//! Occopus' REST service: its paths, its answers, its way of telling mistakes, over whatever carries infrastructures out.

mod answer;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use routes::{Service, router};

/// As Occopus has it: between one pass over an infrastructure and the next.
pub const PASS_EVERY: Duration = Duration::from_secs(10);

/// Another number of instances of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    More(u32),
    /// One fewer: the instance of this id or address, else the youngest.
    Fewer(Option<String>),
    To(u32),
}

/// How an infrastructure is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the description; those that have an instance.
    pub nodes: Vec<NodeReport>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    pub name: String,
    pub instances: Vec<InstanceReport>,
    pub target: u32,
    pub min: u32,
    pub max: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    pub id: String,
    pub addresses: Vec<String>,
    /// `ready`, `pending`, `temp_failed`, `failed`, `shutdown`.
    pub state: &'static str,
    /// The provider's own id.
    pub machine: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("infrastructure '{0}' does not exist")]
    NoInfrastructure(String),
    #[error("node '{node}' does not exist in infrastructure '{id}'")]
    NoNode { id: String, node: String },
    /// What was sent is wrong; the words say where.
    #[error("{0}")]
    Bad(String),
    #[error("Key not found: \"{0}\"")]
    NoKey(String),
    /// It was understood, and did not succeed.
    #[error("{0}")]
    Failed(String),
}

/// What carries infrastructures out. Everything that it tells may be shown to whoever may ask.
#[async_trait]
pub trait Infrastructures: Send + Sync + 'static {
    /// Checks and stores a description; builds nothing yet. Gives the id.
    async fn submit(&self, description: &str) -> Result<String, Refusal>;

    /// All ids, the oldest first.
    async fn list(&self) -> Result<Vec<String>, Refusal>;

    /// Those that this service looks after, also after a restart.
    async fn maintained(&self) -> Result<Vec<String>, Refusal>;

    async fn set_maintained(&self, id: &str, maintained: bool) -> Result<(), Refusal>;

    async fn report(&self, id: &str) -> Result<Report, Refusal>;

    /// Notes that another number is wanted; the next pass does it.
    async fn wish(&self, id: &str, node: &str, wish: Wish) -> Result<(), Refusal>;

    async fn notify(&self, id: &str, how: &str) -> Result<(), Refusal>;

    /// Makes it what it should be. False: it is gone.
    async fn pass(&self, id: &str, token: CancellationToken) -> bool;

    /// Removes it with all its machines.
    async fn destroy(&self, id: &str, token: CancellationToken) -> Result<(), Refusal>;

    /// What Occopus' information broker says to a key.
    async fn info(&self, key: &str, parameters: &BTreeMap<String, String>) -> Result<Value, Refusal>;
}
