//! What the node may use, as it says itself.

use std::path::Path;

use muster_api::NodeFacts;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::config::NodeLimits;

/// Looked up once, when the agent starts. What cannot be found out is 0 or empty.
pub(crate) fn of(root: &Path, given: &NodeLimits) -> NodeFacts {
    let read = |path: &str| fs_err::read_to_string(path).ok();
    let visible = read("/proc/self/mounts").map(|mounts| visible(&mounts, &read)).unwrap_or_default();
    let release = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| {
        let path = root.join(path);
        fs_err::read_to_string(path).ok()
    });
    NodeFacts {
        cpus: cpus(allowed(), &[given, &visible]),
        memory_bytes: memory(read("/proc/meminfo").and_then(|text| total(&text)), &[given, &visible]),
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default(),
        os: release.map(|text| os(&text)).unwrap_or_default(),
    }
}

/// The processors that this process may run on.
fn allowed() -> Option<u32> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let count = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u32::try_from(count).ok()
}

/// A part of a processor counts as one.
fn cpus(allowed: Option<u32>, limits: &[&NodeLimits]) -> u32 {
    let whole = |cpus: f64| (1..u32::MAX).find(|count| f64::from(*count) >= cpus);
    let limits = limits.iter().filter_map(|limits| limits.cpus.filter(|cpus| *cpus < 1e6).and_then(whole));
    limits.chain(allowed).min().unwrap_or(0)
}

fn memory(total: Option<u64>, limits: &[&NodeLimits]) -> u64 {
    limits.iter().filter_map(|limits| limits.memory_bytes).chain(total).min().unwrap_or(0)
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits of the cgroup that a container sees as its root. On a whole machine that root has none; what holds for
/// the agent alone, deeper in the tree, is no limit of the node.
fn visible(mounts: &str, read: &impl Fn(&str) -> Option<String>) -> NodeLimits {
    let mut limits = NodeLimits::default();
    for line in mounts.lines() {
        let mut words = line.split_whitespace();
        let (Some(_), Some(mount), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let file = |name: &str| read(&format!("{mount}/{name}"));
        let has = |controller: &str| options.split(',').any(|option| option == controller);
        match kind {
            "cgroup2" => {
                limits.memory_bytes = limits.memory_bytes.or(file("memory.max").and_then(|text| number(&text)));
                limits.cpus = limits.cpus.or(file("cpu.max").and_then(|text| {
                    let (quota, period) = text.trim().split_once(' ')?;
                    share(quota, period)
                }));
            }
            "cgroup" if has("memory") => {
                let text = file("memory.limit_in_bytes");
                limits.memory_bytes = limits.memory_bytes.or(text.and_then(|text| number(&text)));
            }
            "cgroup" if has("cpu") => {
                let (quota, period) = (file("cpu.cfs_quota_us"), file("cpu.cfs_period_us"));
                limits.cpus = limits.cpus.or(quota.zip(period).and_then(|(quota, period)| share(&quota, &period)));
            }
            _ => {}
        }
    }
    limits
}

/// `max` is no number, and no limit.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Microseconds of work in a period; no limit is written `max` or -1.
fn share(quota: &str, period: &str) -> Option<f64> {
    let micros = |text: &str| text.trim().parse::<u32>().ok().filter(|micros| *micros > 0).map(f64::from);
    Some(micros(quota)? / micros(period)?)
}

/// `debian 12` of os-release.
fn os(release: &str) -> String {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    [value("ID"), value("VERSION_ID")].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory_bytes: Option<u64>, cpus: Option<f64>) -> NodeLimits {
        NodeLimits { memory_bytes, cpus }
    }

    #[test]
    fn the_smallest_limit_counts() {
        let none = NodeLimits::default();
        assert_eq!(cpus(Some(8), &[&none, &none]), 8);
        assert_eq!(cpus(Some(8), &[&limits(None, Some(0.5)), &none]), 1);
        assert_eq!(cpus(Some(8), &[&none, &limits(None, Some(2.1))]), 3);
        assert_eq!(cpus(Some(8), &[&limits(None, Some(4.0)), &limits(None, Some(2.0))]), 2);
        assert_eq!(cpus(Some(2), &[&limits(None, Some(16.0))]), 2);
        assert_eq!(cpus(Some(2), &[&limits(None, Some(f64::INFINITY)), &limits(None, Some(f64::NAN))]), 2);
        assert_eq!(cpus(None, &[&none]), 0);
        assert_eq!(memory(Some(100), &[&limits(Some(70), None), &limits(Some(80), None)]), 70);
        assert_eq!((memory(Some(100), &[&none]), memory(None, &[&none])), (100, 0));
    }

    #[test]
    fn texts_of_the_kernel_are_read() {
        assert_eq!(total("MemTotal:       24653736 kB\nMemFree: 1 kB\n"), Some(24_653_736 << 10));
        assert_eq!((total(""), total("MemTotal: many kB\n")), (None, None));
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION=\"12\"\nID=debian\n";
        assert_eq!(os(debian), "debian 12");
        assert_eq!((os("ID=arch\n"), os("ID='ol'\nVERSION_ID=9.4\n")), ("arch".to_owned(), "ol 9.4".to_owned()));
        assert_eq!(os("nonsense"), "");
    }

    #[test]
    fn limits_of_cgroups_are_seen_at_the_root() {
        let see = |mounts: &str, files: &[(&str, &str)]| {
            let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
            visible(mounts, &read)
        };
        let two = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n";
        let found =
            see(two, &[("/sys/fs/cgroup/memory.max", "536870912\n"), ("/sys/fs/cgroup/cpu.max", "150000 100000\n")]);
        assert_eq!(found, limits(Some(512 << 20), Some(1.5)));
        let found = see(two, &[("/sys/fs/cgroup/memory.max", "max\n"), ("/sys/fs/cgroup/cpu.max", "max 100000\n")]);
        assert_eq!(found, NodeLimits::default(), "no limits");
        assert_eq!(see(two, &[]), NodeLimits::default(), "the root of a machine");
        let one = "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n\
                   cgroup2 /c/unified cgroup2 rw 0 0\nhalf a line\n";
        let files = [
            ("/c/memory/memory.limit_in_bytes", "1073741824\n"),
            ("/c/cpu/cpu.cfs_quota_us", "50000\n"),
            ("/c/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(see(one, &files), limits(Some(1 << 30), Some(0.5)));
        let files = [("/c/cpu/cpu.cfs_quota_us", "-1\n"), ("/c/cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(see(one, &files), NodeLimits::default());
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = of(Path::new("/"), &limits(Some(1 << 20), Some(0.1)));
        assert_eq!((facts.cpus, facts.memory_bytes), (1, 1 << 20));
        assert!(!facts.kernel.is_empty() && !facts.architecture.is_empty() && !facts.os.is_empty(), "{facts:?}");
        let whole = of(Path::new("/nowhere"), &NodeLimits::default());
        assert!(whole.cpus >= 1 && whole.memory_bytes > 1 << 20 && whole.os.is_empty(), "{whole:?}");
    }
}
