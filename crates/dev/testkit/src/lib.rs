//! What tests of the whole program share: a place of their own to run it in, and eyes for what it leaves behind.
//!
//! Everything here panics when it cannot do its work: a test that cannot be set up has failed.

mod machine;
mod python;
mod run;
mod sandbox;
mod scale;
mod traces;
mod wait;

pub use machine::{can_make_nodes, free_port};
pub use python::python;
pub use run::{Output, Running};
pub use sandbox::{Sandbox, images};
pub use scale::{count, figure, skipped};
pub use traces::Traces;
pub use wait::wait_for;
