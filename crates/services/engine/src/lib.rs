//! Makes clusters what their files say: observes, plans, executes with intents written down first, verifies, accounts.

mod bake;
mod blueprint;
mod board;
mod change;
mod checks;
pub mod compile;
mod configure;
mod down;
mod engine;
mod error;
mod events;
mod facts;
mod fault;
mod join;
mod lease;
mod limits;
mod link;
mod machine;
mod node;
mod observe;
mod outcome;
mod policy;
mod preflight;
mod removal;
mod run;
mod status;
mod transport;
mod up;

pub use blueprint::Blueprint;
pub use engine::{Engine, EngineConfig};
pub use error::EngineError;
pub use limits::Limits;
pub use link::{AgentLink, AgentLinks, LinkError, LinkStream};
pub use observe::{CLUSTER_TAG, GROUP_TAG, NODE_TAG};
pub use outcome::{Exit, NodeOutcome, Outcome};
pub use transport::TransportLinks;
