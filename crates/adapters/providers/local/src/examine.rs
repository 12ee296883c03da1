//! What this machine can do for sandbox nodes, for people who ask before they trust it.

use std::io;
use std::path::{Path, PathBuf};

use muster_provider::{BakeryContext, Finding};

use crate::cgroup::Cgroups;
use crate::preflight::{has_overlay, inotify_instances_in_use, number};

/// `clone3` with a process descriptor.
const KERNEL_AT_LEAST: (u32, u32) = (5, 4);
/// What a base and a few layers take.
const DISK_AT_LEAST: u64 = 2 << 30;
/// For twenty nodes with systemd, and what else the machine runs.
const INOTIFY_AT_LEAST: u64 = 512;
const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "uts", "ipc", "cgroup"];
const OVERLAY_MAGIC: i64 = 0x794c_7630;
const NFS_MAGIC: i64 = 0x6969;
/// Identities that Debian's own accounts need.
const SUBIDS_AT_LEAST: u64 = 65_536;

/// What was seen of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of what is there and what is not")]
struct Seen {
    kernel: String,
    root: bool,
    user: String,
    /// Of each kind, how many there may be.
    namespaces: Vec<(&'static str, u64)>,
    user_namespaces: u64,
    /// Settings by which distributions keep plain users from namespaces, and whether they do.
    user_namespaces_refused: Option<&'static str>,
    subids: u64,
    newuidmap: bool,
    cgroups: String,
    cgroups_limit: bool,
    cgroups_systemd: bool,
    overlay: bool,
    /// The kind of file system that state lies on.
    state_on: i64,
    state: PathBuf,
    disks: Vec<(PathBuf, u64)>,
    inotify: (u64, u64),
    mmdebstrap: bool,
    apt: bool,
}

/// Looks at the machine. `state` need not exist yet.
pub(crate) fn examine(state: &Path, images: &BakeryContext) -> io::Result<Vec<Finding>> {
    Ok(judge(&Seen::read(state, images)?))
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = vec![kernel(seen), permission(seen), namespaces(seen), overlay(seen)];
    findings.extend([cgroups(seen), systemd(seen), inotify(seen)]);
    findings.extend(seen.disks.iter().map(|(place, free)| disk(place, *free)));
    findings.push(images(seen));
    findings.extend(plain_users(seen));
    findings
}

fn kernel(seen: &Seen) -> Finding {
    let mut numbers = seen.kernel.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {}", seen.kernel);
    if version >= KERNEL_AT_LEAST {
        return Finding::good("kernel", found);
    }
    let (major, minor) = KERNEL_AT_LEAST;
    Finding::bad("kernel", found, "nodes cannot be started")
        .remedy(format!("boot Linux {major}.{minor} or a later one"))
}

fn permission(seen: &Seen) -> Finding {
    if seen.root {
        return Finding::good("permission", "root");
    }
    let found = format!("{} is a plain user", seen.user);
    Finding::bad("permission", found, "nodes cannot be made").remedy("run muster with sudo")
}

fn namespaces(seen: &Seen) -> Finding {
    let (there, missing): (Vec<_>, Vec<_>) = seen.namespaces.iter().partition(|(_, limit)| *limit > 0);
    let names = |kinds: Vec<&(&str, u64)>| kinds.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        return Finding::good("namespaces", names(there));
    }
    let settings: Vec<String> = missing.iter().map(|(kind, _)| format!("user.max_{kind}_namespaces=65536")).collect();
    Finding::bad("namespaces", format!("there may be none of: {}", names(missing)), "nodes cannot be made")
        .remedy(format!("sysctl -w {}", settings.join(" ")))
}

fn overlay(seen: &Seen) -> Finding {
    if !seen.overlay {
        return Finding::bad("overlay", "the kernel has no overlay file system", "nodes cannot be made")
            .remedy("modprobe overlay");
    }
    let on = match seen.state_on {
        OVERLAY_MAGIC => "an overlay (a container's own root?)",
        NFS_MAGIC => "NFS",
        _ => return Finding::good("overlay", "files of nodes can be laid over images"),
    };
    let found = format!("{} lies on {on}, which cannot hold what nodes write", seen.state.display());
    Finding::bad("overlay", found, "nodes cannot be started")
        .remedy("set XDG_STATE_HOME to a folder on a disk of this machine, such as a volume")
}

fn cgroups(seen: &Seen) -> Finding {
    if seen.cgroups_limit {
        return Finding::good("cgroups", format!("{}; memory and processors can be limited", seen.cgroups));
    }
    let found = format!("{}; no memory controller that can be used", seen.cgroups);
    Finding::gap("cgroups", found, "`size` of nodes cannot be kept")
        .remedy("boot with systemd.unified_cgroup_hierarchy=1")
}

