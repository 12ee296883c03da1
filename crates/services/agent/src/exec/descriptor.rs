//! Pipes and terminals without blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

const DISCARD_BYTES: usize = 16 * 1024;

/// Our end of a pipe or of a terminal. Reading and writing at the same time is fine.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<OwnedFd>);

impl Descriptor {
    /// The flag is one of the open file, not of the descriptor: the other end of a pipe or terminal is another open
    /// file and goes on blocking, as programs expect.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
        fcntl(&descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(watch(descriptor, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Returns when a read may succeed. Can be dropped and called again without loss.
    pub(crate) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        // Readiness costs no budget of the runtime, so whoever prints without pause would keep it from everything else.
        tokio::task::consume_budget().await;
        self.0.readable().await
    }

    /// What is there to be read now: `None` when that is nothing, 0 at the end.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match nix::unistd::read(self.0.get_ref(), buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                // This is how a terminal says that nobody has its other end open any more.
                Err(Errno::EIO) => return Ok(Some(0)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads to the end and keeps nothing.
    pub(super) async fn discard(&self) {
        let mut buffer = vec![0; DISCARD_BYTES];
        while let Ok(mut ready) = self.readable().await {
            match self.read_now(&mut buffer) {
                Ok(None) => ready.clear_ready(),
                Ok(Some(1..)) => {}
                Ok(Some(0)) | Err(_) => return,
            }
        }
    }

    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.0.writable().await?;
            match nix::unistd::write(self.0.get_ref(), data) {
                Ok(count) => data = &data[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// Has the runtime say when a descriptor is ready.
#[expect(deprecated, reason = "the unsafe successor asks that the descriptor stays open, and an OwnedFd does")]
pub(super) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}
