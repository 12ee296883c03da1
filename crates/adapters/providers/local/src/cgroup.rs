//! Limits, freezing and accounting of nodes: cgroup v1, hybrid and v2.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_provider::Size;

/// Folder of ours in every hierarchy.
const TOP: &str = "muster";
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "freezer"];
/// Keeps a runaway node from taking every process id of the machine.
const PROCESSES_MAX: u32 = 16_384;
/// How long killed processes may take to be gone.
const END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
const CPU_PERIOD_US: u64 = 100_000;

#[derive(Debug, Clone)]
enum Hierarchy {
    /// One mount with all controllers.
    V2(PathBuf),
    /// A mount for each controller.
    V1 { controller: &'static str, mount: PathBuf },
}

impl Hierarchy {
    fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }
}

/// The hierarchies of this machine that nodes are put into. None at all is possible: then there are no limits.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    scope: String,
    /// A v2 hierarchy that is mounted for us alone, where nobody else has mounted one.
    _own: Option<Arc<OwnedFd>>,
}

impl Cgroups {
    pub(crate) fn detect(scope: &str) -> io::Result<Self> {
        let mut hierarchies = parse_mounts(&fs_err::read_to_string("/proc/self/mounts")?);
        let mut own = None;
        // Every kernel has a v2 hierarchy, with those controllers that v1 leaves it.
        if !hierarchies.iter().any(Hierarchy::is_v2)
            && let Ok(file) = muster_sys::mount::detached("cgroup2")
        {
            hierarchies.push(Hierarchy::V2(format!("/proc/self/fd/{}", file.as_raw_fd()).into()));
            own = Some(Arc::new(file));
        }
        Ok(Self { hierarchies, scope: scope.to_owned(), _own: own })
    }

    /// Whether systemd finds in a node what it needs: a v2 hierarchy, with or without controllers.
    pub(crate) fn can_run_systemd(&self) -> bool {
        self.hierarchies.iter().any(Hierarchy::is_v2)
    }

    /// Which versions there are, for people.
    pub(crate) fn describe(&self) -> &'static str {
        let (v2, v1): (Vec<_>, Vec<_>) = self.hierarchies.iter().partition(|hierarchy| hierarchy.is_v2());
        match (v1.is_empty(), v2.is_empty()) {
            (true, true) => "none",
            (true, false) => "version 2",
            (false, true) => "version 1",
            (false, false) => "version 1 with 2 beside it",
        }
    }

    fn folders(&self, group: &str) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        self.hierarchies.iter().map(move |hierarchy| {
            let mount = match hierarchy {
                Hierarchy::V2(mount) | Hierarchy::V1 { mount, .. } => mount,
            };
            (hierarchy, mount.join(TOP).join(&self.scope).join(group))
        })
    }

    /// Makes the cgroup of a node, or of the shepherd.
    pub(crate) fn create(&self, group: &str) -> io::Result<()> {
        for (hierarchy, folder) in self.folders(group) {
            make(&folder)?;
            if let Hierarchy::V2(mount) = hierarchy {
                enable_controllers(mount, &self.scope)?;
            }
        }
        Ok(())
    }

    /// Puts a process, and with it all that it will start, into the cgroup.
    pub(crate) fn add(&self, group: &str, pid: u32) -> io::Result<()> {
        for (_, folder) in self.folders(group) {
            fs_err::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    pub(crate) fn limit(&self, group: &str, size: &Size) -> io::Result<()> {
        for (hierarchy, folder) in self.folders(group) {
            for (file, value) in limits(hierarchy, size) {
                fs_err::write(folder.join(file), value)?;
            }
        }
        Ok(())
    }

    /// Whether memory and CPU limits can be set here.
    pub(crate) fn can_limit(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| match hierarchy {
            Hierarchy::V2(mount) => fs_err::read_to_string(mount.join("cgroup.controllers"))
                .is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "memory")),
            Hierarchy::V1 { controller, .. } => *controller == "memory",
        })
    }

    /// Stops or continues every process of the cgroup. False when this machine cannot.
    pub(crate) fn freeze(&self, group: &str, frozen: bool) -> io::Result<bool> {
        for (hierarchy, folder) in self.folders(group) {
            let (file, value) = match hierarchy {
                Hierarchy::V2(_) => ("cgroup.freeze", if frozen { "1" } else { "0" }),
                Hierarchy::V1 { controller: "freezer", .. } => {
                    ("freezer.state", if frozen { "FROZEN" } else { "THAWED" })
                }
                Hierarchy::V1 { .. } => continue,
            };
            fs_err::write(folder.join(file), value)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes the cgroup of a node whose processes have ended.
    pub(crate) fn remove(&self, group: &str) -> io::Result<()> {
        self.folders(group).try_for_each(|(_, folder)| remove_tree(&folder))
    }

    /// Ends whatever is left of the scope and removes its cgroups: those of a shepherd that was killed, whose nodes may
    /// still be dying.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        for (_, folder) in self.folders("") {
            for entry in fs_err::read_dir(&folder).into_iter().flatten() {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    end_and_remove(&entry.path())?;
                }
            }
            remove_empty(&folder)?;
            // Other clusters may be there; the last one takes the folder along.
            if let Some(top) = folder.parent() {
                fs_err::remove_dir(top).ok();
            }
        }
        Ok(())
    }
}