fn systemd(seen: &Seen) -> Finding {
    if seen.cgroups_systemd {
        return Finding::good("systemd in nodes", "there is a cgroup v2 hierarchy for it");
    }
    Finding::gap("systemd in nodes", "no cgroup v2 hierarchy", "nodes of debian-12 need `init: agent`")
        .remedy("mount -t cgroup2 none /sys/fs/cgroup")
}

fn inotify(seen: &Seen) -> Finding {
    let (used, limit) = seen.inotify;
    let found = format!("{used} of {limit} instances in use");
    if limit.saturating_sub(used) >= INOTIFY_AT_LEAST {
        return Finding::good("inotify", found);
    }
    let nodes = limit.saturating_sub(used) / crate::preflight::INOTIFY_INSTANCES;
    Finding::gap("inotify", found, format!("about {nodes} nodes with systemd can run at once"))
        .remedy("sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288")
}

fn disk(place: &Path, free: u64) -> Finding {
    let found = format!("{} MiB free for {}", free >> 20, place.display());
    if free >= DISK_AT_LEAST {
        return Finding::good("disk", found);
    }
    Finding::gap("disk", found, "making an image may fail half-way, and leaves nothing when it does")
        .remedy("make room (`muster image prune`), or set XDG_STATE_HOME to a larger disk")
}

fn images(seen: &Seen) -> Finding {
    match (seen.mmdebstrap, seen.apt) {
        (true, true) => Finding::good("image debian-12", "mmdebstrap and apt are here"),
        (false, true) => {
            Finding::gap("image debian-12", "mmdebstrap is not installed", "only the image `host` can be used")
                .remedy("apt-get install mmdebstrap")
        }
        (_, false) => Finding::gap("image debian-12", "this machine has no apt", "only the image `host` can be used")
            .remedy("make the image on a Debian or Ubuntu machine"),
    }
}

/// What would keep nodes of plain users from working; nothing of it matters to root.
fn plain_users(seen: &Seen) -> Option<Finding> {
    if seen.root {
        return None;
    }
    let costs = "sandboxes of plain users cannot be made";
    if let Some(setting) = seen.user_namespaces_refused {
        let found = format!("plain users may not make them ({setting})");
        return Some(Finding::gap("user namespaces", found, costs).remedy(format!("sysctl -w {setting}")));
    }
    if seen.user_namespaces == 0 {
        let remedy = "sysctl -w user.max_user_namespaces=65536";
        return Some(Finding::gap("user namespaces", "there may be none", costs).remedy(remedy));
    }
    if !seen.newuidmap || seen.subids < SUBIDS_AT_LEAST {
        let found = format!("{} subordinate ids, newuidmap is {}", seen.subids, present(seen.newuidmap));
        let remedy = format!(
            "apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
            seen.user
        );
        return Some(Finding::gap("user namespaces", found, "only one account can be had in them").remedy(remedy));
    }
    Some(Finding::good("user namespaces", format!("{} subordinate ids", seen.subids)))
}

fn present(there: bool) -> &'static str {
    if there { "here" } else { "missing" }
}

impl Seen {
    fn read(state: &Path, images: &BakeryContext) -> io::Result<Self> {
        let cgroups = Cgroups::detect("doctor")?;
        let uid = nix::unistd::geteuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        let instances = number("/proc/sys/fs/inotify/max_user_instances")?;
        let mut disks = vec![(state.to_owned(), free(state)?)];
        if !images.images_dir.starts_with(state) {
            disks.push((images.images_dir.clone(), free(&images.images_dir)?));
        }
        Ok(Self {
            kernel: fs_err::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            root: uid.is_root(),
            namespaces: NAMESPACES.map(|kind| (kind, limit(kind))).to_vec(),
            user_namespaces: limit("user"),
            user_namespaces_refused: refused(),
            subids: subids(&fs_err::read_to_string("/etc/subuid").unwrap_or_default(), &user, uid.as_raw()),
            newuidmap: in_path("newuidmap"),
            cgroups: cgroups.describe().to_owned(),
            cgroups_limit: cgroups.can_limit(),
            cgroups_systemd: cgroups.can_run_systemd(),
            overlay: has_overlay()?,
            state_on: nix::sys::statfs::statfs(existing(state)).map_err(io::Error::from)?.filesystem_type().0,
            state: state.to_owned(),
            disks,
            inotify: (inotify_instances_in_use(), instances),
            mmdebstrap: in_path("mmdebstrap"),
            apt: in_path("apt-get"),
            user,
        })
    }
}

/// How many namespaces of a kind there may be; 0 where the kernel has none of it.
fn limit(kind: &str) -> u64 {
    number(&format!("/proc/sys/user/max_{kind}_namespaces")).unwrap_or(0)
}

/// The setting that would have to be made for plain users to have namespaces.
fn refused() -> Option<&'static str> {
    let is = |path: &str, value| number(path).is_ok_and(|found| found == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", 0) {
        return Some("kernel.unprivileged_userns_clone=1");
    }
    is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1)
        .then_some("kernel.apparmor_restrict_unprivileged_userns=0")
}

