//! Finding others on the same network by multicast DNS.

use muster_stdx::Supervisor;

use super::handle::Handle;
use super::settings::Settings;

pub(crate) fn start(_supervisor: &Supervisor, _handle: &Handle, _settings: &Settings) {}
