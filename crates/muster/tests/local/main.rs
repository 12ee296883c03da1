//! The local provider with the real program as shepherd and node: the provider contract, and what is particular to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod plain;
mod support;
mod systemd;
