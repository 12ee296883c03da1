//! Small things that every service needs: supervised tasks, error chains, atomic files, growing pauses.

mod backoff;
mod chain;
mod file;
mod supervisor;

pub use backoff::Backoff;
pub use chain::chain;
pub use file::{append_private, create_private_dir, write_atomic};
pub use supervisor::{OnError, Supervisor};
