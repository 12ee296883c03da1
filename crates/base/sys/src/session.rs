//! Starting a program in a session of its own, and speaking to all processes of a group.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use nix::unistd::Pid;

/// Highest signal number of Linux.
const SIGNAL_MAX: i32 = 64;
/// Size of the kernel's own signal set.
const SIGSET_BYTES: usize = 8;

/// Whom a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserIds {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What is done in the child before the program starts: default signals, umask 022, no files but 0, 1 and 2, a session
/// of its own, and what is asked for here.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// File 0 is a terminal; it becomes the one that controls the session.
    pub controlling_terminal: bool,
    pub user: Option<UserIds>,
    /// Entered as that user.
    pub folder: Option<PathBuf>,
}

/// A started program; its process id is also the id of its session and of its process group.
#[derive(Debug)]
pub struct SessionChild {
    pub child: Child,
    /// Becomes readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// What failed on the way to the program.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot prepare a process")]
    Prepare(#[source] io::Error),
    #[error("cannot make a session")]
    Session(#[source] io::Error),
    #[error("cannot become the user")]
    User(#[source] io::Error),
    #[error("cannot enter the working directory")]
    Folder(#[source] io::Error),
    #[error("cannot execute the program")]
    Program(#[source] io::Error),
    #[error("cannot watch the process")]
    Watch(#[source] io::Error),
}

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Stage {
    Session = 1,
    User = 2,
    Folder = 3,
}

impl Session {
    /// Starts the program. Takes the command by value: its copies of pipes and terminals are closed when this returns.
    pub fn spawn(self, mut command: Command) -> Result<SessionChild, SessionError> {
        let (mut reader, writer) = io::pipe().map_err(SessionError::Prepare)?;
        let prepared = Prepared::new(self, writer.into()).map_err(SessionError::Prepare)?;
        // SAFETY: `run` only makes async-signal-safe calls, on values that were made before the fork.
        unsafe { command.pre_exec(move || prepared.run()) };
        let spawned = command.spawn();
        drop(command);
        let mut child = spawned.map_err(|error| {
            let mut stage = [0];
            // Nothing there means that the program itself could not be executed, or that there was no fork.
            match reader.read(&mut stage) {
                Ok(1) if stage[0] == Stage::Session as u8 => SessionError::Session(error),
                Ok(1) if stage[0] == Stage::User as u8 => SessionError::User(error),
                Ok(1) if stage[0] == Stage::Folder as u8 => SessionError::Folder(error),
                _ => SessionError::Program(error),
            }
        })?;
        match pidfd_open(&child) {
            Ok(pidfd) => Ok(SessionChild { child, pidfd }),
            Err(error) => {
                // It ends by SIGKILL, so the wait is short. The first error is the one to tell.
                child.kill().and_then(|()| child.wait()).ok();
                Err(SessionError::Watch(error))
            }
        }
    }
}

/// Everything the child needs between fork and exec: it may not allocate, since another thread may have held the
/// allocator's lock.
struct Prepared {
    controlling_terminal: bool,
    user: Option<UserIds>,
    folder: Option<CString>,
    /// Tells the parent which stage failed.
    stage: OwnedFd,
}

impl Prepared {
    fn new(session: Session, stage: OwnedFd) -> io::Result<Self> {
        let folder = session.folder.map(|folder| CString::new(folder.as_os_str().as_bytes())).transpose()?;
        Ok(Self { controlling_terminal: session.controlling_terminal, user: session.user, folder, stage })
    }

    fn run(&self) -> io::Result<()> {
        self.tell(Stage::Session, self.make_session())?;
        self.tell(Stage::User, self.become_user())?;
        self.tell(Stage::Folder, self.enter_folder())
    }

    fn tell(&self, stage: Stage, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            let byte = stage as u8;
            // SAFETY: the pointer outlives the call. Should the write fail, the error alone is told.
            unsafe { libc::write(self.stage.as_raw_fd(), (&raw const byte).cast(), 1) };
        }
        result
    }

    fn make_session(&self) -> io::Result<()> {
        // SAFETY: async-signal-safe system calls with plain numbers.
        unsafe {
            // An agent that ignores a signal would pass that on. The kernel is asked directly, since the C library
            // hides two of them; a sigaction of zeros is the default. Two numbers cannot be set; they need not be.
            let default = [0u64; 4];
            for signal in 1..=SIGNAL_MAX {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, SIGSET_BYTES);
            }
            libc::umask(0o022);
            // Needs Linux 5.11. It is the second line of defence: our own files are close-on-exec from their start.
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            check(libc::setsid())?;
            if self.controlling_terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
        }
        Ok(())
    }

    fn become_user(&self) -> io::Result<()> {
        let Some(user) = &self.user else { return Ok(()) };
        // SAFETY: the groups outlive the call; the child has one thread.
        unsafe {
            check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
            check(libc::setgid(user.gid))?;
            check(libc::setuid(user.uid))
        }
    }

    fn enter_folder(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        // SAFETY: the text outlives the call.
        check(unsafe { libc::chdir(folder.as_ptr()) })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The child is not waited for yet, so its id cannot be somebody else's.
fn pidfd_open(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: a system call with plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let descriptor = RawFd::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sends a signal to every process of a group, real-time signals included.
pub fn signal_group(group: Pid, signal: i32) -> io::Result<()> {
    // 0 and 1 have meanings of their own: our group, and everybody.
    if group.as_raw() <= 1 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a system call with plain numbers.
    check(unsafe { libc::kill(-group.as_raw(), signal) })
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// How a child of this process ended; `None` while it runs. The child stays a zombie, so that its id stays its own.
pub fn peek(child: &Child) -> io::Result<Option<End>> {
    // SAFETY: siginfo_t is plain old data; zero is a valid value for each field.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer outlives the call.
    check(unsafe { libc::waitid(libc::P_PID, child.id(), &raw mut info, flags) })?;
    // SAFETY: waitid has filled in these two fields, or left zeros because the child runs.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(if info.si_code == libc::CLD_EXITED { End::Code(status) } else { End::Signal(status) }))
}

/// The process groups of a session in which a process still runs. Zombies do not.
pub fn live_groups(session: Pid) -> io::Result<BTreeSet<Pid>> {
    let mut groups = BTreeSet::new();
    for entry in fs_err::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // A process that ended meanwhile has no file any more. The command may hold any bytes.
        let Ok(stat) = fs_err::read(format!("/proc/{}/stat", name.display())) else { continue };
        let stat = String::from_utf8_lossy(&stat);
        // Fields are counted behind the last bracket: state, parent, group, session.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let running = !matches!(fields.next(), None | Some("Z" | "X"));
        let mut number = || fields.next().and_then(|field| field.parse().ok()).map(Pid::from_raw);
        let (_parent, group, found) = (number(), number(), number());
        if running && found == Some(session) {
            groups.extend(group);
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use nix::poll::{PollFd, PollFlags, PollTimeout};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn group_of(child: &SessionChild) -> Pid {
        Pid::from_raw(i32::try_from(child.child.id()).unwrap())
    }

    fn wait_readable(pidfd: &OwnedFd) {
        let mut files = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut files, PollTimeout::from(10_000u16)), Ok(1));
    }

    #[test]
    fn a_program_leads_its_session_and_its_group_can_be_ended() {
        let mut command = shell("echo; sleep 1000 & wait");
        command.stdout(Stdio::piped());
        let mut started = Session::default().spawn(command).unwrap();
        let group = group_of(&started);
        // Its first line says that it runs its own program by now.
        started.child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        assert_eq!(nix::unistd::getpgid(Some(group)).unwrap(), group);
        assert_eq!(nix::unistd::getsid(Some(group)).unwrap(), group);
        assert_eq!(live_groups(group).unwrap(), BTreeSet::from([group]));
        assert_eq!(peek(&started.child).unwrap(), None);
        signal_group(group, libc::SIGKILL).unwrap();
        wait_readable(&started.pidfd);
        assert_eq!(peek(&started.child).unwrap(), Some(End::Signal(libc::SIGKILL)));
        assert_eq!(started.child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn an_end_can_be_seen_before_the_child_is_waited_for() {
        let mut started = Session::default().spawn(shell("exit 7")).unwrap();
        wait_readable(&started.pidfd);
        for _ in 0..2 {
            assert_eq!(peek(&started.child).unwrap(), Some(End::Code(7)));
        }
        assert_eq!(live_groups(group_of(&started)).unwrap(), BTreeSet::new());
        assert_eq!(started.child.wait().unwrap().code(), Some(7));
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    fn a_user_has_the_groups_that_are_given_and_no_others() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can become another user");
            return;
        }
        let mut command = shell("id -u; id -G");
        command.stdout(Stdio::piped());
        let user = UserIds { uid: 65534, gid: 65533, groups: vec![65533, 12, 34] };
        let mut started = Session { user: Some(user), ..Session::default() }.spawn(command).unwrap();
        let mut text = String::new();
        started.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        started.child.wait().unwrap();
        assert_eq!(text, "65534\n65533 12 34\n");
    }

    #[test]
    fn an_error_says_what_failed() {
        let nowhere = Session { folder: Some("/no/such/folder".into()), ..Session::default() };
        assert!(matches!(nowhere.spawn(shell("true")), Err(SessionError::Folder(_))));
        let mut command = Command::new("/no/such/program");
        command.stdin(Stdio::null());
        assert!(matches!(Session::default().spawn(command), Err(SessionError::Program(_))));
        // File 0 is no terminal.
        let terminal = Session { controlling_terminal: true, ..Session::default() };
        assert!(matches!(terminal.spawn(shell("true")), Err(SessionError::Session(_))));
    }

    #[test]
    fn the_groups_0_and_1_are_never_signalled() {
        for group in [-1, 0, 1] {
            assert_eq!(signal_group(Pid::from_raw(group), 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
