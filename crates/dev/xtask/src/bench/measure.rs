//! Reading figures off the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The middle value; of an even number the lower of the two in the middle.
pub(super) fn median<T: Copy + Ord>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

pub(super) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.2} s", ms / 1e3) }
}

pub(super) fn mebibytes(bytes: u64) -> String {
    // Tenths of a MiB, in whole numbers.
    let tenths = (bytes * 10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

const MOUNT: &str = "/sys/fs/cgroup";

pub(super) fn is_cgroup_v2() -> bool {
    !Path::new(MOUNT).join("memory").is_dir()
}

/// The folder with the memory figures of each machine: `SCOPE/MACHINE` below it.
fn memory_hierarchy() -> PathBuf {
    let mount = Path::new(MOUNT);
    if is_cgroup_v2() { mount.join("muster") } else { mount.join("memory/muster") }
}

/// What a machine takes, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Proportional set size of its processes: pages that several share are divided among them.
    pub(super) pss: u64,
    /// What the kernel charges to its cgroup, its own data and the page cache included.
    pub(super) cgroup: u64,
}

/// The cgroup of the machine with this id, or of the shepherd.
fn cgroup(id: &str) -> Result<PathBuf> {
    let top = memory_hierarchy();
    let mut scopes = fs_err::read_dir(&top)?.flatten().map(|scope| scope.path().join(id));
    scopes.find(|folder| folder.is_dir()).with_context(|| format!("no cgroup of {id} below {}", top.display()))
}

/// The processes of the machine with this id, or the shepherd.
pub(super) fn processes(id: &str) -> Result<Vec<u32>> {
    let listed = fs_err::read_to_string(cgroup(id)?.join("cgroup.procs"))?;
    Ok(listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// The memory of the machine with this id, or of the shepherd.
pub(super) fn memory(id: &str) -> Result<Memory> {
    let folder = cgroup(id)?;
    let file = if is_cgroup_v2() { "memory.current" } else { "memory.usage_in_bytes" };
    let cgroup = fs_err::read_to_string(folder.join(file))?.trim().parse().context("a cgroup counts in bytes")?;
    let mut pss = 0;
    for pid in processes(id)? {
        // A process of a health check may have ended meanwhile.
        let Ok(rollup) = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        pss += pss_of(&rollup).with_context(|| format!("process {pid} has no Pss"))?;
    }
    Ok(Memory { pss, cgroup })
}

fn pss_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_written() {
        assert_eq!(median(vec![3, 1, 2]), Some(2));
        assert_eq!(median::<u8>(vec![]), None);
        assert_eq!(milliseconds(Duration::from_micros(12_400)), "12 ms");
        assert_eq!(milliseconds(Duration::from_millis(1_234)), "1.23 s");
        assert_eq!(mebibytes((3 << 20) + (1 << 19)), "3.5 MiB");
        assert_eq!(pss_of("00-ff ---p\nRss:  900 kB\nPss:      12 kB\nPss_Anon: 3 kB\n"), Some(12 << 10));
    }
}
