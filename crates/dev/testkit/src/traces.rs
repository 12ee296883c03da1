//! What the program leaves on a machine: processes, namespaces, mounts, cgroups, links, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// The folder of the program in every cgroup hierarchy.
const CGROUP: &str = "/muster/";
/// Deeper than anything that is looked at; a loop of links is not followed anyway.
const DEPTH_MAX: usize = 32;

/// What was there at one moment, each kind of thing with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeMap<&'static str, BTreeSet<String>>);

/// A process, with what tells whose it is.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) command: String,
    environment: String,
    cgroups: String,
    namespaces: BTreeSet<String>,
}

impl Traces {
    /// Looks at what belongs to these folders: processes that name one in their command or environment or are in a cgroup
    /// of its clusters, their namespaces, those cgroups, mounts that name a folder, all that is in the folders, and the
    /// machine's links. Other people's clusters come and go meanwhile and are nothing to this test.
    pub fn take(folders: &[&Path]) -> Self {
        let processes = processes();
        let own = namespaces(Path::new("/proc/self"));
        let ours = || processes.iter().filter(|process| process.is_of(folders));
        let mounts = mounts(&read("/proc/self/mountinfo"));
        let kinds = [
            ("process", ours().map(|process| format!("{} {}", process.pid, process.command)).collect()),
            ("namespace", ours().flat_map(|process| process.namespaces.difference(&own).cloned()).collect()),
            ("mount", mounts.into_iter().filter(|mount| mentions(mount, folders)).collect()),
            ("cgroup", cgroups(&read("/proc/self/mounts"), folders)),
            ("link", links(&read("/proc/self/net/dev"))),
            ("file", folders.iter().flat_map(|folder| files(folder)).collect()),
        ];
        Self(BTreeMap::from(kinds))
    }

    /// Everything that came or went, a line each; empty when nothing did.
    pub fn difference(&self, after: &Self) -> Vec<String> {
        let nothing = BTreeSet::new();
        let mut lines = Vec::new();
        for kind in self.0.keys().chain(after.0.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (self.0.get(kind).unwrap_or(&nothing), after.0.get(kind).unwrap_or(&nothing));
            lines.extend(new.difference(old).map(|name| format!("+ {kind} {name}")));
            lines.extend(old.difference(new).map(|name| format!("- {kind} {name}")));
        }
        lines
    }

    /// Panics, showing each difference.
    #[track_caller]
    pub fn assert_same(before: &Self, after: &Self) {
        let lines = before.difference(after);
        assert!(lines.is_empty(), "the machine is not as it was (+ came, - went):\n{}", lines.join("\n"));
    }

    /// How many things of a kind there are: `process`, `namespace`, `mount`, `cgroup`, `link`, `file`.
    pub fn number(&self, kind: &str) -> usize {
        self.0.get(kind).unwrap_or_else(|| panic!("`{kind}` is no kind of trace")).len()
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(kind, names)| format!("{kind} {}", names.len())).collect();
        f.write_str(&counts.join(", "))
    }
}