/// `name:100000:65536`, by name or number.
fn subids(file: &str, user: &str, uid: u32) -> u64 {
    let uid = uid.to_string();
    let count = |line: &str| {
        let mut fields = line.split(':');
        let mine = fields.next().is_some_and(|owner| owner == user || owner == uid);
        fields.nth(1).filter(|_| mine).and_then(|count| count.trim().parse::<u64>().ok())
    };
    file.lines().filter_map(count).sum()
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The folder, or the nearest above it that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

fn free(folder: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(existing(folder)).map_err(io::Error::from)?;
    Ok(found.blocks_available() * found.fragment_size())
}

#[cfg(test)]
mod tests {
    use muster_provider::Verdict;

    use super::*;

    fn good() -> Seen {
        Seen {
            kernel: "6.1.0-18-amd64".to_owned(),
            root: true,
            user: "root".to_owned(),
            namespaces: NAMESPACES.map(|kind| (kind, 1000)).to_vec(),
            user_namespaces: 1000,
            cgroups: "version 2".to_owned(),
            cgroups_limit: true,
            cgroups_systemd: true,
            overlay: true,
            state_on: 0xef53,
            state: "/var/lib/muster".into(),
            disks: vec![("/var/lib/muster".into(), 50 << 30)],
            inotify: (20, 8192),
            mmdebstrap: true,
            apt: true,
            ..Seen::default()
        }
    }

    /// The topics that are not good, with what mends them.
    fn troubles(seen: &Seen) -> Vec<(&'static str, Verdict, String)> {
        let findings = judge(seen).into_iter().filter(|finding| finding.verdict != Verdict::Good);
        findings.map(|finding| (finding.topic, finding.verdict, finding.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn a_good_machine_has_no_troubles() {
        assert_eq!(troubles(&good()), []);
        assert!(judge(&good()).iter().all(|finding| !finding.found.is_empty()));
    }

    #[test]
    fn each_trouble_is_told_with_what_mends_it() {
        let cases: [(Seen, &str, Verdict, &str); 10] = [
            (Seen { kernel: "4.19.0".to_owned(), ..good() }, "kernel", Verdict::Bad, "boot Linux 5.4"),
            (Seen { overlay: false, ..good() }, "overlay", Verdict::Bad, "modprobe overlay"),
            (Seen { state_on: OVERLAY_MAGIC, ..good() }, "overlay", Verdict::Bad, "XDG_STATE_HOME"),
            (Seen { cgroups_limit: false, ..good() }, "cgroups", Verdict::Gap, "unified"),
            (Seen { cgroups_systemd: false, ..good() }, "systemd in nodes", Verdict::Gap, "mount -t cgroup2"),
            (Seen { inotify: (100, 128), ..good() }, "inotify", Verdict::Gap, "max_user_instances"),
            (Seen { disks: vec![("/x".into(), 1 << 30)], ..good() }, "disk", Verdict::Gap, "image prune"),
            (Seen { mmdebstrap: false, ..good() }, "image debian-12", Verdict::Gap, "apt-get install mmdebstrap"),
            (Seen { apt: false, ..good() }, "image debian-12", Verdict::Gap, "Debian or Ubuntu"),
            (
                Seen { namespaces: vec![("net", 0), ("pid", 9)], ..good() },
                "namespaces",
                Verdict::Bad,
                "max_net_namespaces",
            ),
        ];
        for (seen, topic, verdict, remedy) in cases {
            let found = troubles(&seen);
            assert!(
                matches!(&found[..], [(t, v, r)] if *t == topic && *v == verdict && r.contains(remedy)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn plain_users_are_told_what_is_refused_to_them() {
        let plain = Seen { root: false, user: "student".to_owned(), newuidmap: true, subids: 65_536, ..good() };
        assert_eq!(troubles(&plain).len(), 1, "only that root is needed");
        let refused = Seen { user_namespaces_refused: Some("kernel.unprivileged_userns_clone=1"), ..plain.clone() };
        assert_eq!(troubles(&refused)[1].2, "sysctl -w kernel.unprivileged_userns_clone=1");
        let no_ids = Seen { subids: 0, ..plain };
        assert!(troubles(&no_ids)[1].2.contains("--add-subuids 100000-165535"));
    }

    #[test]
    fn subordinate_ids_are_counted_by_name_and_number() {
        let file = "student:100000:65536\n1000:165536:10\ntutor:1:5\nbroken\n";
        assert_eq!(subids(file, "student", 1000), 65_546);
        assert_eq!(subids(file, "somebody", 7), 0);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let images = BakeryContext { images_dir: folder.path().join("images"), cache_dir: folder.path().join("cache") };
        let findings = examine(&folder.path().join("not/yet"), &images).unwrap();
        assert!(findings.iter().any(|finding| finding.topic == "kernel" && finding.verdict == Verdict::Good));
        assert_eq!(findings.iter().filter(|finding| finding.topic == "disk").count(), 2);
    }
}
