//! Capabilities that a node does without: with them its root could change the machine that it runs on.

use std::io;

/// Numbers from linux/capability.h.
const DROPPED: [(&str, libc::c_ulong); 9] = [
    ("sys_module", 16),
    ("sys_rawio", 17),
    ("sys_time", 25),
    ("mac_override", 32),
    ("mac_admin", 33),
    ("syslog", 34),
    ("wake_alarm", 35),
    ("block_suspend", 36),
    ("perfmon", 38),
];

const SYS_RESOURCE: libc::c_ulong = 24;

/// Takes capabilities off the bounding set: no program that this process executes can have them.
pub fn drop_dangerous() -> io::Result<()> {
    for (_, number) in DROPPED {
        // SAFETY: prctl with plain numbers.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) };
        // SAFETY: as above.
        if held == 1 && unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether programs that this process executes may raise limits and make themselves less likely to be ended when memory
/// is short (`CAP_SYS_RESOURCE`).
pub fn may_raise_limits() -> bool {
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, SYS_RESOURCE, 0, 0, 0) == 1 }
}

/// Makes files of this process close-on-exec from descriptor `first` on.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: a system call with plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
