//! The folder of a CA: private, and used by one process at a time.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_stdx::{Backoff, create_private_dir};

use crate::PkiError;

/// Whoever holds the lock makes a key or two, which takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(20);

/// Held while it lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: fs_err::File,
}

/// Makes the folder, or closes it to others when it is open to them.
pub(crate) fn private_folder(path: &Path) -> Result<(), PkiError> {
    let failed = |source| PkiError::Folder { path: path.to_owned(), source };
    create_private_dir(path).map_err(failed)?;
    let mode = fs_err::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Waits for the others, at most `LOCK_WAIT`. The file stays: removing it would let two processes hold two locks.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, PkiError> {
    let path = folder.join("lock");
    let failed = |source| PkiError::Lock { path: folder.to_owned(), source };
    let file = fs_err::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    let until = Instant::now() + LOCK_WAIT;
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(FolderLock { _file: file }),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(PkiError::Locked { path, seconds: LOCK_WAIT.as_secs() });
            }
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(backoff.pause()),
        }
    }
}

/// The text of a file; `None` when there is none.
pub(crate) fn read(path: &PathBuf, what: &'static str) -> Result<Option<String>, PkiError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { what, source }),
    }
}

pub(crate) fn store(path: &Path, what: &'static str, text: &str) -> Result<(), PkiError> {
    muster_stdx::write_atomic(path, text.as_bytes(), 0o600).map_err(|source| PkiError::Store { what, source })
}
