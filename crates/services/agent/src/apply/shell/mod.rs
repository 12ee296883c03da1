//! `bootcmd` and `runcmd`: each list is one shell script, as in cloud-init, so that `cd` and variables carry over, and
//! yet every item is a step of its own, with its own output and exit code.

mod environment;
mod script;
mod session;
mod units;

pub(super) use environment::restore_text;
pub(super) use script::{Places, SHELL, login, quote, script};
pub(super) use session::{Session, SessionEvent, Told, write_private};
pub(super) use units::{Unit, units};
