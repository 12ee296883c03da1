//! Whether this machine can hold so many nodes more: its limits, with figures, before the first of them is made.

use std::io;

use muster_provider::{MachineBatch, ProviderError};

use crate::cgroup::Cgroups;
use crate::request;
use crate::settings::Init;

/// What one node takes. Measured with Debian 12: systemd has 5 instances of inotify, dbus and logind one each.
pub(crate) const INOTIFY_INSTANCES: u64 = 8;
const INOTIFY_WATCHES: u64 = 64;
const MEMORY_SYSTEMD: u64 = 24 << 20;
const MEMORY_PLAIN: u64 = 12 << 20;
const PROCESSES_SYSTEMD: u64 = 24;
const PROCESSES_PLAIN: u64 = 4;
/// Of the shepherd.
const FILES_SYSTEMD: u64 = 7;
const FILES_PLAIN: u64 = 2;
/// The shepherd's own, and those of its clients.
const FILES_AT_LEAST: u64 = 64;
/// Above this many that are left, nobody needs to be counted.
const INOTIFY_PLENTY: u64 = 4096;

/// How many nodes are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    systemd: u64,
    plain: u64,
    /// Some of them are to have limits of memory or CPU.
    limits: bool,
}

/// What this machine allows and what is used of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Limits {
    inotify_instances: (u64, u64),
    inotify_watches: u64,
    processes: (u64, u64),
    terminals: (u64, u64),
    files: u64,
    memory_available: u64,
    overlay: bool,
    cgroups_limit: bool,
    cgroups_systemd: bool,
}

/// Something that is short, in words, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shortage {
    words: String,
    help: String,
}

pub(crate) fn check(wanted: &[MachineBatch], default: Option<Init>, cgroups: &Cgroups) -> Result<(), ProviderError> {
    let mut sum = Wanted::default();
    for batch in wanted {
        request::check_shared(batch.shared_folders.iter().map(std::path::PathBuf::as_path))?;
        match request::init(batch.image.as_deref(), batch.settings.as_ref(), default)? {
            Init::Systemd => sum.systemd += batch.count as u64,
            Init::Agent => sum.plain += batch.count as u64,
        }
        sum.limits |= batch.size.memory.is_some() || batch.size.cpus.is_some();
    }
    let limits = Limits::read(sum, cgroups).map_err(|source| {
        ProviderError::permanent("look at this machine's limits", "they cannot be read").source(source)
    })?;
    let shortages = judge(sum, &limits);
    if shortages.is_empty() {
        return Ok(());
    }
    let (words, help): (Vec<String>, Vec<String>) =
        shortages.into_iter().map(|shortage| (shortage.words, shortage.help)).unzip();
    Err(ProviderError::permanent("make room", words.join("; ")).hint(help.join("; ")))
}

fn judge(wanted: Wanted, limits: &Limits) -> Vec<Shortage> {
    kernel_settings(wanted, limits).into_iter().chain(other_shortages(wanted, limits)).collect()
}

/// What `sysctl` raises; one command for all of it.
fn kernel_settings(wanted: Wanted, limits: &Limits) -> Option<Shortage> {
    let Wanted { systemd, plain, .. } = wanted;
    let processes = systemd * PROCESSES_SYSTEMD + plain * PROCESSES_PLAIN;
    let rows = [
        ("inotify instances", "fs.inotify.max_user_instances", limits.inotify_instances, systemd * INOTIFY_INSTANCES),
        ("inotify watches", "fs.inotify.max_user_watches", (0, limits.inotify_watches), systemd * INOTIFY_WATCHES),
        ("processes", "kernel.pid_max", limits.processes, processes),
        ("terminals", "kernel.pty.max", limits.terminals, systemd),
    ];
    let short = rows.into_iter().filter(|(_, _, (used, limit), needed)| *needed > 0 && used + needed > *limit);
    let (words, settings): (Vec<String>, Vec<String>) = short
        .map(|(what, setting, (used, limit), needed)| {
            let words = format!("{needed} {what} ({used} are in use, and the limit is {limit})");
            (words, format!("{setting}={}", (used + needed).next_power_of_two().max(limit * 2)))
        })
        .unzip();
    (!words.is_empty()).then(|| Shortage {
        words: format!("{} nodes need {}", systemd + plain, words.join(", ")),
        help: format!("run: sysctl -w {}", settings.join(" ")),
    })
}

fn other_shortages(wanted: Wanted, limits: &Limits) -> Vec<Shortage> {
    let Wanted { systemd, plain, .. } = wanted;
    let nodes = systemd + plain;
    let files = FILES_AT_LEAST + systemd * FILES_SYSTEMD + plain * FILES_PLAIN;
    let memory = systemd * MEMORY_SYSTEMD + plain * MEMORY_PLAIN;
    let rows = [
        (
            files > limits.files,
            format!("{nodes} nodes need {files} open files of their shepherd, and the limit is {}", limits.files),
            format!("run: ulimit -n {}", files.next_power_of_two()),
        ),
        (
            memory > limits.memory_available,
            format!(
                "{nodes} nodes need {} MiB of memory to start, and {} MiB are free",
                memory >> 20,
                limits.memory_available >> 20
            ),
            "ask for fewer nodes, or end something".to_owned(),
        ),
        (
            !limits.overlay,
            "this machine's kernel has no overlay file system".to_owned(),
            "run: modprobe overlay".to_owned(),
        ),
        (
            wanted.limits && !limits.cgroups_limit,
            "this machine cannot limit memory or CPU: it has no memory controller among its cgroups".to_owned(),
            "take `size` away".to_owned(),
        ),
        (
            systemd > 0 && !limits.cgroups_systemd,
            "systemd needs a cgroup v2 hierarchy, and this machine has none that can be used".to_owned(),
            "run: mount -t cgroup2 none /sys/fs/cgroup".to_owned(),
        ),
    ];
    rows.into_iter().filter(|(short, ..)| *short).map(|(_, words, help)| Shortage { words, help }).collect()
}

