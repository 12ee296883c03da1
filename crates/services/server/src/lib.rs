//! The long-running form of the program: HTTP for people's programs, and one task for each cluster that is looked after.
//! It knows no engine: what is to be done with a cluster is handed in.

mod access;
mod keeper;
mod listen;
pub mod occopus;

pub use access::{Access, Token, TokenError};
pub use keeper::{Keeper, Next, Pass};
pub use listen::{Listening, ServeError};
