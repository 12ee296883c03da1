//! Serf's agent, as scripts and other agents know it, and the client of its RPC.

pub mod commands;
pub mod rpc;
