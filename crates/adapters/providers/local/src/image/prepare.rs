//! What makes a fresh Debian ready to be the lower layer of many nodes.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Each node makes its own, or they are of the machine that built it.
const REMOVED: [&str; 15] = [
    "etc/hostname",
    "etc/fstab",
    "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list.d/0000sources.list",
    "usr/sbin/policy-rc.d",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/log/alternatives.log",
    "var/log/dpkg.log",
];
/// A node has no way out by default, and lists age: the folder stays, empty.
const EMPTIED: [&str; 4] = ["var/lib/apt/lists", "var/log/apt", "tmp", "run"];

/// Units that can only fail in a sandbox, or keep it busy: kernel file systems that are closed there, disks that it does
/// not have, terminals that it does not have, and downloads without a way out.
const MASKED: [&str; 13] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-pstore.service",
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
];

/// Host keys are made where they are missing, before sshd looks for them. RSA takes longest and nobody needs it.
const SSH_KEYS: &str = "[Service]\nExecStartPre=\n\
                        ExecStartPre=/usr/lib/muster/ssh-host-keys\nExecStartPre=/usr/sbin/sshd -t\n";
const SSH_KEYS_SCRIPT: &str = "#!/bin/sh\n# Makes the host keys that are missing.\nset -e\nfor kind in ed25519 ecdsa; do\n  \
                               file=/etc/ssh/ssh_host_${kind}_key\n  \
                               [ -s $file ] || ssh-keygen -q -t $kind -N '' -C \"root@$(hostname)\" -f $file\ndone\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// See `base::procedure`.
pub(crate) fn procedure() -> String {
    format!("{REMOVED:?} {EMPTIED:?} {MASKED:?} {SSH_KEYS} {SSH_KEYS_SCRIPT} {HOSTS}")
}

pub(crate) fn prepare(root: &Path, sources: &str) -> io::Result<()> {
    for name in REMOVED {
        remove(&root.join(name))?;
    }
    for entry in fs_err::read_dir(root.join("etc/ssh"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            fs_err::remove_file(path)?;
        }
    }
    for name in EMPTIED {
        empty(&root.join(name))?;
    }
    write(root, "etc/resolv.conf", "", 0o644)?;
    write(root, "etc/hosts", HOSTS, 0o644)?;
    // Empty, not missing: systemd then makes one at the first start, without asking questions.
    write(root, "etc/machine-id", "", 0o444)?;
    write(root, "etc/default/locale", "LANG=C.UTF-8\n", 0o644)?;
    write(root, "etc/apt/sources.list", sources, 0o644)?;
    write(root, "etc/systemd/system/ssh.service.d/muster.conf", SSH_KEYS, 0o644)?;
    write(root, "usr/lib/muster/ssh-host-keys", SSH_KEYS_SCRIPT, 0o755)?;
    for unit in MASKED {
        let link = root.join("etc/systemd/system").join(unit);
        remove(&link)?;
        symlink("/dev/null", link)?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(crate) fn empty(folder: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write(root: &Path, name: &str, text: &str, mode: u32) -> io::Result<()> {
    let path = root.join(name);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    // It may be a link that leads out of the tree.
    remove(&path)?;
    fs_err::write(&path, text)?;
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_builder_is_left_and_nothing_outside_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        for name in ["etc/ssh", "etc/apt/apt.conf.d", "etc/default", "etc/systemd/system", "var/lib/apt/lists/partial"]
        {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        fs_err::write(&outside, "mine").unwrap();
        symlink(&outside, root.join("etc/resolv.conf")).unwrap();
        fs_err::write(root.join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
        fs_err::write(root.join("etc/ssh/sshd_config"), "").unwrap();
        fs_err::write(root.join("etc/hostname"), "builder").unwrap();
        fs_err::write(root.join("var/lib/apt/lists/x"), "").unwrap();
        prepare(&root, "deb x\n").unwrap();
        assert_eq!(fs_err::read_to_string(&outside).unwrap(), "mine");
        assert_eq!(fs_err::read_to_string(root.join("etc/resolv.conf")).unwrap(), "");
        assert_eq!(fs_err::read_to_string(root.join("etc/machine-id")).unwrap(), "");
        assert!(!root.join("etc/ssh/ssh_host_rsa_key").exists() && root.join("etc/ssh/sshd_config").exists());
        assert!(!root.join("etc/hostname").exists());
        assert_eq!(fs_err::read_dir(root.join("var/lib/apt/lists")).unwrap().count(), 0);
        assert_eq!(fs_err::read_link(root.join("etc/systemd/system/fstrim.timer")).unwrap(), Path::new("/dev/null"));
        prepare(&root, "deb x\n").unwrap();
    }
}
