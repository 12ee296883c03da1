//! The codec: bytes of the real agent, everything there and back, and damage of all kinds.

#[path = "../common/exact.rs"]
mod exact;
mod fixtures;
mod fuzz;
mod round_trip;
