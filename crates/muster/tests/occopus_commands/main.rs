//! The program under Occopus' names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod examples;
mod files;
mod import;
mod links;
mod scripts;
mod table;

use muster_testkit::Sandbox;

fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_muster"))
}
