//! Starting the process of one node: cgroup, namespaces, cable, root, and its first words.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_sys::spawn::{NamespaceChild, NamespaceCommand};
use nix::fcntl::OFlag;
use tokio::io::AsyncBufReadExt as _;

use crate::cgroup::Cgroups;
use crate::layout::MachineFolder;
use crate::network::{NetworkError, Switch, port_name};
use crate::node_init::{NodeStart, Report};
use crate::record::Record;

/// How long a node may take from its first instruction until its agent listens.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Console output that is kept when a node starts again.
const CONSOLE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("cannot {operation}")]
    System {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot connect the node to the switch")]
    Network(#[source] NetworkError),
    #[error("this machine cannot limit memory or CPU: it has no memory controller among its cgroups")]
    NoLimits,
    #[error("the node could not build itself: {0}")]
    Node(String),
    #[error("the node ended before its agent listened; its console: {0}")]
    Ended(String),
    #[error("its agent did not listen within {} s", READY_TIMEOUT.as_secs())]
    TimedOut,
}

fn system(operation: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |source| LaunchError::System { operation, source }
}

/// What all nodes of a cluster share.
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) skeleton: PathBuf,
    pub(crate) binds: Vec<PathBuf>,
    pub(crate) prefix: u8,
    pub(crate) cgroups: Cgroups,
    pub(crate) switch: Switch,
}

/// A node whose process runs; it is ready once `wait_ready` says so.
pub(crate) struct Launched {
    pub(crate) child: NamespaceChild,
    report: OwnedFd,
}

impl Launcher {
    /// Starts the process. On an error nothing of it is left but its cgroup.
    pub(crate) async fn launch(
        &self,
        record: &Record,
        folder: &MachineFolder,
        rebooted: bool,
    ) -> Result<Launched, LaunchError> {
        let group = record.id.as_str();
        let wants_limits = record.size.memory.is_some() || record.size.cpus.is_some();
        if wants_limits && !self.cgroups.can_limit() {
            return Err(LaunchError::NoLimits);
        }
        self.cgroups.create(group).map_err(system("make a cgroup"))?;
        self.cgroups.limit(group, &record.size).map_err(system("set the limits of a cgroup"))?;
        let console = open_console(&folder.console()).map_err(system("open the node's console"))?;
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| system("make a pipe")(error.into()));
        let (start_read, start_write) = pipe()?;
        let (report, report_write) = pipe()?;
        let files = [start_read.as_fd(), console.as_fd(), console.as_fd(), report_write.as_fd()];
        // The folder is for people who read the list of processes.
        let arguments = ["node-init".as_ref(), folder.0.as_os_str()];
        let command = NamespaceCommand { program: &self.program, arguments: &arguments, files: &files };
        let child = command.spawn().map_err(system("start a process in new namespaces"))?;
        // The process waits for its start line, and ends without it; from here on every error must end it.
        let launched = Launched { child, report };
        match self.equip(&launched, record, folder, rebooted, start_write).await {
            Ok(()) => Ok(launched),
            Err(error) => {
                launched.kill();
                // Just killed, so this does not wait for long.
                nix::sys::wait::waitpid(launched.child.pid, None).ok();
                Err(error)
            }
        }
    }

    async fn equip(
        &self,
        launched: &Launched,
        record: &Record,
        folder: &MachineFolder,
        rebooted: bool,
        start_write: OwnedFd,
    ) -> Result<(), LaunchError> {
        let pid = launched.child.pid.as_raw().cast_unsigned();
        self.cgroups.add(record.id.as_str(), pid).map_err(system("put the node into its cgroup"))?;
        let plugged = self.switch.plug(&port_name(record.index), pid, record.address).await;
        plugged.map_err(LaunchError::Network)?;
        let start = NodeStart {
            hostname: record.name.to_string(),
            root: folder.root(),
            lower: vec![self.skeleton.clone()],
            upper: folder.upper(),
            work: folder.work(),
            binds: self.binds.clone(),
            hosts: folder.hosts(),
            address: record.address,
            prefix: self.prefix,
            user_data: record.user_data.clone(),
            rebooted_from_inside: rebooted,
        };
        let text = serde_json::to_vec(&start).map_err(|error| system("write the start of a node")(error.into()))?;
        // Larger than a pipe's buffer it would block until the node reads, which it does at once.
        let write = move || std::fs::File::from(start_write).write_all(&text);
        let written =
            tokio::task::spawn_blocking(write).await.map_err(|error| system("write to a node")(error.into()))?;
        written.map_err(system("write to a node"))
    }
}

impl Launched {
    pub(crate) fn kill(&self) {
        // It may have ended by itself; the pidfd cannot name anybody else.
        muster_sys::process::kill_pidfd(self.child.pidfd.as_fd()).ok();
    }

    /// Waits until the agent listens. The report's file is closed afterwards.
    pub(crate) async fn wait_ready(report: OwnedFd, folder: &MachineFolder) -> Result<(), LaunchError> {
        let file = tokio::net::unix::pipe::Receiver::from_owned_fd(report).map_err(system("hear from a node"))?;
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(file);
        let read = tokio::time::timeout(READY_TIMEOUT, reader.read_line(&mut line));
        let length = read.await.map_err(|_| LaunchError::TimedOut)?.map_err(system("hear from a node"))?;
        if length == 0 {
            let tail = console_tail(&folder.console(), 5).unwrap_or_default().join(" | ");
            return Err(LaunchError::Ended(if tail.is_empty() { "(empty)".to_owned() } else { tail }));
        }
        match serde_json::from_str(&line) {
            Ok(Report::Ready) => Ok(()),
            Ok(Report::Failed(reason)) => Err(LaunchError::Node(reason)),
            Err(error) => Err(system("understand a node")(error.into())),
        }
    }

    pub(crate) fn into_parts(self) -> (NamespaceChild, OwnedFd) {
        (self.child, self.report)
    }
}

fn open_console(path: &Path) -> io::Result<std::fs::File> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > CONSOLE_BYTES_MAX) {
        fs_err::rename(path, path.with_extension("log.old"))?;
    }
    muster_stdx::append_private(path).map(|file| file.into_parts().0)
}

/// The last lines of a console; at most the last 64 KiB are read.
pub(crate) fn console_tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(64 << 10)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}
