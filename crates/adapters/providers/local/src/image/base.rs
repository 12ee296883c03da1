//! The base: Debian 12 by mmdebstrap, made ready to be a node.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::image::lists;
use crate::image::order::Order;
use crate::image::prepare::{self, prepare};
use crate::image::runner::Runner;
use crate::image::sources::SUITE;
use crate::image::worker::{WorkError, system, tell};

/// Beyond Debian's required packages: what systemd nodes need, and what people expect of a server.
const PACKAGES: &str = "systemd,systemd-sysv,libpam-systemd,dbus,openssh-server,sudo,ca-certificates,curl,iproute2,\
                        iputils-ping,netbase,procps,psmisc,less,nano,xz-utils";
/// Lays out merged /usr before the first package, which saves usrmerge with all of Perl.
const MERGED_USR: &str = "/usr/share/mmdebstrap/hooks/merged-usr";

/// What nobody reads on a node, left out by dpkg now and later, as Debian's container images do. Copyrights stay.
const SLIM: &str = "# Manuals, documentation and translations are left out; files are not forced to the disk.\n\
                    force-unsafe-io\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/info/*\n\
                    path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n\
                    path-exclude=/usr/share/locale/*\npath-include=/usr/share/locale/locale.alias\n";

/// mmdebstrap calls these with the new root as `$1`. The two paths come as variables, so that no quoting is needed.
const SETUP: &str = "set -e\nmkdir -p \"$1/var/cache/apt/archives\" \"$1/var/lib/apt/lists\"\n\
                     mount --bind \"$MUSTER_ARCHIVES\" \"$1/var/cache/apt/archives\"\n\
                     cp -r \"$MUSTER_LISTS/.\" \"$1/var/lib/apt/lists/\"\n\
                     touch \"$1/var/lib/apt/lists/lock\" \"$1/var/cache/apt/pkgcache.bin\" \"$1/var/cache/apt/srcpkgcache.bin\"\n";
/// The essential packages have only been unpacked by now: dpkg installs them after this, without what is left out.
const EXTRACT: &str = "set -e\nmkdir -p \"$1/etc/dpkg/dpkg.cfg.d\"\n\
                       cp \"$MUSTER_SLIM\" \"$1/etc/dpkg/dpkg.cfg.d/muster\"\ncd \"$1/usr/share\"\n\
                       rm -rf man info locale\nfind doc -type f ! -name copyright -delete\n";
const CUSTOMIZE: &str = "umount \"$1/var/cache/apt/archives\"\n";

/// All that a base follows from besides the packages of the day: when it changes with a newer muster, bases are made anew.
pub(crate) fn procedure() -> String {
    [PACKAGES, SLIM, EXTRACT, &prepare::procedure()].join("\n")
}

/// Builds the system; returns its root and what is in it.
pub(crate) fn build(order: &Order, runner: &Runner<'_>) -> Result<(PathBuf, String), WorkError> {
    let root = order.work.join("root");
    let folder = lists::apt_folder(order);
    let write = |name: &str, text: &str| -> Result<PathBuf, WorkError> {
        let path = order.work.join(name);
        fs_err::write(&path, text).map_err(system("write a script"))?;
        Ok(path)
    };
    let acquire = write("acquire.conf", &format!("{}Acquire::Languages \"none\";\n", order.apt.acquire))?;
    let slim = write("slim", SLIM)?;
    let temporary = order.work.join("tmp");
    fs_err::create_dir_all(&temporary).map_err(system("make a folder"))?;
    let mut arguments: Vec<OsString> = ["--mode=root", "--variant=minbase", "--format=directory", "--verbose"]
        .into_iter()
        .chain(["--skip=essential/unlink,cleanup/apt"])
        .map(OsString::from)
        .collect();
    arguments.push(format!("--include={PACKAGES}").into());
    arguments.push(option("--aptopt=", &acquire));
    if Path::new(MERGED_USR).is_dir() {
        arguments.push(format!("--hook-dir={MERGED_USR}").into());
    }
    for (hook, name, text) in [
        ("--setup-hook=", "setup", SETUP),
        ("--extract-hook=", "extract", EXTRACT),
        ("--customize-hook=", "customize", CUSTOMIZE),
    ] {
        let script = write(name, text)?;
        // A hook that is an executable file would be called by its name; `sh` needs no such bit.
        let mut command = OsString::from(hook);
        command.push("sh \"$MUSTER_SCRIPTS\"/");
        command.push(script.file_name().unwrap_or_default());
        command.push(" \"$1\"");
        arguments.push(command);
    }
    arguments.push(SUITE.into());
    arguments.push(root.clone().into());
    arguments.push(folder.join("sources.list").into());
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let snapshot = lists::snapshot(order);
    let environment = [
        ("TMPDIR", temporary.as_os_str()),
        ("MUSTER_SCRIPTS", order.work.as_os_str()),
        ("MUSTER_ARCHIVES", order.archives.as_os_str()),
        ("MUSTER_LISTS", snapshot.as_os_str()),
        ("MUSTER_SLIM", slim.as_os_str()),
    ];
    runner.run("mmdebstrap", "making the base", &arguments, &environment)?;
    tell("preparing the base", "");
    let content = format!("{}\n{}", installed(&root)?, order.apt.for_nodes);
    prepare(&root, &order.apt.for_nodes).map_err(system("prepare the base"))?;
    Ok((root, content))
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// Every installed package with its version.
pub(crate) fn installed(root: &Path) -> Result<String, WorkError> {
    let mut folder = OsString::from("--admindir=");
    folder.push(root.join("var/lib/dpkg"));
    let output = std::process::Command::new("dpkg-query")
        .arg(folder)
        .args(["--show", "--showformat=${Package} ${Version} ${Architecture}\n"])
        .output()
        .map_err(|source| WorkError::NoProgram { program: "dpkg", source })?;
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines.join("\n"))
}
