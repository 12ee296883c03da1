//! The state in one `SQLite` file: what is remembered about clusters, and the lease that gives each one writer.
//!
//! One thread owns the connection. Writes that wait at the same time share one transaction, so that a hundred nodes
//! cost a few disk flushes and not a hundred; each stands in a savepoint of its own, so that one that fails does not
//! take the others with it. A reply is given after the commit has reached the disk.

mod fault;
mod lease;
mod open;
mod rows;
mod store;
mod worker;

pub use store::{Clock, SqliteStore};

#[cfg(test)]
mod tests;
