//! Real commands over streams in memory and over loopback.

mod abandon;
mod client;
mod start;
mod terminal;
mod traffic;
