//! Cloud-config documents as steps: what to do on a node, in which order, and what a changed document asks for.
//! Pure: nothing here touches a machine.

mod diff;
mod document;
mod fields;
mod fingerprint;
mod keys;
mod message;
mod read;
mod step;

pub use diff::{Change, Commands, align, diff};
pub use document::{Document, STEPS_MAX, parse_document, read_document};
pub use message::expand_message;
pub use step::{
    AuthorizedKeys, Class, Command, EtcHosts, FileStep, Followed, Group, Hostname, Lock, Mount, Owner, Package,
    Packages, Password, PowerMode, PowerState, Reload, Secret, Section, Step, StepHash, StepId, StepKind, User,
};
