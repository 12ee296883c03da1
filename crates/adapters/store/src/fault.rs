//! From what `SQLite` says to what the store's callers are told.

use muster_store::StoreError;
use rusqlite::ErrorCode;

/// What is said of a file that cannot be trusted.
pub(crate) const DAMAGED: &str = "the file is damaged or is not a state file of muster; restore it from a copy, or move \
                                  it away to start with an empty state";

/// What can go wrong inside one request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the database refused")]
    Sql(#[from] rusqlite::Error),
    #[error("{DAMAGED}")]
    Json(#[from] serde_json::Error),
    #[error("the number {0} is outside of what the state can hold")]
    Number(i128),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault {
    pub(crate) fn during(self, operation: &'static str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => StoreError::Io { operation, source: Box::new(Cause::of(error)) },
            other => StoreError::Io { operation, source: Box::new(other) },
        }
    }
}

/// Why the file did not serve, in words that say what to do; `SQLite`'s own words follow as the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(
        "the file is damaged or is not a state file of muster; restore it from a copy, or move it away to start with an empty state"
    )]
    Damaged(#[source] rusqlite::Error),
    #[error("the disk is full; free some space and run the command again")]
    Full(#[source] rusqlite::Error),
    #[error("another process kept the state locked for too long; wait for it to end and run the command again")]
    Busy(#[source] rusqlite::Error),
    #[error("the file cannot be read and written here; check its owner and that its disk is not read-only")]
    Access(#[source] rusqlite::Error),
    #[error("the database refused")]
    Other(#[source] rusqlite::Error),
}

impl Cause {
    pub(crate) fn of(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::Access(error),
            _ => Self::Other(error),
        }
    }
}
