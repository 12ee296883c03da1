//! Serf's command line beside the real one, Debian's package `serf`: both say the same to the same agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agents;
mod commands;
mod gislab;
mod views;
