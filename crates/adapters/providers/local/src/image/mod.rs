//! Images: a base made once, and layers of software on top of it, kept as folders that nodes stack read-only.

mod lock;
mod refs;
mod store;

pub(crate) use refs::MachineRef;
pub(crate) use store::{Layers, Store, StoreError};

/// The machine's own programs under a fresh root: nothing is kept for it.
pub(crate) const HOST: &str = "host";
/// Debian 12, made by mmdebstrap.
pub(crate) const DEBIAN_12: &str = "debian-12";
/// The first is the default.
pub(crate) const IMAGES: [&str; 2] = [HOST, DEBIAN_12];
