//! What runs on a node.

pub mod exec;
