//! A command that runs: watched, signalled and ended without ever meeting another process of the same id.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use muster_stdx::Backoff;
use muster_sys::session::{End, Session, SessionError, live_groups, peek, signal_group};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};

use super::descriptor::watch;

const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(250);
/// How long a process may take to end after SIGKILL before nobody waits for it any more.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// Which process groups of a session are ended with it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    /// All: what was started without a terminal may have groups of its own, as `timeout` makes them.
    Session,
    /// The leader's and the one in the foreground of the terminal. What a shell has put into the background there is
    /// the shell's affair.
    Foreground(Option<Pid>),
}

/// The leader of a session and of a process group. It is not waited for before this is dropped, so its id stays its
/// own, and every signal goes where it was meant to go. Dropping it ends a leader that still runs, with its group.
#[derive(Debug)]
pub(crate) struct Process {
    /// There until dropped.
    child: Option<Child>,
    pidfd: AsyncFd<OwnedFd>,
    group: Pid,
}

impl Process {
    pub(crate) fn start(session: Session, command: Command) -> Result<Self, SessionError> {
        let started = session.spawn(command)?;
        let mut child = started.child;
        let group = Pid::from_raw(child.id().cast_signed());
        match watch(started.pidfd, Interest::READABLE) {
            Ok(pidfd) => Ok(Self { child: Some(child), pidfd, group }),
            Err(error) => {
                // It ends by SIGKILL, so the wait is short. The first error is the one to tell.
                child.kill().and_then(|()| child.wait()).ok();
                Err(SessionError::Watch(error))
            }
        }
    }

    /// Returns when the leader has ended; again at once when called again.
    pub(crate) async fn ended(&self) -> io::Result<End> {
        loop {
            let mut ready = self.pidfd.readable().await?;
            if let Some(end) = self.peek()? {
                return Ok(end);
            }
            ready.clear_ready();
        }
    }

    /// The process id of the leader.
    pub(crate) fn id(&self) -> u32 {
        self.group.as_raw().cast_unsigned()
    }

    /// Sends a signal to the group. A group that is gone needs none.
    pub(crate) fn signal(&self, signal: i32) {
        signal_or_log(self.group, signal);
    }

    /// SIGHUP to those groups.
    pub(crate) fn hang_up(&self, reach: Reach) {
        for group in self.live(reach) {
            signal_or_log(group, libc::SIGHUP);
            // One that is stopped would not notice.
            signal_or_log(group, libc::SIGCONT);
        }
    }

    /// Waits until those groups are empty, and sends SIGKILL to what is left of them after the grace.
    pub(crate) async fn end(&self, reach: Reach, grace: Duration) {
        let until = Instant::now() + grace;
        // Nothing tells when a group becomes empty, so this looks; the looks are bounded by the grace.
        let mut looks = Backoff::new(LOOK_FIRST, LOOK_LONGEST);
        while let left = self.live(reach)
            && !left.is_empty()
        {
            let now = Instant::now();
            if now >= until {
                for group in left {
                    signal_or_log(group, libc::SIGKILL);
                }
                // Whoever cannot be killed now is stuck in the kernel.
                timeout(KILL_WAIT, self.ended()).await.ok();
                return;
            }
            sleep(looks.pause().min(until - now)).await;
        }
    }

    /// Those in which a process of this session runs: a group of another session only has the same number.
    fn live(&self, reach: Reach) -> Vec<Pid> {
        let is_reached = |group: &Pid| match reach {
            Reach::Session => true,
            Reach::Foreground(foreground) => *group == self.group || Some(*group) == foreground,
        };
        match live_groups(self.group) {
            Ok(live) => live.into_iter().filter(is_reached).collect(),
            Err(error) => {
                tracing::debug!(%error, "cannot list processes");
                vec![self.group]
            }
        }
    }

    fn peek(&self) -> io::Result<Option<End>> {
        self.child.as_ref().map_or(Ok(None), peek)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.peek(), Ok(Some(_))) {
            self.signal(libc::SIGKILL);
        }
        let Some(mut child) = self.child.take() else { return };
        if let Ok(None) = child.try_wait() {
            // It dies within moments, or is stuck in the kernel: not for the agent's only thread to wait for.
            let reaper = std::thread::Builder::new().name("reap".to_owned()).spawn(move || child.wait());
            if let Err(error) = reaper {
                tracing::warn!(%error, "a killed process stays a zombie until the agent ends");
            }
        }
    }
}

fn signal_or_log(group: Pid, signal: i32) {
    if let Err(error) = signal_group(group, signal) {
        tracing::debug!(%group, signal, %error, "cannot signal a process group");
    }
}

/// The code by which shells tell how a command ended.
pub(crate) fn exit_code(end: End) -> i32 {
    match end {
        End::Code(code) => code,
        End::Signal(signal) => 128 + signal,
    }
}
