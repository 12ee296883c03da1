//! Locks between processes: files that the kernel unlocks with the process that holds them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use muster_stdx::Backoff;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "dropping it is its use")] Flock<File>);

/// Whether several may hold it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Sole,
}

/// Takes the lock if it is free now. The file stays: a lock on a file that somebody removes protects nothing.
pub(crate) fn try_lock(path: &Path, mode: Mode) -> io::Result<Option<Held>> {
    let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let wanted = match mode {
        Mode::Shared => FlockArg::LockSharedNonblock,
        Mode::Sole => FlockArg::LockExclusiveNonblock,
    };
    match Flock::lock(file.into_parts().0, wanted) {
        Ok(flock) => Ok(Some(Held(flock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// As `try_lock`, again and again until `limit`: the kernel tells nobody that a lock has become free but those who block.
pub(crate) async fn lock(path: &Path, mode: Mode, limit: Duration) -> io::Result<Option<Held>> {
    let start = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));
    loop {
        if let Some(held) = try_lock(path, mode)? {
            return Ok(Some(held));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_and_one_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = try_lock(&path, Mode::Shared).unwrap().unwrap();
        let second = try_lock(&path, Mode::Shared).unwrap().unwrap();
        assert!(try_lock(&path, Mode::Sole).unwrap().is_none());
        drop((first, second));
        let alone = try_lock(&path, Mode::Sole).unwrap().unwrap();
        assert!(try_lock(&path, Mode::Shared).unwrap().is_none());
        drop(alone);
        assert!(try_lock(&path, Mode::Shared).unwrap().is_some());
    }
}
