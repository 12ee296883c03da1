//! Images: a base made once, and layers of software on top of it, kept as folders that nodes stack read-only.
//!
//! `baker` decides, in the process of the command; `worker` makes one image, in a process of its own.

mod apt;
mod baker;
mod base;
mod downloads;
mod error;
mod layer;
mod lists;
mod lock;
mod order;
mod output;
mod prepare;
mod refs;
mod removal;
mod runner;
mod sources;
mod spawn;
mod store;
mod worker;

pub(crate) use baker::Baker;
pub(crate) use refs::MachineRef;
pub(crate) use removal::sweep_refs_if_idle;
pub(crate) use store::{Layers, Store, StoreError};
pub use worker::run as run_image_worker;

/// The machine's own programs under a fresh root: nothing is kept for it.
pub(crate) const HOST: &str = "host";
/// Debian 12, made by mmdebstrap.
pub(crate) const DEBIAN_12: &str = "debian-12";
/// The first is the default.
pub(crate) const IMAGES: [&str; 2] = [HOST, DEBIAN_12];
