//! PID 1 of a node: keeps one worker process running, reaps what is orphaned, ends everything when told to.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::reboot::RebootMode;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A worker that ended this often within `RESTART_WINDOW` will not come up any more.
const RESTARTS_MAX: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_mins(1);
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// How long processes get between SIGTERM and SIGKILL.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How a node's PID 1 ended, as an exit code that whoever started it can tell apart.
pub const EXIT_STOPPED: i32 = 0;
pub const EXIT_WORKER_FAILED: i32 = 70;

enum Wish {
    Stop,
    Reboot,
}

/// Runs as PID 1 until told to end; returns the exit code. Must be called while the process has one thread: the worker
/// is forked off. SIGTERM stops the node, SIGINT reboots it (as Ctrl-Alt-Del does on a real machine).
///
/// `worker` is run in a child process and returns its exit code. It is started again when it ends.
pub fn run(mut worker: impl FnMut() -> i32) -> io::Result<i32> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    let mut starts: Vec<Instant> = Vec::new();
    loop {
        starts.retain(|start| start.elapsed() < RESTART_WINDOW);
        if starts.len() >= RESTARTS_MAX {
            end_everything(&signals);
            return Ok(EXIT_WORKER_FAILED);
        }
        if !starts.is_empty() {
            std::thread::sleep(RESTART_PAUSE);
        }
        starts.push(Instant::now());
        let child = start(&mut worker, &signals)?;
        match watch(child, &signals)? {
            None => {}
            Some(Wish::Stop) => {
                end_everything(&signals);
                return Ok(EXIT_STOPPED);
            }
            Some(Wish::Reboot) => {
                end_everything(&signals);
                // In a pid namespace this ends its PID 1 by SIGHUP, which tells the parent that a reboot is wished.
                match nix::sys::reboot::reboot(RebootMode::RB_AUTOBOOT)? {}
            }
        }
    }
}

fn start(worker: &mut impl FnMut() -> i32, signals: &SigSet) -> io::Result<Pid> {
    // SAFETY: the process has one thread (a condition of `run`), so the child may do all that the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let unblocked = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(signals), None);
            let code = if unblocked.is_ok() { worker() } else { EXIT_WORKER_FAILED };
            // SAFETY: ends this process at once; destructors belong to the parent's copy.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Reaps until the worker has ended (`None`) or a signal asks for more.
fn watch(worker: Pid, signals: &SigSet) -> io::Result<Option<Wish>> {
    loop {
        match signals.wait() {
            Ok(Signal::SIGTERM) => return Ok(Some(Wish::Stop)),
            Ok(Signal::SIGINT) => return Ok(Some(Wish::Reboot)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if reap().contains(&worker) {
            return Ok(None);
        }
    }
}

/// Collects every child that has ended.
fn reap() -> Vec<Pid> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(status) => ended.extend(status.pid()),
        }
    }
}

/// SIGTERM to all, then SIGKILL to those that are left.
fn end_everything(signals: &SigSet) {
    let everybody = Pid::from_raw(-1);
    // Nobody there is what is wanted.
    kill(everybody, Signal::SIGTERM).ok();
    kill(everybody, Signal::SIGCONT).ok();
    let until = Instant::now() + STOP_GRACE;
    while Instant::now() < until {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => wait_a_moment(signals),
            _ => {}
        }
    }
    kill(everybody, Signal::SIGKILL).ok();
    while waitpid(None, None).is_ok() {}
}

/// Until the next signal, at most 100 ms.
fn wait_a_moment(signals: &SigSet) {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    // SAFETY: both pointers outlive the call; the information about the signal is not asked for.
    unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), &raw const limit) };
}
