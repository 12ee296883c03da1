//! Image `host`: a small tree of our own that the machine's `/usr` is bound into, read-only.
//!
//! What programs expect in `/etc` is copied by name from a list; everything else, and above all every secret, host key
//! and ordinary account, stays out.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Folders and files of `/etc` that programs in `/usr` need and that say nothing about this machine.
const ETC: &[&str] = &[
    "adduser.conf",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/useradd",
    "deluser.conf",
    "environment",
    "ethertypes",
    "fonts",
    "gai.conf",
    "inputrc",
    "issue",
    "java-17-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "logrotate.conf",
    "lsb-release",
    "magic",
    "mime.types",
    "munge",
    "netconfig",
    "networks",
    "os-release",
    "pam.conf",
    "pam.d",
    "perl",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "redhat-release",
    "rpc",
    "screenrc",
    "security",
    "selinux/semanage.conf",
    "services",
    "shells",
    "skel",
    "ssh/moduli",
    "ssh/ssh_config",
    "ssh/sshd_config",
    "ssl/certs",
    "ssl/openssl.cnf",
    "sysctl.d",
    "terminfo",
    "timezone",
    "vim",
    "xattr.conf",
];
/// Never copied, though it stands in a folder of the list.
const SECRET_SUFFIXES: [&str; 3] = [".key", "_key", ".pem.private"];
const COPY_BYTES_MAX: u64 = 8 << 20;
/// Accounts below this belong to the system's packages.
const SYSTEM_ID_END: u32 = 1000;
const NOBODY: u32 = 65_534;

/// Top-level folders that a merged `/usr` makes links of, and that are bound where they are real.
pub(crate) const BESIDE_USR: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Which packages `/usr` holds, and which of its programs go by which name. As read-only as `/usr`; hundreds of links,
/// too, whose copies would be most of what a first node waits for.
const ABOUT_USR: [&str; 2] = ["/var/lib/dpkg", "/etc/alternatives"];

/// Builds the tree unless it is there. `target` appears whole or not at all.
pub(crate) fn build(target: &Path) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    let making = target.with_extension("new");
    if making.exists() {
        fs_err::remove_dir_all(&making)?;
    }
    folders(&making)?;
    etc(&making.join("etc"))?;
    accounts(&making.join("etc"))?;
    home(&making)?;
    fs_err::rename(&making, target)
}

/// What of this machine is shown in a node, read-only: pairs of a path here and the same path there.
pub(crate) fn binds() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/usr")];
    for name in BESIDE_USR {
        let path = Path::new("/").join(name);
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            paths.push(path);
        }
    }
    paths.extend(ABOUT_USR.iter().map(PathBuf::from).filter(|path| path.is_dir()));
    paths
}

