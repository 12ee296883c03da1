//! The engine against clouds, agents and stores that fail in every way they can.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests do")]

mod audit;
mod baking;
mod cost;
mod crash;
mod drain;
mod drift;
mod facts;
mod failures;
mod follow;
mod lease;
mod occopus;
mod order;
mod policies;
mod removal;
mod scale;
mod sim;
mod status;
mod support;
mod tend;
mod up;
