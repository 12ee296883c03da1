//! Pseudo terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::termios::{self, InputFlags, SetArg, SpecialCharacterIndices};
use nix::unistd::{Gid, Pid, Uid};

/// A fresh pair. Both ends are close-on-exec from the start: a program that another thread starts at this moment does
/// not keep the terminal from hanging up.
#[derive(Debug)]
pub struct Pty {
    /// What the keyboard and the screen would be.
    pub controller: OwnedFd,
    /// What programs see.
    pub terminal: OwnedFd,
}

/// Columns and rows, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

impl Pty {
    pub fn open(size: Size) -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let controller = nix::pty::posix_openpt(flags)?;
        nix::pty::unlockpt(&controller)?;
        let terminal = peer(&controller)?;
        let mut settings = termios::tcgetattr(&terminal)?;
        // So that erasing in a line takes whole characters.
        settings.input_flags.insert(InputFlags::IUTF8);
        termios::tcsetattr(&terminal, SetArg::TCSANOW, &settings)?;
        let pty = Self { controller: controller.into(), terminal };
        resize(&pty.controller, size)?;
        Ok(pty)
    }

    /// Makes the terminal a user's, as a login does, so that programs can open it by its path.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        Ok(nix::unistd::fchown(&self.terminal, Some(Uid::from_raw(uid)), None::<Gid>)?)
    }
}

/// Opens the end that programs see, asked for by descriptor: its path may be hidden or belong to another instance of
/// devpts. After a hangup of the line this is how it comes back.
pub fn peer(controller: &impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // SAFETY: an ioctl with plain numbers on a descriptor that is open.
    let terminal = unsafe { libc::ioctl(controller.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
    if terminal < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(terminal) })
}

/// Tells the programs on a terminal (by SIGWINCH) that its window has another size.
pub fn resize(controller: &impl AsFd, size: Size) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer outlives the call, and the kernel only reads.
    let result = unsafe { libc::ioctl(controller.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process group that the keyboard speaks to; `None` when there is none.
pub fn foreground_group(controller: &impl AsFd) -> Option<Pid> {
    nix::unistd::tcgetpgrp(controller).ok().filter(|group| group.as_raw() > 0)
}

/// The character that ends the input, Ctrl-D unless a program changed it; `None` when it is switched off.
pub fn end_of_input(controller: &impl AsFd) -> Option<u8> {
    let settings = termios::tcgetattr(controller).ok()?;
    let character = settings.control_chars[SpecialCharacterIndices::VEOF as usize];
    (character != 0).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_the_size_that_was_asked_for() {
        let pty = Pty::open(Size { columns: 91, rows: 17 }).unwrap();
        let mut found = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the pointer outlives the call.
        assert_eq!(unsafe { libc::ioctl(pty.terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut found) }, 0);
        assert_eq!((found.ws_col, found.ws_row), (91, 17));
        assert_eq!(end_of_input(&pty.controller), Some(4));
        assert_eq!(foreground_group(&pty.controller), None);
    }

    #[test]
    fn both_ends_are_closed_on_exec() {
        let pty = Pty::open(Size { columns: 80, rows: 24 }).unwrap();
        for end in [&pty.controller, &pty.terminal] {
            let flags = nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
    }
}