fn folders(root: &Path) -> io::Result<()> {
    let plain = ["dev", "etc", "home", "media", "mnt", "opt", "proc", "run", "srv", "sys", "usr", "var"];
    let var = ["cache", "lib", "lib/dpkg", "lib/misc", "local", "log", "mail", "opt", "spool", "spool/cron"];
    make_dir(root, 0o755)?;
    for name in plain {
        make_dir(&root.join(name), 0o755)?;
    }
    for name in var {
        make_dir(&root.join("var").join(name), 0o755)?;
    }
    make_dir(&root.join("etc/alternatives"), 0o755)?;
    make_dir(&root.join("root"), 0o700)?;
    make_dir(&root.join("tmp"), 0o1777)?;
    make_dir(&root.join("var/tmp"), 0o1777)?;
    symlink("/run", root.join("var/run"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    for name in BESIDE_USR {
        let here = Path::new("/").join(name);
        let Ok(metadata) = here.symlink_metadata() else { continue };
        if metadata.is_symlink() {
            symlink(fs_err::read_link(&here)?, root.join(name))?;
        } else {
            make_dir(&root.join(name), 0o755)?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs_err::create_dir_all(path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn etc(target: &Path) -> io::Result<()> {
    for name in ETC {
        let from = Path::new("/etc").join(name);
        if from.symlink_metadata().is_ok() {
            if let Some(parent) = target.join(name).parent() {
                fs_err::create_dir_all(parent)?;
            }
            copy(&from, &target.join(name))?;
        }
    }
    let written = [
        ("hosts", "127.0.0.1 localhost\n"),
        ("hostname", "localhost\n"),
        // Empty: a look-up of an unknown name is refused at once, where a dead server would cost 10 s each time.
        ("resolv.conf", ""),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
        ),
        ("fstab", ""),
        ("machine-id", ""),
        ("sudoers", "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"),
    ];
    for (name, content) in written {
        fs_err::write(target.join(name), content)?;
    }
    fs_err::set_permissions(target.join("sudoers"), std::fs::Permissions::from_mode(0o440))?;
    make_dir(&target.join("sudoers.d"), 0o750)?;
    // Written by nodes, so there in every one.
    make_dir(&target.join("cron.d"), 0o755)
}

/// A file, a link as a link, a folder with all of it; what is secret or large stays out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs_err::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return symlink(fs_err::read_link(from)?, to);
    }
    if metadata.is_dir() {
        make_dir(to, metadata.permissions().mode() & 0o7777)?;
        for entry in fs_err::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let world_readable = metadata.permissions().mode() & 0o004 != 0;
    let secret = !world_readable || SECRET_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if metadata.is_file() && !secret && metadata.len() <= COPY_BYTES_MAX {
        fs_err::copy(from, to)?;
    }
    Ok(())
}

/// The accounts of the system's packages, none of them with a password, and nobody else's.
fn accounts(target: &Path) -> io::Result<()> {
    let passwd = fs_err::read_to_string("/etc/passwd")?;
    let kept: Vec<&str> = passwd.lines().filter(|line| is_system(line)).collect();
    let names: Vec<&str> = kept.iter().filter_map(|line| line.split(':').next()).collect();
    fs_err::write(target.join("passwd"), lines(kept.iter().copied()))?;
    let group = fs_err::read_to_string("/etc/group")?;
    let groups: Vec<String> =
        group.lines().filter(|line| is_system(line)).map(|line| without_strangers(line, &names)).collect();
    fs_err::write(target.join("group"), lines(groups.iter().map(String::as_str)))?;
    let locked: Vec<String> = names.iter().map(|name| format!("{name}:*:19000:0:99999:7:::")).collect();
    let shadow = target.join("shadow");
    fs_err::write(&shadow, lines(locked.iter().map(String::as_str)))?;
    fs_err::set_permissions(&shadow, std::fs::Permissions::from_mode(0o600))?;
    let gshadow = target.join("gshadow");
    let group_names = groups.iter().filter_map(|line| line.split(':').next());
    let locked: Vec<String> = group_names.map(|name| format!("{name}:*::")).collect();
    fs_err::write(&gshadow, lines(locked.iter().map(String::as_str)))?;
    fs_err::set_permissions(&gshadow, std::fs::Permissions::from_mode(0o600))
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Whether a line of passwd or group is of a system account: its third field is the id.
fn is_system(line: &str) -> bool {
    let id = line.split(':').nth(2).and_then(|id| id.parse::<u32>().ok());
    id.is_some_and(|id| id < SYSTEM_ID_END || id == NOBODY)
}

/// A line of group without the members that are no system accounts.
fn without_strangers(line: &str, names: &[&str]) -> String {
    let Some((head, members)) = line.rsplit_once(':') else { return line.to_owned() };
    let members: Vec<&str> = members.split(',').filter(|member| names.contains(member)).collect();
    format!("{head}:{}", members.join(","))
}

fn home(root: &Path) -> io::Result<()> {
    for name in [".bashrc", ".profile"] {
        let from = Path::new("/etc/skel").join(name);
        if from.is_file() {
            copy(&from, &root.join("root").join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_system_accounts_are_taken_over() {
        assert!(is_system("root:x:0:0:root:/root:/bin/bash"));
        assert!(is_system("nobody:x:65534:65534::/:/usr/sbin/nologin"));
        assert!(!is_system("someone:x:1000:1000::/home/someone:/bin/bash"));
        assert!(!is_system("broken"));
        assert_eq!(without_strangers("sudo:x:27:someone,daemon", &["root", "daemon"]), "sudo:x:27:daemon");
    }

    #[test]
    fn the_tree_is_whole_and_holds_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("skeleton");
        build(&target).unwrap();
        let shadow = fs_err::read_to_string(target.join("etc/shadow")).unwrap();
        assert!(shadow.lines().all(|line| line.split(':').nth(1) == Some("*")), "{shadow}");
        assert!(target.join("usr").is_dir() && target.join("etc/passwd").is_file());
        assert_eq!(fs_err::metadata(target.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        build(&target).unwrap();
    }
}
