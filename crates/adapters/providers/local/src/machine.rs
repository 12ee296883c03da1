//! One machine as the shepherd knows it, and what may happen to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use muster_provider::{Machine as Listed, MachineState};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::record::Record;
use crate::settings::Init;

/// How long PID 1 gets to end a node's processes before it is killed. The patience of our own init is 3 s; services of
/// systemd may have something to write down.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
const STOP_TIMEOUT_SYSTEMD: Duration = Duration::from_secs(30);
/// What systemd starts `poweroff.target` and `reboot.target` on: SIGRTMIN+4 and SIGRTMIN+5 (systemd(1)).
const POWER_OFF_SYSTEMD: i32 = 38;
const REBOOT_SYSTEMD: i32 = 39;

/// What should become of a machine whose process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nobody asked: the exit status tells.
    Run,
    Stop,
    Kill,
    /// It did not become ready; the reason is in the view already.
    Fail,
    Reboot,
    Destroy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: MachineState,
    pub(crate) detail: Option<String>,
    /// Whether a process of this machine is there.
    pub(crate) alive: bool,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) record: Record,
    /// One operation at a time.
    pub(crate) gate: tokio::sync::Mutex<()>,
    view: watch::Sender<View>,
    wish: Mutex<Wish>,
    process: Mutex<Option<Arc<OwnedFd>>>,
}

/// A panic while a lock was held is a bug that has been reported; the data are single values and stay whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Machine {
    pub(crate) fn new(record: Record, state: MachineState) -> Arc<Self> {
        let detail = record.detail.clone();
        Arc::new(Self {
            record,
            gate: tokio::sync::Mutex::new(()),
            view: watch::Sender::new(View { state, detail, alive: false }),
            wish: Mutex::new(Wish::Run),
            process: Mutex::new(None),
        })
    }

    pub(crate) fn listed(&self) -> Listed {
        let view = self.view.borrow();
        self.record.machine(view.state, view.detail.clone())
    }

    pub(crate) fn state(&self) -> MachineState {
        self.view.borrow().state
    }

    pub(crate) fn set(&self, state: MachineState, detail: Option<String>) {
        self.view.send_modify(|view| {
            view.state = state;
            view.detail = detail;
        });
    }

    pub(crate) fn wish(&self) -> Wish {
        *lock(&self.wish)
    }

    pub(crate) fn set_wish(&self, wish: Wish) {
        *lock(&self.wish) = wish;
    }

    /// A process runs for this machine from now on.
    pub(crate) fn began(&self, pidfd: OwnedFd) -> Arc<OwnedFd> {
        let pidfd = Arc::new(pidfd);
        *lock(&self.process) = Some(Arc::clone(&pidfd));
        self.view.send_modify(|view| {
            view.state = MachineState::Creating;
            view.detail = None;
            view.alive = true;
        });
        pidfd
    }

    /// Its process has ended and been reaped.
    pub(crate) fn ended(&self, state: MachineState, detail: Option<String>) {
        *lock(&self.process) = None;
        self.view.send_modify(|view| {
            view.state = state;
            view.detail = detail;
            view.alive = false;
        });
    }

    pub(crate) fn detail(&self) -> Option<String> {
        self.view.borrow().detail.clone()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.view.borrow().alive
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::SIGKILL as i32)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        let process = lock(&self.process).clone();
        match process {
            Some(pidfd) => muster_sys::process::signal_pidfd(pidfd.as_fd(), signal),
            None => Ok(()),
        }
    }

    /// How its PID 1 is asked to end, and how long it gets.
    fn request(&self, wish: Wish) -> (i32, Duration) {
        match (self.record.init, wish) {
            (Init::Agent, _) => (Signal::SIGTERM as i32, STOP_TIMEOUT),
            (Init::Systemd, Wish::Reboot) => (REBOOT_SYSTEMD, STOP_TIMEOUT_SYSTEMD),
            (Init::Systemd, _) => (POWER_OFF_SYSTEMD, STOP_TIMEOUT_SYSTEMD),
        }
    }

    /// Until no process is left.
    pub(crate) async fn wait_ended(&self) {
        let mut view = self.view.subscribe();
        // The sender lives as long as this machine, so waiting cannot fail.
        view.wait_for(|view| !view.alive).await.ok();
    }

    /// Asks the node to end, and kills it when it does not.
    pub(crate) async fn end(&self, wish: Wish) -> io::Result<()> {
        self.set_wish(wish);
        if wish == Wish::Stop || wish == Wish::Reboot {
            let (signal, patience) = self.request(wish);
            self.signal(signal)?;
            if tokio::time::timeout(patience, self.wait_ended()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill()?;
        self.wait_ended().await;
        Ok(())
    }

    /// Until it runs, or will not without help.
    pub(crate) async fn wait_settled(&self) -> Listed {
        let mut view = self.view.subscribe();
        view.wait_for(|view| view.state != MachineState::Creating).await.ok();
        self.listed()
    }
}

/// Hands an open file to the runtime's poll.
#[expect(deprecated, reason = "its replacement is unsafe; an owned file stays open for as long as it is watched")]
pub(crate) fn watched<T: AsFd + std::os::fd::AsRawFd>(file: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(file)
}

/// Until a process has ended. The file is another one for the same process: one cannot be watched twice.
pub(crate) async fn ended(pidfd: Arc<OwnedFd>) -> io::Result<()> {
    watched(pidfd.try_clone()?)?.readable().await.map(drop)
}

/// Waits for the end of a process and reaps it.
pub(crate) async fn reap(pidfd: Arc<OwnedFd>) -> io::Result<WaitStatus> {
    let file = watched(pidfd)?;
    let _readable = file.readable().await?;
    Ok(nix::sys::wait::waitid(Id::PIDFd(file.get_ref().as_fd()), WaitPidFlag::WEXITED)?)
}

/// What an end that nobody asked for means.
pub(crate) enum Ending {
    /// `reboot` was called in the node.
    Reboot,
    Stopped(String),
    Failed(String),
}

pub(crate) fn ending(status: &WaitStatus) -> Ending {
    match status {
        // The kernel's way of telling of reboot(2) in a pid namespace.
        WaitStatus::Signaled(_, Signal::SIGHUP, _) => Ending::Reboot,
        WaitStatus::Signaled(_, Signal::SIGINT, _) => Ending::Stopped("powered off from inside".to_owned()),
        WaitStatus::Signaled(_, signal, _) => Ending::Stopped(format!("its PID 1 was ended by {signal}")),
        WaitStatus::Exited(_, muster_sys::init::EXIT_STOPPED) => Ending::Stopped("shut down from inside".to_owned()),
        WaitStatus::Exited(_, muster_sys::init::EXIT_WORKER_FAILED) => {
            Ending::Failed("its agent ended five times within a minute".to_owned())
        }
        WaitStatus::Exited(_, code) => Ending::Failed(format!("its PID 1 ended with code {code}")),
        other => Ending::Failed(format!("its PID 1 ended: {other:?}")),
    }
}
