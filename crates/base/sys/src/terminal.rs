//! The terminal that this program talks to.

use std::io;
use std::os::fd::AsFd as _;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Columns and rows of the terminal at stderr, stdout or stdin; `None` when none is one.
pub fn size() -> Option<(u16, u16)> {
    [2, 1, 0].into_iter().find_map(size_of)
}

fn size_of(number: i32) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure is the one that this request fills.
    let result = unsafe { libc::ioctl(number, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Standard input with every key passed on as it is; the terminal is as it was when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    pub fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.before).ok();
    }
}
