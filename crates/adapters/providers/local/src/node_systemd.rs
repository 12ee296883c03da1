//! Nodes whose PID 1 is systemd: what it finds when it starts, the agent as one of its units, and the agent's way in.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_provider::Size;
use muster_sys::{capability, mount};
use muster_types::Redacted;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use crate::node_init::{NodeContext, NodeError, NodeStart, Ready, new_boot_id, system};

const SYSTEMD: &str = "/lib/systemd/systemd";
/// Everything of ours in a running node; `/run` is empty at each start of it.
const OURS: &str = "run/muster";
const CONTEXT: &str = "context.json";
const READY: &str = "ready";
const AGENT_UNIT: &str = "muster-agent.service";
const AGENT_FAILED_UNIT: &str = "muster-agent-failed.service";

/// What the agent of a node with systemd starts with, each time.
#[derive(Debug, Serialize, Deserialize)]
struct Context {
    user_data: Redacted<String>,
    address: Ipv4Addr,
    rebooted_from_inside: bool,
    limits: Size,
    boot_id: String,
}

/// Puts into a root what systemd and the agent start with.
pub(crate) fn equip(start: &NodeStart) -> Result<(), NodeError> {
    let root = &start.root;
    if !root.join(SYSTEMD.trim_start_matches('/')).is_file() {
        return Err(NodeError::NoSystemd);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::pseudo("cgroup2", &root.join("sys/fs/cgroup"), flags, "")?;
    // By its path, which leads to the same terminal in this namespace; a file from outside could not be mounted.
    let terminal = nix::unistd::ttyname(io::stderr()).map_err(system("find the node's terminal"))?;
    place(&terminal, &root.join("dev/console"), false)?;
    let ours = root.join(OURS);
    place(&start.ready, &ours.join(READY), false)?;
    write_context(start, &ours.join(CONTEXT)).map_err(system("write what the agent starts with"))?;
    write_units(&root.join("run/systemd")).map_err(system("write the agent's unit"))
}

/// Shows the program itself in a root, for its agent's unit and for whoever starts it under another of its names. Only
/// the program can be reached by everybody: the folder cannot be listed, and what else lies there is root's alone.
pub(crate) fn show_program(root: &Path) -> Result<(), NodeError> {
    let ours = root.join(OURS);
    let made = fs_err::create_dir(&ours)
        .and_then(|()| fs_err::set_permissions(&ours, std::fs::Permissions::from_mode(0o711)))
        .and_then(|()| fs_err::create_dir(ours.join("bin")))
        .and_then(|()| fs_err::set_permissions(ours.join("bin"), std::fs::Permissions::from_mode(0o755)));
    made.map_err(system("make a folder for the program"))?;
    let program = std::env::current_exe().map_err(system("find the running program"))?;
    place(&program, &ours.join("bin/muster"), true)
}

/// Shows a file in the node.
fn place(from: &Path, at: &Path, read_only: bool) -> Result<(), NodeError> {
    fs_err::write(at, "").map_err(system("make a file to mount on"))?;
    let shown = if read_only { mount::bind_read_only(from, at) } else { mount::bind(from, at) };
    Ok(shown?)
}

fn write_context(start: &NodeStart, path: &Path) -> io::Result<()> {
    let context = Context {
        user_data: start.user_data.clone(),
        address: start.address,
        rebooted_from_inside: start.rebooted_from_inside,
        limits: start.size.clone(),
        boot_id: new_boot_id()?,
    };
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(&context).map_err(io::Error::other)?)
}

fn write_units(systemd: &Path) -> io::Result<()> {
    let units = systemd.join("system");
    let wanted = units.join("multi-user.target.wants");
    fs_err::create_dir_all(&wanted)?;
    fs_err::write(units.join(AGENT_UNIT), agent_unit(capability::may_raise_limits()))?;
    fs_err::write(units.join(AGENT_FAILED_UNIT), agent_failed_unit())?;
    symlink(Path::new("..").join(AGENT_UNIT), wanted.join(AGENT_UNIT))?;
    // Nobody sits at the console.
    symlink("/dev/null", units.join("console-getty.service"))?;
    let journal = systemd.join("journald.conf.d");
    fs_err::create_dir_all(&journal)?;
    fs_err::write(journal.join("muster.conf"), JOURNAL)
}

