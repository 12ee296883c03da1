//! When this machine started, and which start it was.

use std::io;
use std::time::Duration;

use muster_sys::process;
use muster_types::Timestamp;
use nix::unistd::{SysconfVar, sysconf};

/// One start of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
}

/// A sandbox node shares the kernel with others, so the start of its PID 1 tells one start of it from the next.
pub(crate) fn this(id: Option<String>) -> io::Result<Boot> {
    let ticks = process::start_ticks(1)?;
    let id = match id {
        Some(id) => id,
        None => format!("{}-{ticks}", process::boot_id()?),
    };
    let stat = fs_err::read_to_string("/proc/stat")?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "/proc/stat tells no start of the kernel");
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")).ok_or_else(invalid)?;
    let seconds: i64 = seconds.trim().parse().map_err(|_| invalid())?;
    let since = i64::try_from(ticks / ticks_per_second()?).map_err(|_| invalid())?;
    Ok(Boot { id, at: Timestamp::from_second(seconds.saturating_add(since)).map_err(|_| invalid())? })
}

/// Since the start of PID 1: the kernel of a sandbox node has been up for longer.
pub(crate) fn uptime_seconds() -> io::Result<f64> {
    let text = fs_err::read_to_string("/proc/uptime")?;
    let up: Option<f64> = text.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
    let up = up.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/uptime tells no time"))?;
    let since = Duration::from_millis(process::start_ticks(1)? * 1000 / ticks_per_second()?);
    Ok((up - since.as_secs_f64()).max(0.0))
}

fn ticks_per_second() -> io::Result<u64> {
    Ok(sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_in_the_past_and_stays_the_same() {
        let (first, second) = (this(None).unwrap(), this(None).unwrap());
        assert_eq!(first.id, second.id);
        assert!(first.at < Timestamp::now());
        let since = Timestamp::now().duration_since(first.at).as_secs_f64();
        assert!((uptime_seconds().unwrap() - since).abs() < 5.0, "{since}");
        assert_eq!(this(Some("given".to_owned())).unwrap().id, "given");
    }
}
