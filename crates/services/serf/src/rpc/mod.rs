//! What programs say to an agent on its own machine: Serf's RPC, for both sides.

pub mod codec;
pub mod record;
pub mod types;
