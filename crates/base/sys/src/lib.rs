//! The kernel's own: processes in namespaces, mounts, cgroups, PID 1. The one crate with unsafe code.

pub mod capability;
pub mod clock;
pub mod init;
pub mod mount;
pub mod process;
pub mod pty;
pub mod session;
pub mod spawn;
pub mod terminal;
