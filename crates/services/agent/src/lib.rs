//! What runs on a node.

mod agent;
pub mod apply;
mod boot;
pub mod checks;
mod config;
mod error;
pub mod exec;
mod facts;
mod identity;
mod reply;
mod routes;
mod serve;

#[cfg(test)]
mod tests;

pub use agent::Agent;
pub use config::{AgentConfig, AgentLimits, NodeLimits, Ready};
pub use error::AgentError;
