//! A node's console: a file of the machine's folder. A node with systemd writes to a terminal that is copied there.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use muster_sys::pty::{Pty, Size};
use tokio::io::unix::AsyncFd;

use crate::machine::watched;

/// Console output that is kept beside what is older than it.
const BYTES_MAX: u64 = 1 << 20;
/// Wide enough that systemd does not shorten what it says of units.
const SIZE: Size = Size { columns: 160, rows: 50 };
const READ_BYTES: usize = 4 << 10;
/// At most the end of the file is looked at for the last lines.
const TAIL_BYTES: u64 = 64 << 10;

/// Opens a console for more output.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > BYTES_MAX) {
        fs_err::rename(path, path.with_extension("log.old"))?;
    }
    muster_stdx::append_private(path).map(|file| file.into_parts().0)
}

/// The last lines of a console.
pub(crate) fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}

/// The terminal that is a node's `/dev/console`, seen from outside.
pub(crate) struct Terminal {
    controller: OwnedFd,
    /// Held open, so that reading does not end whenever nobody in the node has the console open.
    node_end: OwnedFd,
    path: PathBuf,
}

impl Terminal {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let Pty { controller, terminal } = Pty::open(SIZE)?;
        let flags =
            nix::fcntl::OFlag::from_bits_truncate(nix::fcntl::fcntl(&controller, nix::fcntl::FcntlArg::F_GETFL)?);
        nix::fcntl::fcntl(&controller, nix::fcntl::FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
        Ok(Self { controller, node_end: terminal, path })
    }

    /// The node's end.
    pub(crate) fn node_end(&self) -> &OwnedFd {
        &self.node_end
    }

    /// Copies what the node says to the console's file until `ended`, and then what is left.
    pub(crate) async fn copy(mut self, ended: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut file = open(&self.path)?;
        let mut ended = std::pin::pin!(ended);
        loop {
            let controller = watched(self.controller.try_clone()?)?;
            tokio::select! {
                // Losing the copy loses nothing: a piece is read and written without a wait in between.
                hung_up = copy_until_hangup(&controller, &mut file, &self.path) => hung_up?,
                ended = &mut ended => {
                    ended?;
                    while copy_piece(&controller, &mut file, &self.path)? == Piece::Copied {}
                    return Ok(());
                }
            }
            // Somebody in the node has hung up the line (`vhangup`). It takes a new end to go on with the same one.
            self.node_end = muster_sys::pty::peer(&self.controller)?;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Copied,
    /// There is nothing to read now.
    Nothing,
    HungUp,
}

async fn copy_until_hangup(controller: &AsyncFd<OwnedFd>, file: &mut File, path: &Path) -> io::Result<()> {
    loop {
        let mut ready = controller.readable().await?;
        match copy_piece(controller, file, path)? {
            Piece::Copied => {}
            Piece::Nothing => ready.clear_ready(),
            Piece::HungUp => return Ok(()),
        }
    }
}

fn copy_piece(controller: &AsyncFd<OwnedFd>, file: &mut File, path: &Path) -> io::Result<Piece> {
    let mut buffer = [0; READ_BYTES];
    let length = match nix::unistd::read(controller.get_ref(), &mut buffer) {
        Ok(length) => length,
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(Piece::Nothing),
        Err(nix::errno::Errno::EIO) => return Ok(Piece::HungUp),
        Err(error) => return Err(error.into()),
    };
    // Lines of a terminal end in both characters.
    let text: Vec<u8> = buffer[..length].iter().copied().filter(|byte| *byte != b'\r').collect();
    file.write_all(&text)?;
    if file.metadata()?.len() > BYTES_MAX {
        *file = open(path)?;
    }
    Ok(Piece::Copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_terminal_says_is_in_the_file_to_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let terminal = Terminal::open(path.clone()).unwrap();
        let mut node = File::from(terminal.node_end().try_clone().unwrap());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let copy = terminal.copy(async move { ended.await.map_err(io::Error::other) });
        let speak = async {
            node.write_all(b"first\n").unwrap();
            while tail(&path, 1).unwrap_or_default() != ["first"] {
                tokio::task::yield_now().await;
            }
            // Nobody has it open for a while.
            drop(node);
            end.send(()).unwrap();
        };
        tokio::join!(copy, speak).0.unwrap();
        assert_eq!(tail(&path, 5).unwrap(), ["first"]);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        open(&path).unwrap().write_all(b"one\ntwo\nthree").unwrap();
        assert_eq!(tail(&path, 2).unwrap(), ["two", "three"]);
        assert_eq!(tail(&path, 0).unwrap(), Vec::<String>::new());
    }
}
