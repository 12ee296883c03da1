//! What the tests need of a machine besides Rust, and how it gets there.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::out::{say, seconds};
use crate::shell::{self, command};
use crate::workspace;

struct Need {
    /// There when the package is; looked for in the usual folders of programs.
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

/// Everything beyond what each Debian has. A line goes when its last test does.
const NEEDS: [Need; 10] = [
    Need { program: "git", package: "git", why: "the tidy test asks it which files belong to the project" },
    Need { program: "cc", package: "gcc", why: "SQLite and AWS-LC are C, built with the program" },
    Need { program: "unshare", package: "util-linux", why: "the testkit's own tests make namespaces with it" },
    Need { program: "ps", package: "procps", why: "a test that hangs is shown with its processes" },
    Need { program: "stty", package: "coreutils", why: "tests of terminals ask it for the size" },
    Need { program: "mmdebstrap", package: "mmdebstrap", why: "images of Debian 12 are made with it" },
    Need { program: "ping", package: "iputils-ping", why: "nodes of Occopus' ping tutorials call it" },
    Need {
        program: "python3",
        package: "python3-venv",
        why: "a container's web server, and what peers are told again in",
    },
    Need { program: "strace", package: "strace", why: "what the store writes and flushes is read off it" },
    Need { program: "useradd", package: "passwd", why: "tests of cloud-config make users on nodes" },
];

/// Programs that tests speak with and that would start by themselves if they were installed: they are only unpacked,
/// below `target/tools`.
const PEERS: [Need; 1] = [Need { program: "serf", package: "serf", why: "our gossip is tested with the real agent" }];

const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Settings of the kernel that many systemd nodes at once need, with the least that will do.
const SETTINGS: [(&str, u64); 2] = [("fs.inotify.max_user_instances", 8192), ("fs.inotify.max_user_watches", 524_288)];

pub(crate) fn ensure() -> Result<()> {
    raise_settings()?;
    install_missing()?;
    PEERS.iter().try_for_each(unpack)
}

fn install_missing() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        say(&format!("missing: {} (package {}): {}", need.program, need.package, need.why));
    }
    install(&missing.iter().map(|need| need.package).collect::<Vec<_>>())?;
    match missing.iter().find(|need| !is_there(need.program)) {
        Some(need) => bail!("{} is still missing after {} was installed", need.program, need.package),
        None => Ok(()),
    }
}

/// As a command: says what it found, too.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    ensure()?;
    for need in NEEDS.iter().chain(&PEERS) {
        say(&format!("{:10} {}", need.program, need.why));
    }
    say(&format!("everything is there ({})", seconds(start.elapsed())));
    Ok(())
}

fn is_there(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

/// As root; without it the tests of nodes are skipped anyway.
fn raise_settings() -> Result<()> {
    for (name, least) in SETTINGS {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let Ok(text) = fs_err::read_to_string(&path) else { continue };
        if text.trim().parse::<u64>().is_ok_and(|value| value >= least) || !is_root()? {
            continue;
        }
        say(&format!("{name} was {}, and is {least} until the machine starts again", text.trim()));
        fs_err::write(&path, least.to_string()).with_context(|| format!("{name} cannot be raised"))?;
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(shell::read(command("id", &["-u"]))?.trim() == "0")
}

/// By apt, as root or through sudo. A fresh machine has no lists of packages yet.
fn install(packages: &[&str]) -> Result<()> {
    if !is_there("apt-get") {
        bail!("this machine has no apt-get\nhint: install by its own means: {}", packages.join(" "));
    }
    let root = is_root()?;
    if !root && !is_there("sudo") {
        bail!(
            "packages are missing and there is neither root nor sudo\nhint: as root: apt-get install {}",
            packages.join(" ")
        );
    }
    update_lists(root)?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    shell::run(apt(root, &arguments))
}

fn update_lists(root: bool) -> Result<()> {
    shell::run(apt(root, &["update"])).context("the lists of packages cannot be fetched")
}

fn apt(root: bool, arguments: &[&str]) -> Command {
    let mut words = if root { vec![] } else { vec!["sudo"] };
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
    words.extend(arguments);
    command(words[0], &words[1..])
}

/// A machine without apt goes without: the tests that want the program say that they are skipped.
fn unpack(need: &Need) -> Result<()> {
    let tools = workspace::root().join("target/tools");
    if !is_there("apt-get") || tools.join("usr/bin").join(need.program).exists() {
        return Ok(());
    }
    say(&format!("missing: {} (package {}, unpacked to target/tools): {}", need.program, need.package, need.why));
    fs_err::create_dir_all(&tools)?;
    let fetch = || {
        // The folder may be closed to apt's own user.
        let mut fetch = command("apt-get", &["-qq", "-o", "APT::Sandbox::User=root", "download", need.package]);
        fetch.current_dir(&tools);
        fetch
    };
    if shell::run(fetch()).is_err() {
        update_lists(is_root()?)?;
        shell::run(fetch())?;
    }
    for entry in fs_err::read_dir(&tools)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            shell::run(command("dpkg-deb", &["-x".as_ref(), path.as_os_str(), tools.as_os_str()]))?;
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_their_folders() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-of-anybody"));
    }
}
