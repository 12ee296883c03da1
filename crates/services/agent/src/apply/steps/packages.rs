//! Packages, by dpkg's own record and apt.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster_cloudinit::{Package, Packages};
use muster_stdx::Backoff;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{AccessFlags, access};
use tokio::time::Instant;

use super::{Applied, Context, Machine, StepError};
use crate::apply::tool;

const STATUS: &str = "/var/lib/dpkg/status";
const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];
/// Others install packages too; older versions of apt do not know the option and do not wait.
const WAIT_FOR_LOCK: &str = "--option=DPkg::Lock::Timeout=600";
const LOCK_WAIT: Duration = Duration::from_mins(10);
/// The kernel's tables of routes.
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];
/// Without a route to anywhere a second try is only a wait; and lists that cannot be fetched are no success.
const NEAR_ONLY: [&str; 2] = ["--option=Acquire::Retries=0", "--option=APT::Update::Error-Mode=any"];
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// Read from dpkg's file: nothing is started for it. Names that other packages provide count as installed.
pub(super) fn missing<'a>(machine: &Machine, packages: &'a Packages) -> Result<Vec<&'a Package>, StepError> {
    let mut wanted: BTreeMap<&str, Option<String>> =
        packages.packages.iter().map(|package| (bare_name(&package.name), None)).collect();
    let path = machine.inside(STATUS);
    match fs_err::File::open(&path) {
        Ok(file) => read_status(file, &mut wanted).map_err(StepError::read(&path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StepError::read(&path)(error)),
    }
    let lacks = |package: &&Package| match (&wanted[bare_name(&package.name)], &package.version) {
        (None, _) => true,
        (Some(found), Some(version)) => found != version,
        (Some(_), None) => false,
    };
    Ok(packages.packages.iter().filter(lacks).collect())
}

/// `libc6:amd64` and `nginx/bookworm` name a package and more.
fn bare_name(name: &str) -> &str {
    name.split([':', '/']).next().unwrap_or(name)
}

/// Sets the versions of the wanted packages that are installed.
fn read_status(file: fs_err::File, wanted: &mut BTreeMap<&str, Option<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut entry = Entry::default();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            std::mem::take(&mut entry).settle(wanted);
            if count == 0 {
                return Ok(());
            }
            continue;
        }
        match text.split_once(": ") {
            Some(("Package", name)) => name.clone_into(&mut entry.name),
            Some(("Version", version)) => version.clone_into(&mut entry.version),
            Some(("Status", status)) => entry.installed = status.ends_with(" installed"),
            Some(("Provides", names)) => names.clone_into(&mut entry.provides),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    name: String,
    version: String,
    provides: String,
    installed: bool,
}

impl Entry {
    fn settle(self, wanted: &mut BTreeMap<&str, Option<String>>) {
        if !self.installed {
            return;
        }
        for provided in self.provides.split(',').filter_map(|part| part.split_whitespace().next()) {
            if let Some(version) = wanted.get_mut(provided).filter(|version| version.is_none()) {
                *version = Some(self.version.clone());
            }
        }
        if let Some(version) = wanted.get_mut(self.name.as_str()) {
            *version = Some(self.version);
        }
    }
}

pub(super) async fn install(packages: &Packages, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let missing = missing(context.machine, packages)?;
    if missing.is_empty() {
        return Ok(Applied::default());
    }
    let names: Vec<String> = missing
        .iter()
        .map(|package| match &package.version {
            Some(version) => format!("{}={version}", package.name),
            None => package.name.clone(),
        })
        .collect();
    let listed = names.join(", ");
    if access(&context.machine.inside("/usr"), AccessFlags::W_OK) == Err(nix::errno::Errno::EROFS) {
        return Err(StepError::UsrReadOnly { packages: listed });
    }
    apt(context, &listed, &["update"]).await?;
    let mut arguments = vec!["install"];
    arguments.extend(names.iter().map(String::as_str));
    apt(context, &listed, &arguments).await?;
    Ok(Applied::changed(true))
}

pub(super) async fn update(context: &mut Context<'_>) -> Result<Applied, StepError> {
    apt(context, "package lists", &["update"]).await.map(|()| Applied::changed(true))
}

pub(super) async fn upgrade(context: &mut Context<'_>) -> Result<Applied, StepError> {
    apt(context, "upgrades", &["update"]).await?;
    apt(context, "upgrades", &["dist-upgrade"]).await.map(|()| Applied::changed(true))
}

