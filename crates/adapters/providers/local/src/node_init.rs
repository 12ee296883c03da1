//! The first code of a node: builds its root, raises its links, and stays as its PID 1 or makes room for systemd.

use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use muster_provider::Size;
use muster_stdx::{Supervisor, chain};
use muster_sys::mount;
use muster_types::Redacted;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use crate::settings::Init;
use crate::shared::SharedFolder;
use crate::{network, node_root, node_systemd};

/// The file that the shepherd hears on: one line, see `Report`.
pub(crate) const REPORT_FILE: i32 = 3;

/// What a node is started with; comes as JSON on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeStart {
    pub(crate) hostname: String,
    /// Where the root is put together, in this node's own mount namespace.
    pub(crate) root: PathBuf,
    pub(crate) init: Init,
    /// The top one first.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Shown read-only at the same path.
    pub(crate) binds: Vec<PathBuf>,
    pub(crate) shared: Vec<SharedFolder>,
    pub(crate) hosts: PathBuf,
    /// Where a node with systemd is heard from: a FIFO.
    pub(crate) ready: PathBuf,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) size: Size,
    pub(crate) user_data: Redacted<String>,
    pub(crate) rebooted_from_inside: bool,
}

/// What the shepherd hears from a starting node.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Ready,
    Failed(String),
}

/// What the agent of a node starts with.
#[derive(Debug)]
pub struct NodeContext {
    pub user_data: Redacted<String>,
    pub address: Ipv4Addr,
    pub rebooted_from_inside: bool,
    /// What the node is limited to, where it is.
    pub limits: Size,
    /// New with every start of the node, and the same for an agent that was started again in it.
    pub boot_id: String,
    /// The agent says here, once, that it listens.
    pub ready: Ready,
}

/// Tells the shepherd that the node can be dialled.
#[derive(Debug)]
pub struct Ready(pub(crate) io::Result<Option<OwnedFd>>);

impl Ready {
    /// Says nothing where it has been said before in this start of the node.
    pub fn say(self) -> io::Result<()> {
        self.0?.map_or(Ok(()), |file| report(file, &Report::Ready))
    }
}

fn report(file: OwnedFd, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report).map_err(io::Error::other)?;
    line.push(b'\n');
    std::fs::File::from(file).write_all(&line)
}

/// Runs as PID 1 of fresh namespaces until the node ends; returns the exit code. `agent` runs in a child, again each
/// time it ends. The calling process must have one thread.
pub fn run(mut agent: impl FnMut(NodeContext) -> i32) -> io::Result<i32> {
    let report_file = muster_sys::spawn::inherited(REPORT_FILE)?;
    let prepared = prepare();
    // On success systemd takes this process over, and the report's file is closed without a word.
    let prepared = match prepared {
        Ok(start) if start.init == Init::Systemd => node_systemd::execute().map(|never| match never {}),
        prepared => prepared,
    };
    let start = match prepared {
        Ok(start) => start,
        Err(error) => {
            report(report_file, &Report::Failed(chain(&error)))?;
            return Err(io::Error::other(error));
        }
    };
    let boot_id = new_boot_id()?;
    muster_sys::init::run(|| {
        agent(NodeContext {
            boot_id: boot_id.clone(),
            user_data: start.user_data.clone(),
            address: start.address,
            rebooted_from_inside: start.rebooted_from_inside,
            limits: start.size.clone(),
            ready: Ready(report_file.try_clone().map(Some)),
        })
    })
}

pub(crate) fn new_boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("cannot read what the node starts with")]
    Read(#[source] io::Error),
    #[error("cannot {operation}")]
    System {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("its image has no systemd; give the group `local: {{ init: agent }}`, or an image with it")]
    NoSystemd,
    #[error("the node's root cannot be built")]
    Mount(#[source] mount::MountError),
    #[error("the node's network cannot be raised")]
    Network(#[source] network::NetworkError),
}

impl From<mount::MountError> for NodeError {
    fn from(error: mount::MountError) -> Self {
        Self::Mount(error)
    }
}

pub(crate) fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> NodeError {
    move |source| NodeError::System { operation, source: source.into() }
}

fn prepare() -> Result<NodeStart, NodeError> {
    let mut text = Vec::new();
    // The shepherd writes once this process is in its cgroup and has its cable; an end without a line means that the
    // shepherd is gone.
    io::stdin().read_to_end(&mut text).map_err(NodeError::Read)?;
    let start: NodeStart = serde_json::from_slice(&text).map_err(|error| NodeError::Read(error.into()))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(system("enter a cgroup namespace"))?;
    nix::unistd::sethostname(&start.hostname).map_err(system("set the host name"))?;
    node_root::build(&start)?;
    node_systemd::show_program(&start.root)?;
    if start.init == Init::Systemd {
        node_systemd::equip(&start)?;
    }
    mount::pivot(&start.root)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Only now: a link in the node's own tree must not lead out of it.
    fs_err::write("/etc/hostname", format!("{}\n", start.hostname)).map_err(system("write the host name"))?;
    raise_links(&start)?;
    muster_sys::capability::drop_dangerous().map_err(system("give up capabilities"))?;
    Ok(start)
}

fn raise_links(start: &NodeStart) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start a runtime for the network"))?;
    let supervisor = Supervisor::new();
    let result = runtime.block_on(network::configure_node(start.address, start.prefix, &supervisor));
    supervisor.token().cancel();
    result.map_err(NodeError::Network)
}
