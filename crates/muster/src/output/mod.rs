//! What people and programs see: stdout is data, stderr is everything else, and this decides.

pub(crate) mod events;
pub(crate) mod live;
pub(crate) mod outcome;
pub(crate) mod printer;
pub(crate) mod table;

pub(crate) use printer::{Format, Printer};
