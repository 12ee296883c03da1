//! The snapshot file: whom this member knew and what it was told, so that it finds its way back after a restart.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_gossip::snapshot::Snapshot;
use muster_gossip::{Event, Member, MemberEvent, Resume};
use tokio::time::Instant;

/// After an error the file is written anew, not more often than this.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    snapshot: Snapshot,
    file: Option<fs_err::File>,
    size: u64,
    /// Lines that are not written yet.
    waiting: String,
    /// After an error.
    retry_at: Option<Instant>,
}

impl SnapshotFile {
    /// Reads the file, which need not be there, and opens it for what comes.
    pub fn open(path: &Path, rejoin_after_leave: bool) -> io::Result<Self> {
        let bytes = match fs_err::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let snapshot = Snapshot::replay(&String::from_utf8_lossy(&bytes), rejoin_after_leave);
        let mut opened =
            Self { path: path.to_owned(), snapshot, file: None, size: 0, waiting: String::new(), retry_at: None };
        opened.reopen()?;
        // A crash may have cut the last line: what follows must not become part of it.
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            opened.waiting.push('\n');
        }
        Ok(opened)
    }

    /// What was read and what has come since.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = muster_stdx::append_private(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    pub(crate) fn changed(&mut self, kind: MemberEvent, member: &Member) {
        let event = Event::Members { kind, members: vec![member.clone()] };
        let lines = self.snapshot.record(&event);
        self.waiting.push_str(&lines);
    }

    /// Writes what waits, and the clocks. To be called now and then.
    pub(crate) fn flush(&mut self, clocks: Resume) -> io::Result<()> {
        let lines = self.snapshot.record_clocks(clocks);
        self.waiting.push_str(&lines);
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            // The whole file will be written anew.
            self.waiting.clear();
            return Ok(());
        }
        let written = self.write_waiting();
        self.retry_at = written.is_err().then(|| Instant::now() + RETRY);
        written
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let whole = self.retry_at.is_some() || self.file.is_none() || self.snapshot.is_too_long(self.size);
        if whole {
            return self.compact();
        }
        if let Some(file) = self.file.as_mut().filter(|_| !waiting.is_empty()) {
            file.write_all(waiting.as_bytes())?;
            self.size += waiting.len() as u64;
        }
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        self.file = None;
        muster_stdx::write_atomic(&self.path, self.snapshot.compacted().as_bytes(), 0o600)?;
        self.reopen()
    }

    /// This member left on purpose, which is on the disk when this returns.
    pub(crate) fn left(&mut self, clocks: Resume) -> io::Result<()> {
        let lines = self.snapshot.record(&Event::Left);
        self.flush(clocks)?;
        if let Some(file) = &mut self.file {
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        fs_err::write(&path, "alive: n1 127.0.0.1:7946\nclock: 1\nalive: n2 127.0").unwrap();
        let mut file = SnapshotFile::open(&path, false).unwrap();
        file.flush(Resume { clock: 7, event_clock: 2, query_clock: 3 }).unwrap();
        let read = SnapshotFile::open(&path, false).unwrap();
        assert_eq!(read.snapshot().alive().len(), 1);
        assert_eq!(read.snapshot().resume(), Resume { clock: 7, event_clock: 2, query_clock: 3 });
    }

    #[test]
    fn who_left_is_remembered_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        fs_err::write(&path, "alive: n1 127.0.0.1:7946\n").unwrap();
        let mut file = SnapshotFile::open(&path, false).unwrap();
        file.left(Resume::default()).unwrap();
        assert!(SnapshotFile::open(&path, false).unwrap().snapshot().alive().is_empty());
        assert_eq!(SnapshotFile::open(&path, true).unwrap().snapshot().alive().len(), 1);
    }
}
