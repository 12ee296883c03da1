//! Serf's agent: a member of the gossip with handlers, an RPC, and files that it keeps.

mod addresses;
mod banner;
mod config;
mod duration;
mod fanout;
mod files;
mod handle;
mod handlers;
mod joins;
mod log;
mod mdns;
mod program;
mod service;
mod settings;
mod stats;
mod words;

pub use addresses::AddressError;
pub use config::{Config, FileError, Mdns};
pub use duration::{DurationError, parse as parse_duration};
pub(crate) use files::decode_key;
pub use files::{Base64Error, FilesError};
pub use handle::{Handle, HandleError};
pub use handlers::{EventFilter, EventScript, SpecError, member_event_name};
pub use log::{Level, Log, SyslogError, UnknownLevel};
pub use program::{Signals, run};
pub use service::{Agent, Ended};
pub use settings::{AgentError, Settings, SetupError, StartError};