/// What an earlier agent began goes on without it or was cut off: waits for its end and has dpkg finish it.
async fn settle(context: &mut Context<'_>) -> Result<(), StepError> {
    let Some(program) = context.machine.find("dpkg").filter(|_| std::mem::take(&mut context.left_over)) else {
        return Ok(());
    };
    let until = Instant::now() + LOCK_WAIT;
    let mut pauses = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    while LOCKS.iter().any(|path| is_locked(&context.machine.inside(path))) && Instant::now() < until {
        // dpkg is in a session of its own, and nothing tells when it gives a lock back.
        tokio::time::sleep(pauses.pause()).await;
    }
    let mut command = tool::command(&program, &["--force-confold", "--force-confdef", "--configure", "-a"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    match tool::run(context, command).await? {
        0 => Ok(()),
        code => Err(StepError::Exit { program: "dpkg --configure -a".to_owned(), code }),
    }
}

/// Whether another process holds a lock on a file.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = fs_err::OpenOptions::new().write(true).open(path) else { return false };
    let mut found = super::accounts::whole_file();
    let asked = fcntl(&file, FcntlArg::F_OFD_GETLK(&mut found));
    asked.is_ok() && i32::from(found.l_type) != libc::F_UNLCK
}

async fn apt(context: &mut Context<'_>, what: &str, arguments: &[&str]) -> Result<(), StepError> {
    let machine = context.machine;
    let Some(program) = machine.find("apt-get") else {
        return Err(StepError::NoApt { packages: what.to_owned() });
    };
    settle(context).await?;
    let mut command: Command = tool::command(
        &program,
        &[
            "--option=Dpkg::Options::=--force-confold",
            "--option=Dpkg::Options::=--force-confdef",
            WAIT_FOR_LOCK,
            "--assume-yes",
            "--quiet",
        ],
    );
    let way_out = has_way_out(machine);
    if !way_out {
        command.args(NEAR_ONLY);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").env("APT_LISTCHANGES_FRONTEND", "none").args(arguments);
    match tool::run(context, command).await? {
        0 => Ok(()),
        code if !way_out => Err(StepError::NoWayOut { packages: what.to_owned(), code }),
        code => Err(StepError::Exit { program: format!("apt-get {}", arguments[0]), code }),
    }
}

/// Whether a route leads out of the node's own networks. A mirror or proxy may be in them, so without one apt is tried
/// all the same; what is not known counts as a way out.
fn has_way_out(machine: &Machine) -> bool {
    let [four, six] = ROUTES.map(|path| fs_err::read_to_string(machine.inside(path)));
    match (four, six) {
        (Ok(four), Ok(six)) => leads_out(&four) || leads_out_6(&six),
        (Ok(four), Err(_)) => leads_out(&four),
        (Err(_), _) => true,
    }
}

/// Fields: device, destination, gateway, flags, …, mask.
fn leads_out(routes: &str) -> bool {
    let is_default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    };
    routes.lines().any(is_default)
}

/// Fields: destination, length of its prefix, …, device. What goes to `lo` is how the kernel writes that nothing goes.
fn leads_out_6(routes: &str) -> bool {
    let is_default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00") && fields.last().is_some_and(|device| *device != "lo")
    };
    routes.lines().any(is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_another_holds_is_seen_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_locked(&path), "a node without dpkg has no locks");
        let file = fs_err::File::create(&path).unwrap();
        assert!(!is_locked(&path) && !is_locked(&path));
        fcntl(&file, FcntlArg::F_OFD_SETLK(&super::super::accounts::whole_file())).unwrap();
        assert!(is_locked(&path));
        drop(file);
        assert!(!is_locked(&path));
    }

    #[test]
    fn a_way_out_is_a_default_route() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let near = "eth0\t0000550A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t0100550A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert!(!leads_out(head) && !leads_out(&format!("{head}{near}")));
        assert!(leads_out(&format!("{head}{near}{default}")));
        let zeros = "0".repeat(32);
        let route = |length: &str, device: &str| format!("{zeros} {length} {zeros} 00 {zeros} 1 1 0 200 {device}\n");
        assert!(!leads_out_6(&route("00", "lo")) && !leads_out_6(&route("40", "eth0")) && !leads_out_6(""));
        assert!(leads_out_6(&(route("00", "lo") + &route("00", "eth0"))));
    }
}
