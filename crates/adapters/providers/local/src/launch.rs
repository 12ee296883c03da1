//! Starting the process of one node: cgroup, namespaces, cable, root, and its first words.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_sys::spawn::{NamespaceChild, NamespaceCommand};
use nix::fcntl::OFlag;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::cgroup::Cgroups;
use crate::console::{self, Terminal};
use crate::layout::MachineFolder;
use crate::machine::Machine;
use crate::network::{NetworkError, Switch, port_name};
use crate::node_init::{NodeStart, Report};
use crate::record::Record;
use crate::settings::Init;
use crate::{shared, skeleton};

/// How long a node may take from its first instruction until its agent listens.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest line that a node says of itself.
const REPORT_BYTES_MAX: u64 = 16 << 10;
/// Lines of the console that tell why a node did not start.
const CONSOLE_LINES: usize = 5;

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
    #[error("systemd needs a cgroup v2 hierarchy, and this machine has none that can be used")]
    NoSystemdCgroup,
    #[error("the node ended before its agent listened; its console: {0}")]
    Ended(String),
    #[error("its agent did not listen within {limit} s; its console: {0}", limit = READY_TIMEOUT.as_secs())]
    TimedOut(String),
}

fn system(operation: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |source| LaunchError::System { operation, source }
}

/// What all nodes of a cluster share.
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) skeleton: PathBuf,
    /// Where folders that nodes share are kept.
    pub(crate) shared: PathBuf,
    pub(crate) prefix: u8,
    pub(crate) cgroups: Cgroups,
    pub(crate) switch: Switch,
}

/// A node whose process runs; it is ready once `wait_ready` says so.
pub(crate) struct Launched {
    pub(crate) child: NamespaceChild,
    pub(crate) hearing: Hearing,
    /// The console of a node with systemd.
    pub(crate) terminal: Option<Terminal>,
}

/// Where a starting node is heard.
pub(crate) struct Hearing {
    /// What its first code says; closed when that ends, or makes room for systemd.
    report: pipe::Receiver,
    /// What the agent of a node with systemd says.
    agent: Option<pipe::Receiver>,
    console: PathBuf,
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
        if record.init == Init::Systemd && !self.cgroups.can_run_systemd() {
            return Err(LaunchError::NoSystemdCgroup);
        }
        self.cgroups.create(group).map_err(system("make a cgroup"))?;
        self.cgroups.limit(group, &record.size).map_err(system("set the limits of a cgroup"))?;
        let output = Output::open(record.init, folder).map_err(system("open the node's console"))?;
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| system("make a pipe")(error.into()));
        let (start_read, start_write) = pipe()?;
        let (report, report_write) = pipe()?;
        let hearing = Hearing::open(report, record.init, folder).map_err(system("hear from a node"))?;
        let files = [start_read.as_fd(), output.file(), output.file(), report_write.as_fd()];
        // The folder is for people who read the list of processes.
        let arguments = ["node-init".as_ref(), folder.0.as_os_str()];
        let command =
            NamespaceCommand { program: &self.program, arguments: &arguments, files: &files, own_network: true };
        let child = command.spawn().map_err(system("start a process in new namespaces"))?;
        // The process waits for its start line, and ends without it; from here on every error must end it.
        let launched = Launched { child, hearing, terminal: output.into_terminal() };
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
        let start = self.start_of(record, folder, rebooted).map_err(system("make a folder that nodes share"))?;
        let text = serde_json::to_vec(&start).map_err(|error| system("write the start of a node")(error.into()))?;
        // Larger than a pipe's buffer it would block until the node reads, which it does at once.
        let write = move || std::fs::File::from(start_write).write_all(&text);
        let written =
            tokio::task::spawn_blocking(write).await.map_err(|error| system("write to a node")(error.into()))?;
        written.map_err(system("write to a node"))
    }

    fn start_of(&self, record: &Record, folder: &MachineFolder, rebooted: bool) -> io::Result<NodeStart> {
        let own_root = !record.lower.is_empty();
        let lower = if own_root { record.lower.clone() } else { vec![self.skeleton.clone()] };
        let shared = record.shared_folders.iter().map(|path| shared::ensure(&self.shared, path, &lower));
        Ok(NodeStart {
            hostname: record.name.to_string(),
            root: folder.root(),
            init: record.init,
            shared: shared.collect::<io::Result<_>>()?,
            lower,
            upper: folder.upper(),
            work: folder.work(),
            binds: if own_root { Vec::new() } else { skeleton::binds() },
            hosts: folder.hosts(),
            ready: folder.ready(),
            address: record.address,
            prefix: self.prefix,
            size: record.size.clone(),
            user_data: record.user_data.clone(),
            rebooted_from_inside: rebooted,
        })
    }
}

/// Where the first code of a node writes.
enum Output {
    File(File),
    Terminal(Terminal),
}

impl Output {
    fn open(init: Init, folder: &MachineFolder) -> io::Result<Self> {
        Ok(match init {
            Init::Agent => Self::File(console::open(&folder.console())?),
            Init::Systemd => Self::Terminal(Terminal::open(folder.console())?),
        })
    }

    fn file(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Terminal(terminal) => terminal.node_end().as_fd(),
        }
    }

    fn into_terminal(self) -> Option<Terminal> {
        match self {
            Self::File(_) => None,
            Self::Terminal(terminal) => Some(terminal),
        }
    }
}

impl Launched {
    pub(crate) fn kill(&self) {
        // It may have ended by itself; the pidfd cannot name anybody else.
        muster_sys::process::kill_pidfd(self.child.pidfd.as_fd()).ok();
    }
}

impl Hearing {
    fn open(report: OwnedFd, init: Init, folder: &MachineFolder) -> io::Result<Self> {
        let agent = match init {
            Init::Agent => None,
            Init::Systemd => Some(fifo(&folder.ready())?),
        };
        Ok(Self { report: pipe::Receiver::from_owned_fd(report)?, agent, console: folder.console() })
    }

    /// Waits until the agent listens.
    pub(crate) async fn wait_ready(self, machine: &Machine) -> Result<(), LaunchError> {
        let Self { report, agent, console } = self;
        let tail = || match console::tail(&console, CONSOLE_LINES).unwrap_or_default().join(" | ") {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text,
        };
        let heard = async {
            match (next(report).await?, agent) {
                (Some(report), _) => Ok(Some(report)),
                (None, None) => Ok(None),
                (None, Some(agent)) => tokio::select! {
                    // Once it has ended there is nothing more to hear.
                    () = machine.wait_ended() => Ok(None),
                    heard = next(agent) => heard,
                },
            }
        };
        match tokio::time::timeout(READY_TIMEOUT, heard).await {
            Err(_) => Err(LaunchError::TimedOut(tail())),
            Ok(Err(error)) => Err(system("hear from a node")(error)),
            Ok(Ok(Some(Report::Ready))) => Ok(()),
            Ok(Ok(Some(Report::Failed(reason)))) => Err(LaunchError::Node(reason)),
            Ok(Ok(None)) => Err(LaunchError::Ended(tail())),
        }
    }
}

/// The next thing that a node says; `None` when there is nobody left to say anything.
async fn next(file: impl AsyncRead + Unpin) -> io::Result<Option<Report>> {
    let mut line = String::new();
    BufReader::new(file.take(REPORT_BYTES_MAX)).read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(io::Error::other)
}

/// Made anew, so that nothing of an earlier start is in it. Open for writing too, so that it does not end before the
/// agent has opened it.
fn fifo(path: &Path) -> io::Result<pipe::Receiver> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}