/// A file of /proc or /sys; empty when its process has just ended.
fn read(path: impl AsRef<Path>) -> String {
    fs_err::read(path.as_ref()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

pub(crate) fn processes() -> Vec<Process> {
    let entries = fs_err::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// `None` for kernel threads, and for processes that have ended meanwhile.
fn process(pid: i32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let words = |name: &str| read(folder.join(name)).replace('\0', " ").trim_end().to_owned();
    let command = words("cmdline");
    if command.is_empty() && fs_err::read_link(folder.join("exe")).is_err() {
        return None;
    }
    Some(Process {
        pid,
        command,
        environment: words("environ"),
        cgroups: words("cgroup"),
        namespaces: namespaces(&folder),
    })
}

impl Process {
    fn is_of(&self, folders: &[&Path]) -> bool {
        // This test's own process may name the folder too.
        let other = self.pid.cast_unsigned() != std::process::id();
        let named = mentions(&self.command, folders) || mentions(&self.environment, folders);
        let in_cgroup = self
            .cgroups
            .lines()
            .filter_map(|line| line.split_once(CGROUP))
            .any(|(_, path)| path.split('/').next().is_some_and(|scope| is_scope_of(scope, folders)));
        other && (named || in_cgroup)
    }
}

fn mentions(text: &str, folders: &[&Path]) -> bool {
    folders.iter().any(|folder| text.contains(&*folder.to_string_lossy()))
}

/// Whether the name of a cgroup is that of a cluster whose state is in one of the folders.
fn is_scope_of(scope: &str, folders: &[&Path]) -> bool {
    let Some((cluster, _)) = scope.rsplit_once('-') else { return false };
    folders.iter().any(|state| {
        let data = state.join("clusters").join(cluster).join("local");
        muster_provider_local::scope_name(cluster, &data) == scope
    })
}

/// Such as `net:[4026531840]`.
fn namespaces(process: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(process.join("ns")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs_err::read_link(entry.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// proc(5): id, parent, device, root, mount point, options…, `-`, kind, source. Ids are new with every mount.
fn mounts(mountinfo: &str) -> BTreeSet<String> {
    let describe = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut kind_and_source = after.split(' ');
        let kind = kind_and_source.next()?;
        let root = before.split(' ').nth(3)?;
        let point = before.split(' ').nth(4)?;
        Some(format!("{point} ({kind} {root} of {})", kind_and_source.next()?))
    };
    mountinfo.lines().filter_map(describe).collect()
}

fn cgroups(mounts: &str, state: &[&Path]) -> BTreeSet<String> {
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Path::new(point).join(CGROUP.trim_matches('/')))
    });
    let scopes = hierarchies.flat_map(|top| fs_err::read_dir(top).into_iter().flatten().flatten());
    let ours = scopes.filter(|entry| is_scope_of(&entry.file_name().to_string_lossy(), state));
    ours.flat_map(|entry| folders(&entry.path(), DEPTH_MAX)).map(|path| path.display().to_string()).collect()
}

/// The folder itself and every folder below it.
fn folders(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all = vec![folder.to_owned()];
    if depth > 0 {
        all.extend(below.flat_map(|entry| folders(&entry.path(), depth - 1)));
    }
    all
}

fn links(dev: &str) -> BTreeSet<String> {
    dev.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// What stays by design: the state file with its two companions, and the empty folder that clusters are put in.
fn stays(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("muster.db") || name == "clusters"
}

fn files(top: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in folders(top, DEPTH_MAX) {
        for entry in fs_err::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !(folder == top && stays(&path)) {
                names.insert(path.display().to_string());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::fcntl::FlockArg;

    use super::*;
    use crate::run::Running;
    use crate::sandbox::take_turn;

    #[test]
    fn a_process_and_its_files_are_seen_until_they_are_gone() {
        let _turn = take_turn(FlockArg::LockExclusive);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::copy("/bin/sh", &program).unwrap();
        let state = folder.path().join("state");
        fs_err::create_dir_all(state.join("clusters")).unwrap();
        let folders = [state.as_path(), program.as_path()];
        let before = Traces::take(&folders);
        fs_err::create_dir_all(state.join("clusters/demo")).unwrap();
        fs_err::write(state.join("muster.db-wal"), "").unwrap();
        let mut command = std::process::Command::new(&program);
        command.args(["-c", "echo up; kill -STOP $$"]);
        let mut running = Running::start(command);
        running.wait_line(Duration::from_secs(20), |_| true);
        let during = Traces::take(&folders);
        let lines = before.difference(&during);
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].starts_with("+ file ") && lines[0].ends_with("state/clusters/demo"), "{lines:?}");
        assert!(lines[1].starts_with("+ process ") && lines[1].contains("kill -STOP"), "{lines:?}");
        let same = std::panic::catch_unwind(|| Traces::assert_same(&before, &during));
        assert!(same.is_err());
        drop(running);
        fs_err::remove_dir(state.join("clusters/demo")).unwrap();
        Traces::assert_same(&before, &Traces::take(&folders));
    }

    #[test]
    fn a_namespace_is_seen_while_the_program_is_in_it() {
        if !crate::can_make_nodes() {
            return;
        }
        let _turn = take_turn(FlockArg::LockExclusive);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::copy("/bin/sh", &program).unwrap();
        let folders = [program.as_path()];
        let before = Traces::take(&folders);
        let mut command = std::process::Command::new("unshare");
        command.args(["--net", "--uts"]).arg(&program).args(["-c", "echo up; kill -STOP $$"]);
        let mut running = Running::start(command);
        running.wait_line(Duration::from_secs(20), |_| true);
        let lines = before.difference(&Traces::take(&folders));
        let seen = |kind: &str| lines.iter().filter(|line| line.starts_with(&format!("+ namespace {kind}:["))).count();
        assert_eq!((seen("net"), seen("uts"), seen("mnt")), (1, 1, 0), "{lines:#?}");
        drop(running);
        Traces::assert_same(&before, &Traces::take(&folders));
    }

    #[test]
    fn the_kernel_s_tables_are_read() {
        let mountinfo =
            "36 35 98:0 /sub /mnt rw shared:1 - ext4 /dev/sda rw\n40 35 0:4 net:[4026532] /run/x rw - nsfs nsfs rw\n";
        let expected = ["/mnt (ext4 /sub of /dev/sda)", "/run/x (nsfs net:[4026532] of nsfs)"];
        assert_eq!(mounts(mountinfo).into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(links("Inter-|\n face |x\n    lo: 1 2\n  eth0:3\n").into_iter().collect::<Vec<_>>(), ["eth0", "lo"]);
    }
}
