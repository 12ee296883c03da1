//! Serf's agent, as scripts and other agents know it, and the client of its RPC.

pub mod agent;
pub mod commands;
mod figures;
pub mod rpc;