fn parse_mounts(mounts: &str) -> Vec<Hierarchy> {
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[_, mount, kind, options, ..] = fields.as_slice() else { continue };
        match kind {
            "cgroup2" if v2.is_none() => v2 = Some(PathBuf::from(mount)),
            "cgroup" => {
                let controller = CONTROLLERS.into_iter().find(|name| options.split(',').any(|option| option == *name));
                v1.extend(controller.map(|controller| Hierarchy::V1 { controller, mount: mount.into() }));
            }
            _ => {}
        }
    }
    // In a hybrid set-up the v2 tree has no controllers, but systemd inside a node needs a place in it.
    v1.extend(v2.map(Hierarchy::V2));
    // The first that can freeze is asked to: v1 where there is one.
    v1
}

fn limits(hierarchy: &Hierarchy, size: &Size) -> Vec<(&'static str, String)> {
    let quota = size.cpus.map(cpu_quota_us);
    let has = |controller: &str| match hierarchy {
        Hierarchy::V1 { controller: own, .. } => *own == controller,
        Hierarchy::V2(mount) => fs_err::read_to_string(mount.join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|name| name == controller)),
    };
    let v2 = hierarchy.is_v2();
    let mut values = Vec::new();
    if has("pids") {
        values.push(("pids.max", PROCESSES_MAX.to_string()));
    }
    if let Some(memory) = size.memory.filter(|_| has("memory")) {
        values.push((if v2 { "memory.max" } else { "memory.limit_in_bytes" }, memory.0.to_string()));
    }
    if let Some(quota) = quota.filter(|_| has("cpu")) {
        if v2 {
            values.push(("cpu.max", format!("{quota} {CPU_PERIOD_US}")));
        } else {
            values.push(("cpu.cfs_period_us", CPU_PERIOD_US.to_string()));
            values.push(("cpu.cfs_quota_us", quota.to_string()));
        }
    }
    values
}

/// Microseconds of CPU time in each period; the kernel's least is 1 ms.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "CPU counts are small"
)]
fn cpu_quota_us(cpus: f64) -> u64 {
    ((cpus * CPU_PERIOD_US as f64) as u64).max(1000)
}

