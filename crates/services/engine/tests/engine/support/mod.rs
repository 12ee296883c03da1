//! A world in memory for the engine: machines of the fake provider, agents on them, and a store in a file, all of which
//! outlive any one engine.

mod agents;
mod blueprint;
mod mortal;
mod world;

pub(crate) use agents::{Agents, Trouble};
pub(crate) use blueprint::{TestBlueprint, TestGroup, Wants, name};
pub(crate) use mortal::Mortality;
pub(crate) use world::{Process, World};
