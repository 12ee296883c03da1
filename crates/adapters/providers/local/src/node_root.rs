//! The root of a node: layers, shared folders, devices, and the kernel's own file systems.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use muster_sys::mount;
use nix::mount::MsFlags;

use crate::node_init::{NodeError, NodeStart, system};

/// Stacks the layers and mounts what a node needs. The caller has a mount namespace of its own.
pub(crate) fn build(start: &NodeStart) -> Result<(), NodeError> {
    mount::make_private()?;
    let lower: Vec<&Path> = start.lower.iter().map(PathBuf::as_path).collect();
    mount::overlay(&lower, &start.upper, &start.work, &start.root)?;
    let inside = |path: &Path| start.root.join(path.strip_prefix("/").unwrap_or(path));
    for path in &start.binds {
        mount::bind_read_only(path, &inside(path))?;
    }
    for folder in &start.shared {
        let target = folder_in(&start.root, &folder.target).map_err(system("make the place of a shared folder"))?;
        mount::bind(&folder.source, &target)?;
    }
    mount::bind(&start.hosts, &start.root.join("etc/hosts"))?;
    // An image need not have all places; folders that are there stay as they are.
    for name in ["dev", "proc", "run", "sys"] {
        fs_err::create_dir_all(start.root.join(name)).map_err(system("make a place for a file system"))?;
    }
    devices(&start.root.join("dev"))?;
    kernel_file_systems(&start.root)?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount::pseudo("tmpfs", &start.root.join("run"), plain, "mode=755,size=20%")?;
    fs_err::create_dir(start.root.join("run/lock")).map_err(system("make /run/lock"))
}

/// A folder of the node, made where it is missing. A link on the way would lead out of the node's root.
fn folder_in(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in path.strip_prefix("/").unwrap_or(path) {
        folder.push(part);
        match folder.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let at = folder.strip_prefix(root).unwrap_or(&folder).display().to_string();
                return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("in the node, /{at} is no folder")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs_err::create_dir(&folder)?,
            Err(error) => return Err(error),
        }
    }
    Ok(folder)
}

fn devices(dev: &Path) -> Result<(), NodeError> {
    mount::pseudo("tmpfs", dev, MsFlags::MS_NOSUID, "mode=755,size=64k")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = dev.join(name);
        fs_err::write(&target, "").map_err(system("make a device"))?;
        mount::bind(&Path::new("/dev").join(name), &target)?;
    }
    let make = |name: &str| fs_err::create_dir(dev.join(name)).map_err(system("make a folder of /dev"));
    make("pts")?;
    make("shm")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount::pseudo("devpts", &dev.join("pts"), flags, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    mount::pseudo("tmpfs", &dev.join("shm"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (target, name) in links {
        symlink(target, dev.join(name)).map_err(system("make a link of /dev"))?;
    }
    Ok(())
}

/// `/proc` and `/sys`, with those parts closed that would reach the machine itself. A node's own network settings stay
/// writable.
fn kernel_file_systems(root: &Path) -> Result<(), NodeError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = root.join("proc");
    mount::pseudo("proc", &proc, flags, "")?;
    mount::pseudo("sysfs", &root.join("sys"), flags | MsFlags::MS_RDONLY, "")?;
    let net = proc.join("sys/net");
    mount::bind(&net, &net)?;
    // Read-only from the top would close `net` too, so its siblings are closed one by one.
    for name in ["abi", "debug", "dev", "fs", "kernel", "vm", "user"] {
        let path = proc.join("sys").join(name);
        if path.is_dir() {
            mount::bind_read_only(&path, &path)?;
        }
    }
    for name in ["sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"] {
        let path = proc.join(name);
        if path.exists() {
            mount::bind_read_only(&path, &path)?;
        }
    }
    for name in ["kcore", "keys", "timer_list"] {
        let path = proc.join(name);
        if path.exists() {
            mount::bind(Path::new("/dev/null"), &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_the_node_does_not_lead_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs_err::create_dir_all(root.join("srv")).unwrap();
        fs_err::create_dir(&outside).unwrap();
        symlink(&outside, root.join("home")).unwrap();
        assert_eq!(folder_in(&root, Path::new("/srv/a/b")).unwrap(), root.join("srv/a/b"));
        assert!(root.join("srv/a/b").is_dir());
        let refused = folder_in(&root, Path::new("/home/a")).unwrap_err();
        assert_eq!(refused.to_string(), "in the node, /home is no folder");
        assert!(!outside.join("a").exists());
    }
}
