//! Starting a program as the first process of fresh namespaces.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::unistd::Pid;

/// A program to be PID 1 of fresh mount, pid, UTS and IPC namespaces.
#[derive(Debug)]
pub struct NamespaceCommand<'a> {
    pub program: &'a Path,
    pub arguments: &'a [&'a OsStr],
    /// Become file descriptors 0, 1, 2, 3… of the program; everything else must be close-on-exec.
    pub files: &'a [BorrowedFd<'a>],
    /// Whether it gets a network namespace too, or shares the caller's.
    pub own_network: bool,
}

/// A started PID 1, seen from outside.
#[derive(Debug)]
pub struct NamespaceChild {
    pub pid: Pid,
    /// Becomes readable when the process has ended; names this process only, ever.
    pub pidfd: OwnedFd,
}

/// Everything the child needs between clone and exec, made before: the child may not allocate, since another thread
/// may have held the allocator's lock.
struct Prepared {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    files: Vec<RawFd>,
}

impl NamespaceCommand<'_> {
    /// Clones and executes. The child is killed when the calling thread ends, so call from one that outlives it. Exit code
    /// 127 means that the program could not be executed.
    pub fn spawn(&self) -> io::Result<NamespaceChild> {
        let mut prepared = self.prepare()?;
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let arguments = pointers(&prepared.arguments);
        let environment = pointers(&prepared.environment);
        let mut pidfd: RawFd = -1;
        // SAFETY: clone_args is plain old data; zero is a valid value for each field.
        let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
        let network = if self.own_network { libc::CLONE_NEWNET } else { 0 };
        let flags = libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | network
            | libc::CLONE_PIDFD;
        request.flags = u64::from(flags.cast_unsigned());
        request.pidfd = (&raw mut pidfd) as u64;
        request.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        // SAFETY: a fork-like clone3 (no shared memory, no new stack); `request` outlives the call. The child only
        // makes async-signal-safe calls until it executes another program.
        let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<libc::clone_args>()) };
        match result {
            0 => run_child(&mut prepared, &arguments, &environment),
            pid if pid > 0 => {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
                Ok(NamespaceChild { pid, pidfd })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn prepare(&self) -> io::Result<Prepared> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
        let program = text(self.program.as_os_str().as_bytes())?;
        let mut arguments = vec![program.clone()];
        for argument in self.arguments {
            arguments.push(text(argument.as_bytes())?);
        }
        let environment = vec![
            text(b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
            text(b"container=muster")?,
        ];
        Ok(Prepared {
            program,
            arguments,
            environment,
            files: self.files.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect(),
        })
    }
}

fn run_child(prepared: &mut Prepared, arguments: &[*const libc::c_char], environment: &[*const libc::c_char]) -> ! {
    // Sources are first moved out of the way of the targets 0…n, to numbers that are free: a fixed range may hold other
    // sources. All of this is async-signal-safe.
    let base = RawFd::try_from(prepared.files.len()).unwrap_or(RawFd::MAX);
    // SAFETY: only async-signal-safe system calls on values that the parent made before the clone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        for file in &mut prepared.files {
            *file = libc::fcntl(*file, libc::F_DUPFD_CLOEXEC, base);
            if *file < 0 {
                libc::_exit(126);
            }
        }
        for (target, file) in (0..base).zip(&prepared.files) {
            if libc::dup2(*file, target) < 0 {
                libc::_exit(126);
            }
        }
        libc::execve(prepared.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127)
    }
}

/// Takes over a file that this process was started with.
///
/// Call once per number, before anything else may have opened files.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number; it fails when nothing is open there.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the file is open, and by the contract above nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