impl Limits {
    fn read(wanted: Wanted, cgroups: &Cgroups) -> io::Result<Self> {
        let instances = number("/proc/sys/fs/inotify/max_user_instances")?;
        let counts = instances < INOTIFY_PLENTY + wanted.systemd * INOTIFY_INSTANCES;
        Ok(Self {
            inotify_instances: (if counts { inotify_instances_in_use() } else { 0 }, instances),
            inotify_watches: number("/proc/sys/fs/inotify/max_user_watches")?,
            processes: (processes(&fs_err::read_to_string("/proc/loadavg")?), number("/proc/sys/kernel/pid_max")?),
            terminals: (number("/proc/sys/kernel/pty/nr")?, number("/proc/sys/kernel/pty/max")?),
            files: open_files(&fs_err::read_to_string("/proc/self/limits")?),
            memory_available: memory_available(&fs_err::read_to_string("/proc/meminfo")?),
            overlay: has_overlay()?,
            cgroups_limit: cgroups.can_limit(),
            cgroups_systemd: cgroups.can_run_systemd(),
        })
    }
}

pub(crate) fn number(path: &str) -> io::Result<u64> {
    let text = fs_err::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{path} holds no number")))
}

/// Of all of root's processes; the limit counts by user.
pub(crate) fn inotify_instances_in_use() -> u64 {
    let mut count = 0;
    // Processes end while they are looked at.
    for process in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
        let files = fs_err::read_dir(process.path().join("fd"));
        let links = files.into_iter().flatten().flatten().filter_map(|file| fs_err::read_link(file.path()).ok());
        count += links.filter(|link| link.as_os_str() == "anon_inode:inotify").count() as u64;
    }
    count
}

/// Where the module can be loaded the kernel does so by itself.
pub(crate) fn has_overlay() -> io::Result<bool> {
    let known = fs_err::read_to_string("/proc/filesystems")?;
    let release = fs_err::read_to_string("/proc/sys/kernel/osrelease")?;
    let module = format!("/lib/modules/{}/kernel/fs/overlayfs", release.trim());
    Ok(known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay")
        || std::path::Path::new(&module).is_dir())
}

/// `0.20 0.18 0.12 1/80 11206`: the second number of the fraction counts all tasks.
fn processes(loadavg: &str) -> u64 {
    let fraction = loadavg.split_whitespace().nth(3).and_then(|text| text.split_once('/'));
    fraction.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

/// `Max open files            1024                 4096                 files`: the first is what counts.
fn open_files(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX)
}

fn memory_available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(u64::MAX, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy() -> Limits {
        Limits {
            inotify_instances: (10, 8192),
            inotify_watches: 500_000,
            processes: (300, 32_768),
            terminals: (3, 4096),
            files: 20_000,
            memory_available: 8 << 30,
            overlay: true,
            cgroups_limit: true,
            cgroups_systemd: true,
        }
    }

    fn wanted(systemd: u64) -> Wanted {
        Wanted { systemd, plain: 0, limits: false }
    }

    #[test]
    fn a_roomy_machine_takes_them_all() {
        assert_eq!(judge(wanted(200), &roomy()), []);
        assert_eq!(judge(Wanted { systemd: 0, plain: 200, limits: true }, &roomy()), []);
    }

    #[test]
    fn what_is_short_is_told_with_figures_and_one_command() {
        let limits = Limits { inotify_instances: (13, 128), terminals: (4, 20), ..roomy() };
        let found = judge(wanted(20), &limits);
        let words = "20 nodes need 160 inotify instances (13 are in use, and the limit is 128), 20 terminals (4 are in \
                     use, and the limit is 20)";
        let help = "run: sysctl -w fs.inotify.max_user_instances=256 kernel.pty.max=40";
        assert_eq!(found, [Shortage { words: words.to_owned(), help: help.to_owned() }]);
        assert_eq!(judge(wanted(14), &limits), []);
        assert_eq!(judge(Wanted { systemd: 0, plain: 20, limits: false }, &limits), []);
    }

    #[test]
    fn everything_else_is_told_too() {
        let limits = Limits {
            files: 100,
            memory_available: 100 << 20,
            overlay: false,
            cgroups_limit: false,
            cgroups_systemd: false,
            ..roomy()
        };
        let found = judge(Wanted { systemd: 10, plain: 1, limits: true }, &limits);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(found[0].help, "run: ulimit -n 256");
        assert!(found[1].words.contains("need 252 MiB of memory to start, and 100 MiB are free"), "{found:?}");
    }

    #[test]
    fn the_kernel_s_files_are_read() {
        assert_eq!(processes("0.20 0.18 0.12 1/80 11206\n"), 80);
        assert_eq!(
            open_files("Limit Soft Hard Units\nMax open files            1024                 4096      files\n"),
            1024
        );
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), 2 << 20);
        let cgroups = Cgroups::detect("preflight-test").unwrap();
        let limits = Limits::read(wanted(1), &cgroups).unwrap();
        assert!(limits.processes.0 > 0 && limits.files > 0 && limits.memory_available > 0, "{limits:?}");
    }
}
