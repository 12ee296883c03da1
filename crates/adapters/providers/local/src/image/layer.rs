//! A layer of software: packages are installed into an overlay over the base, and what that changes is the layer.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use muster_sys::mount;
use nix::mount::MsFlags;

use crate::image::apt::Places;
use crate::image::base::installed;
use crate::image::lists;
use crate::image::order::Order;
use crate::image::output::Cause;
use crate::image::prepare::empty;
use crate::image::runner::Runner;
use crate::image::worker::{WorkError, system, tell};

/// Says to maintainer scripts that no service is to be started.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

pub(crate) struct Plan<'a> {
    pub(crate) base: &'a Path,
    pub(crate) packages: &'a BTreeSet<String>,
    /// Whether the lists are of now.
    pub(crate) fetched: bool,
}

/// Installs the packages; returns the layer's files and what is installed in all.
pub(crate) fn build(order: &Order, runner: &Runner<'_>, plan: &Plan<'_>) -> Result<(PathBuf, String), WorkError> {
    let part = |name: &str| order.work.join(name);
    let (upper, root) = (part("upper"), part("root"));
    for folder in [&upper, &root, &part("overlay")] {
        fs_err::create_dir_all(folder).map_err(system("make a folder"))?;
    }
    // The top of the tree is the layer's own.
    fs_err::set_permissions(&upper, std::fs::Permissions::from_mode(0o755)).map_err(system("make a folder"))?;
    let helpers = part("helpers");
    helper_files(&helpers).map_err(system("write the files that a bake needs"))?;
    mount::overlay_for_layer(&[&helpers, plan.base], &upper, &part("overlay"), &root)?;
    kernel_file_systems(&root)?;
    let archives = root.join("run/archives");
    fs_err::create_dir(&archives).map_err(system("make a folder"))?;
    mount::bind(&order.archives, &archives)?;
    let target = Target { root: &root, archives: &archives };
    match install(order, runner, &target, plan.packages) {
        // Servers drop what they have something newer for. Nothing was installed: packages are fetched before.
        Err(WorkError::Run { cause: Cause::Unreachable(_) | Cause::UnknownPackages(_), .. }) if !plan.fetched => {
            lists::update(order, runner, true)?;
            install(order, runner, &target, plan.packages)?;
        }
        result => result?,
    }
    let content = installed(&root)?;
    clean(&upper).map_err(system("clean the layer"))?;
    Ok((upper, content))
}

struct Target<'a> {
    root: &'a Path,
    archives: &'a Path,
}

/// By this machine's apt, with its ways out; dpkg and its scripts run inside.
fn install(
    order: &Order,
    runner: &Runner<'_>,
    target: &Target<'_>,
    packages: &BTreeSet<String>,
) -> Result<(), WorkError> {
    let folder = lists::apt_folder(order);
    let snapshot = lists::snapshot(order);
    let places = Places { folder: &folder, lists: &snapshot, archives: target.archives, root: Some(target.root) };
    let configuration = folder.join("install.conf");
    let text = order.apt.configuration(&places);
    fs_err::write(&configuration, text).map_err(system("write a configuration for apt"))?;
    let mut arguments: Vec<OsString> = vec!["install".into(), "--".into()];
    arguments.extend(packages.iter().map(OsString::from));
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    tell("installing packages", "");
    runner.run("apt-get", "installing packages", &arguments, &[("APT_CONFIG", configuration.as_os_str())])
}

/// Seen inside while packages are installed, and not in the layer: a lower layer of its own.
fn helper_files(helpers: &Path) -> io::Result<()> {
    for folder in ["usr/sbin", "etc"] {
        fs_err::create_dir_all(helpers.join(folder))?;
    }
    let policy = helpers.join("usr/sbin/policy-rc.d");
    fs_err::write(&policy, POLICY)?;
    fs_err::set_permissions(&policy, std::fs::Permissions::from_mode(0o755))?;
    for name in ["etc/resolv.conf", "etc/hosts"] {
        // Some scripts fetch what packages may not hold. A machine without the file has nothing to look up either.
        let text = fs_err::read(Path::new("/").join(name)).unwrap_or_default();
        fs_err::write(helpers.join(name), text)?;
    }
    Ok(())
}

/// What maintainer scripts expect to find; of this machine they get six devices.
fn kernel_file_systems(root: &Path) -> Result<(), WorkError> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount::pseudo("proc", &root.join("proc"), plain | MsFlags::MS_NOEXEC, "")?;
    mount::pseudo("sysfs", &root.join("sys"), plain | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY, "")?;
    mount::pseudo("tmpfs", &root.join("run"), plain, "mode=755")?;
    mount::pseudo("tmpfs", &root.join("tmp"), plain, "mode=1777")?;
    let dev = root.join("dev");
    mount::pseudo("tmpfs", &dev, MsFlags::MS_NOSUID, "mode=755,size=64k")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = dev.join(name);
        fs_err::write(&target, "").map_err(system("make a device"))?;
        mount::bind(&Path::new("/dev").join(name), &target)?;
    }
    for name in ["pts", "shm"] {
        fs_err::create_dir(dev.join(name)).map_err(system("make a folder of /dev"))?;
    }
    mount::pseudo("devpts", &dev.join("pts"), MsFlags::MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    mount::pseudo("tmpfs", &dev.join("shm"), plain, "mode=1777")?;
    for (target, name) in
        [("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("/proc/self/fd/1", "stdout"), ("/proc/self/fd/2", "stderr")]
    {
        symlink(target, dev.join(name)).map_err(system("make a link of /dev"))?;
    }
    Ok(())
}

/// What says only how the layer was made.
fn clean(upper: &Path) -> io::Result<()> {
    for name in ["var/cache/ldconfig", "var/cache/apt", "var/log/apt"] {
        empty(&upper.join(name))?;
    }
    for name in ["etc/resolv.conf", "etc/hosts", "usr/sbin/policy-rc.d", "etc/.pwd.lock", "var/log/dpkg.log"] {
        match fs_err::remove_file(upper.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
