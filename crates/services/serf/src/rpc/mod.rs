//! What programs say to an agent on its own machine: Serf's RPC, for both sides.

pub mod address;
pub mod client;
pub mod codec;
pub mod record;
pub mod server;
pub mod types;
