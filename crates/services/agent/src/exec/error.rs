//! Why an exec stream ended without an exit frame.

use std::io;

use muster_api::{FrameError, FrameKind};

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("the client sent no request")]
    NoRequest,
    #[error("the request of an exec cannot be read")]
    Request(#[source] serde_json::Error),
    #[error("the client went away")]
    ClientGone,
    #[error("cannot read from the client of an exec")]
    Read(#[source] io::Error),
    #[error("cannot write to the client of an exec")]
    Write(#[source] io::Error),
    #[error("the client sent what is no frame")]
    Frame(#[from] FrameError),
    #[error("a {0:?} frame came where none may come")]
    Unexpected(FrameKind),
    #[error("the content of a {0:?} frame cannot be read")]
    Payload(FrameKind),
    #[error("cannot watch the command")]
    Watch(#[source] io::Error),
    #[error("cannot read the output of the command")]
    Output(#[source] io::Error),
    #[error("cannot write down how the command ended")]
    Encode(#[source] serde_json::Error),
}