/// A tenth of the disk would be the default, and every node believes that the whole disk is its own.
const JOURNAL: &str = "[Journal]\nSystemMaxUse=64M\nRuntimeMaxUse=16M\n";

/// The agent comes once programs can be started by their sockets, and stays when the boot fails or is turned to
/// emergency mode, so that somebody can look. What it started for a step goes on when it is started again, as in a node
/// without systemd; the node ends with the exit code of our own init when it does not come up.
fn agent_unit(may_raise_limits: bool) -> String {
    let limits = if may_raise_limits { "OOMScoreAdjust=-900\n" } else { "" };
    format!(
        "[Unit]\n\
         Description=Muster agent\n\
         DefaultDependencies=no\n\
         After=basic.target\n\
         Before=shutdown.target\n\
         Conflicts=shutdown.target\n\
         IgnoreOnIsolate=yes\n\
         StartLimitIntervalSec=60\n\
         StartLimitBurst=5\n\
         OnFailure={AGENT_FAILED_UNIT}\n\
         \n\
         [Service]\n\
         ExecStart=/{OURS}/bin/muster node-agent\n\
         Restart=always\n\
         RestartSec=200ms\n\
         KillMode=process\n\
         TimeoutStopSec=3\n\
         TasksMax=infinity\n\
         StandardOutput=append:/dev/console\n\
         StandardError=append:/dev/console\n\
         Environment=HOME=/root container=muster\n\
         {limits}"
    )
}

/// Started when the agent has ended too often. `FailureAction=` of the agent's own unit would come at its first end.
fn agent_failed_unit() -> String {
    format!(
        "[Unit]\n\
         Description=End of a node whose agent does not come up\n\
         DefaultDependencies=no\n\
         SuccessAction=exit-force\n\
         SuccessActionExitStatus={failed}\n\
         \n\
         [Service]\n\
         Type=oneshot\n",
        failed = muster_sys::init::EXIT_WORKER_FAILED,
    )
}

/// Makes systemd of this process.
pub(crate) fn execute() -> Result<Infallible, NodeError> {
    let mut command = Command::new(SYSTEMD);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    // It then leaves alone what belongs to the machine, and does not colour its words.
    command.env("container", "muster").env("TERM", "dumb");
    command.stdin(Stdio::null());
    Err(system("execute systemd")(command.exec()))
}

/// What the agent that systemd has started begins with.
pub fn context() -> io::Result<NodeContext> {
    let ours = Path::new("/").join(OURS);
    let context: Context = serde_json::from_slice(&fs_err::read(ours.join(CONTEXT))?).map_err(io::Error::other)?;
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let ready = match nix::fcntl::open(&ours.join(READY), flags, nix::sys::stat::Mode::empty()) {
        // Nobody reads any more once the first agent of this boot has said so.
        Err(Errno::ENXIO) => Ok(None),
        ready => ready.map(Some).map_err(io::Error::from),
    };
    Ok(NodeContext {
        user_data: context.user_data,
        address: context.address,
        rebooted_from_inside: context.rebooted_from_inside,
        limits: context.limits,
        boot_id: context.boot_id,
        ready: Ready(ready),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_what_was_placed() {
        let folder = tempfile::tempdir().unwrap();
        write_units(folder.path()).unwrap();
        let units = folder.path().join("system");
        let wanted = units.join("multi-user.target.wants").join(AGENT_UNIT);
        let unit = fs_err::read_to_string(wanted).unwrap();
        assert!(unit.contains("\nExecStart=/run/muster/bin/muster node-agent\n"), "{unit}");
        assert!(unit.contains("\nOnFailure=muster-agent-failed.service\n"), "{unit}");
        let failed = fs_err::read_to_string(units.join(AGENT_FAILED_UNIT)).unwrap();
        assert!(failed.contains("\nSuccessActionExitStatus=70\n"), "{failed}");
        assert!(!agent_unit(false).contains("OOM") && agent_unit(true).contains("OOMScoreAdjust="));
        assert_eq!(fs_err::read_link(units.join("console-getty.service")).unwrap(), Path::new("/dev/null"));
    }
}
