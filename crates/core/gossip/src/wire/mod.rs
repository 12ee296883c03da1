//! The wire formats of memberlist and Serf: records, packets, streams, keys.

pub mod compress;
pub mod keyring;
pub mod limits;
pub mod message;
pub mod msgpack;
pub mod packet;
pub mod record;
pub mod serf;
pub mod stream;