fn make(folder: &Path) -> io::Result<()> {
    // Somebody else may remove the empty top folder in between.
    for _ in 0..10 {
        match fs_err::create_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    fs_err::create_dir_all(folder)
}

/// In v2 a controller works in a cgroup only if every cgroup above hands it down.
fn enable_controllers(mount: &Path, scope: &str) -> io::Result<()> {
    let top = mount.join(TOP);
    for folder in [mount.to_owned(), top.clone(), top.join(scope)] {
        let available = fs_err::read_to_string(folder.join("cgroup.controllers"))?;
        let enabled = fs_err::read_to_string(folder.join("cgroup.subtree_control"))?;
        let has = |list: &str, name: &str| list.split_whitespace().any(|entry| entry == name);
        for name in ["memory", "cpu", "pids"] {
            if has(&available, name) && !has(&enabled, name) {
                fs_err::write(folder.join("cgroup.subtree_control"), format!("+{name}"))?;
            }
        }
    }
    Ok(())
}

/// Ends the processes of a cgroup and of those below it, frozen ones too, and removes it.
fn end_and_remove(folder: &Path) -> io::Result<()> {
    let until = std::time::Instant::now() + END_TIMEOUT;
    loop {
        end_processes(folder)?;
        match remove_tree(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && std::time::Instant::now() < until => {}
            result => return result,
        }
    }
}

fn end_processes(folder: &Path) -> io::Result<()> {
    // A frozen process does not die; a hierarchy that cannot freeze has neither file.
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if folder.join(file).exists() {
            fs_err::write(folder.join(file), value)?;
        }
    }
    for pid in fs_err::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
        // A process that this namespace does not see is listed as 0, which would stand for our own group.
        let Some(pid) = pid.parse().ok().filter(|pid| *pid > 1) else { continue };
        // It may have ended since the file was read.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
    }
    below(folder)?.iter().try_for_each(|child| end_processes(child))
}

/// The cgroups that a node's init has made in its own.
fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    below(folder)?.iter().try_for_each(|child| remove_tree(child))?;
    remove_empty(folder)
}

/// The kernel needs a moment after the last process has been reaped: a few short tries.
fn remove_empty(folder: &Path) -> io::Result<()> {
    let mut pause = std::time::Duration::from_millis(1);
    for _ in 0..9 {
        match fs_err::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(pause),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
        pause *= 2;
    }
    fs_err::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_all_three_kinds_are_found() {
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";
        assert!(matches!(parse_mounts(v2).as_slice(), [Hierarchy::V2(_)]));
        let hybrid = "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /c/systemd cgroup rw,name=systemd 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n";
        let found = parse_mounts(hybrid);
        assert!(matches!(
            &found[..],
            [Hierarchy::V1 { controller: "memory", .. }, Hierarchy::V1 { controller: "cpu", .. }, Hierarchy::V2(_)]
        ));
        assert!(parse_mounts("tmpfs /tmp tmpfs rw 0 0\n").is_empty());
    }

    #[test]
    fn systemd_needs_the_second_version_mounted_or_to_be_mounted() {
        let v1 = "cgroup /c/memory cgroup rw,memory 0 0\ncgroup /c/systemd cgroup rw,name=systemd 0 0\n";
        assert!(!parse_mounts(v1).iter().any(Hierarchy::is_v2));
        let twice = "cgroup2 /first cgroup2 rw 0 0\ncgroup2 /second cgroup2 rw 0 0\n";
        assert!(matches!(&parse_mounts(twice)[..], [Hierarchy::V2(mount)] if mount == Path::new("/first")));
    }

    #[test]
    fn limits_are_written_in_each_version_s_words() {
        let size = Size { name: None, memory: Some(muster_types::ByteSize(1 << 20)), cpus: Some(0.5) };
        let memory = Hierarchy::V1 { controller: "memory", mount: "/c".into() };
        assert_eq!(limits(&memory, &size), [("memory.limit_in_bytes", "1048576".to_owned())]);
        let cpu = Hierarchy::V1 { controller: "cpu", mount: "/c".into() };
        assert_eq!(limits(&cpu, &size)[1], ("cpu.cfs_quota_us", "50000".to_owned()));
    }
}
