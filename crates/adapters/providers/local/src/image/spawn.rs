//! Starts the process that makes an image, relays what it says, and ends it when nobody wants the image any more.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use muster_sys::process::kill_pidfd;
use muster_sys::spawn::NamespaceCommand;
use nix::fcntl::OFlag;
use tokio::sync::mpsc;

use crate::image::order::{Order, Said};

/// A line is a few hundred bytes; the content of an image is some ten KiB.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Progress that waits to be shown.
const SAID_MAX: usize = 64;

/// Ends the process when dropped. The lock spans the moments before it is there and after it was reaped.
#[derive(Debug, Default)]
struct Leash {
    state: Mutex<LeashState>,
}

#[derive(Debug, Default)]
struct LeashState {
    let_go: bool,
    process: Option<OwnedFd>,
}

impl Leash {
    fn lock(&self) -> std::sync::MutexGuard<'_, LeashState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self) {
        let mut state = self.lock();
        state.let_go = true;
        if let Some(process) = &state.process {
            // It may have ended; a pidfd names nobody else.
            kill_pidfd(process.as_fd()).ok();
        }
    }
}

struct Guard(Arc<Leash>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Runs it to its end. Its last words are its result; an error when it ends without them.
pub(crate) async fn run(program: &Path, order: &Order, mut heard: impl FnMut(Said) + Send) -> io::Result<Said> {
    let leash = Arc::new(Leash::default());
    let guard = Guard(Arc::clone(&leash));
    let (sender, mut said) = mpsc::channel(SAID_MAX);
    let (program, order) = (program.to_owned(), order.clone());
    // The kernel kills the process with the thread that started it, so one thread stays with it to the end.
    let ended = tokio::task::spawn_blocking(move || stay(&program, &order, &leash, &sender));
    let mut last = None;
    while let Some(line) = said.recv().await {
        match line {
            Said::Progress { .. } => heard(line),
            Said::Done { .. } | Said::Failed(_) => last = Some(line),
        }
    }
    let status = ended.await.map_err(io::Error::other)??;
    drop(guard);
    last.ok_or_else(|| io::Error::other(format!("the process that makes the image was ended: {status:?}")))
}

fn stay(
    program: &PathBuf,
    order: &Order,
    leash: &Leash,
    said: &mpsc::Sender<Said>,
) -> io::Result<nix::sys::wait::WaitStatus> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
    let (order_read, order_write) = pipe()?;
    let (said_read, said_write) = pipe()?;
    let log = muster_stdx::append_private(&order.log)?.into_parts().0;
    let folder = order.work.as_os_str();
    let arguments = ["image-worker".as_ref(), folder];
    let child = {
        let mut state = leash.lock();
        if state.let_go {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants the image any more"));
        }
        let files = [order_read.as_fd(), said_write.as_fd(), log.as_fd()];
        let command = NamespaceCommand { program, arguments: &arguments, files: &files, own_network: false };
        let child = command.spawn()?;
        state.process = Some(child.pidfd);
        child.pid
    };
    drop((order_read, said_write));
    let text = serde_json::to_vec(order).map_err(io::Error::other)?;
    // It ends by itself when it cannot read its order; how it ended is then the error.
    File::from(order_write).write_all(&text).ok();
    let mut reader = BufReader::new(File::from(said_read));
    let mut line = String::new();
    while reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? > 0 {
        match serde_json::from_str::<Said>(&line) {
            // Nobody listens any more: the process has been killed, and is reaped below.
            Ok(word) => drop(said.blocking_send(word)),
            Err(error) => tracing::warn!(%error, line, "the process that makes an image said something else"),
        }
        line.clear();
    }
    Ok(nix::sys::wait::waitpid(child, None)?)
}
