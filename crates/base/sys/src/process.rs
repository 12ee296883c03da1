//! Telling processes apart: an id alone may be somebody else's by now.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The id of this boot of this machine.
pub fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in clock ticks since boot; an error when there is none.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command may hold blanks and brackets: fields are counted behind its last bracket. Field 22 is the start.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace();
    let state = fields.next().unwrap_or("X");
    if matches!(state, "Z" | "X") {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")));
    }
    let ticks = fields.nth(18).and_then(|ticks| ticks.parse().ok());
    ticks.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat cannot be read")))
}

/// Whether the process that had this id at that start is alive. Zombies are not.
pub fn is_alive(pid: u32, ticks: u64) -> bool {
    start_ticks(pid).is_ok_and(|found| found == ticks)
}

/// Ends the process that a pidfd names, at once.
pub fn kill_pidfd(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    signal_pidfd(pidfd, libc::SIGKILL)
}

/// Sends a signal to the process that a pidfd names; nobody else can get it.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a system call with a file that is borrowed for the call, and no pointer.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process as an interrupt does that nobody handles: a shell sees 130.
pub fn end_by_interrupt() -> ! {
    // SAFETY: the default action needs no handler; the signal ends the process, or `_exit` does if it is blocked.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::raise(libc::SIGINT);
        libc::_exit(130)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_twin_is_not() {
        let pid = std::process::id();
        let ticks = start_ticks(pid).unwrap();
        assert!(is_alive(pid, ticks));
        assert!(!is_alive(pid, ticks + 1));
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
