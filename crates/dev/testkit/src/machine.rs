//! What the machine that runs the tests can do.

use std::net::{Ipv4Addr, TcpListener};

use crate::skipped;

/// The number of `CAP_SYS_ADMIN`, see capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// Whether sandbox nodes can be made here. Says why not, so that a test just returns:
/// `if !can_make_nodes() { return; }`
pub fn can_make_nodes() -> bool {
    match why_no_nodes() {
        Some(reason) => {
            skipped(&reason);
            false
        }
        None => true,
    }
}

fn why_no_nodes() -> Option<String> {
    let status = fs_err::read_to_string("/proc/self/status").expect("Linux has /proc");
    if !nix::unistd::geteuid().is_root() || !has_capability(&status, CAP_SYS_ADMIN) {
        return Some("sandbox nodes need root with CAP_SYS_ADMIN".to_owned());
    }
    let systems = fs_err::read_to_string("/proc/filesystems").expect("Linux has /proc");
    let overlay = systems.split_whitespace().any(|word| word == "overlay");
    // It may be a module that nobody has used yet.
    let module = || fs_err::read_dir("/sys/module/overlay").is_ok() || modprobe_overlay();
    (!overlay && !module()).then(|| "the kernel has no overlay file system".to_owned())
}

fn modprobe_overlay() -> bool {
    std::process::Command::new("modprobe").arg("overlay").output().is_ok_and(|output| output.status.success())
}

fn has_capability(status: &str, number: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    set >> number & 1 == 1
}

/// A loopback port that nobody listens on now, for programs that must be told one. Where a test can hand over a
/// listener it should: only that is free of the race with the next caller.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status() {
        let status = "Name:\tx\nCapEff:\t0000000000200000\n";
        assert!(has_capability(status, CAP_SYS_ADMIN));
        assert!(!has_capability(status, CAP_SYS_ADMIN + 1));
        assert!(!has_capability("Name:\tx\n", CAP_SYS_ADMIN));
    }

    #[test]
    fn a_free_port_can_be_bound() {
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).is_ok());
    }
}
