//! A provider whose machines exist in memory, with faults on order: for tests of whatever drives providers.
//!
//! A `FakeCloud` holds the machines; `FakeProvider`s are handles on it. When one handle "dies" (`FakeProvider::die_at`)
//! every call through it hangs for ever, as the calls of a killed process do; the machines live on and another handle
//! finds them. A machine boots when somebody waits for it: until then it is listed as being created.

mod bakery;
mod calls;
mod cloud;
mod fault;
mod guest;
mod life;
mod network;
mod provider;

pub use calls::{Call, CallOutcome};
pub use cloud::{FakeCloud, Made};
pub use fault::{Fault, Gate, Operation};
pub use guest::Disk;
pub use life::Edge;
pub use network::{LineProbe, Visit};
pub use provider::{FakeFactory, FakeProvider};
