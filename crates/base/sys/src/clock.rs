//! Time that nobody sets and that goes on while the machine sleeps.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Since the machine was booted, the time that it slept included (`CLOCK_BOOTTIME`).
pub fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_counts_what_the_kernel_counts() {
        let uptime = fs_err::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        let now = since_boot().unwrap();
        assert!((now.as_secs_f64() - seconds).abs() < 60.0, "{now:?} and {seconds}");
        assert!(since_boot().unwrap() >= now);
    }
}
