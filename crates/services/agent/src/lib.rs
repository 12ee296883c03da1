//! What runs on a node.

pub mod checks;
pub mod exec;
