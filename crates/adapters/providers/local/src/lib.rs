//! Sandbox nodes on this machine: namespaces over a read-only `/usr`, one switch and one shepherd process a cluster.
//!
//! The provider is a client of the shepherd (`shepherd`), which starts nodes (`node_init` is their first code) and holds
//! the switch. What is on disk (`layout`) is the truth when no shepherd runs: every machine is then stopped.

mod cgroup;
mod console;
mod dialer;
mod examine;
mod hosts;
mod image;
mod launch;
mod layout;
mod machine;
mod network;
mod node_init;
mod node_root;
mod node_systemd;
mod preflight;
mod protocol;
mod provider;
mod record;
mod request;
mod serve;
mod settings;
mod shared;
mod shepherd;
mod skeleton;

pub use image::run_image_worker;
pub use layout::scope_name;
pub use node_init::{NodeContext, run as run_node_init};
pub use node_systemd::context as node_agent_context;
pub use provider::LocalFactory;
pub use shepherd::{ShepherdOptions, run as run_shepherd};
