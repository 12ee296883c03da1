//! The first code of a node: builds its root, raises its links, and stays as its PID 1.

use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use muster_stdx::{Supervisor, chain};
use muster_sys::mount;
use muster_types::Redacted;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use crate::network;

/// The file that the shepherd hears on: one line, see `Report`.
pub(crate) const REPORT_FILE: i32 = 3;

/// What a node is started with; comes as JSON on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NodeStart {
    pub(crate) hostname: String,
    /// Where the root is put together, in this node's own mount namespace.
    pub(crate) root: PathBuf,
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Shown read-only at the same path.
    pub(crate) binds: Vec<PathBuf>,
    pub(crate) hosts: PathBuf,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
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
    /// New with every start of the node, and the same for an agent that was started again in it.
    pub boot_id: String,
    /// The agent says here, once, that it listens.
    pub ready: Ready,
}

/// Tells the shepherd that the node can be dialled.
#[derive(Debug)]
pub struct Ready(io::Result<OwnedFd>);

impl Ready {
    pub fn say(self) -> io::Result<()> {
        report(self.0?, &Report::Ready)
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
    let start = match prepare() {
        Ok(start) => start,
        Err(error) => {
            report(report_file, &Report::Failed(chain(&error)))?;
            return Err(io::Error::other(error));
        }
    };
    let boot_id = fs_err::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
    muster_sys::init::run(|| {
        agent(NodeContext {
            boot_id: boot_id.clone(),
            user_data: start.user_data.clone(),
            address: start.address,
            rebooted_from_inside: start.rebooted_from_inside,
            ready: Ready(report_file.try_clone()),
        })
    })
}

#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error("cannot read what the node starts with")]
    Read(#[source] io::Error),
    #[error("cannot {operation}")]
    System {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
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

fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> NodeError {
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
    build_root(&start)?;
    mount::pivot(&start.root)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    raise_links(&start)?;
    muster_sys::capability::drop_dangerous().map_err(system("give up capabilities"))?;
    Ok(start)
}

fn build_root(start: &NodeStart) -> Result<(), NodeError> {
    mount::make_private()?;
    let lower: Vec<&Path> = start.lower.iter().map(PathBuf::as_path).collect();
    mount::overlay(&lower, &start.upper, &start.work, &start.root)?;
    let inside = |path: &Path| start.root.join(path.strip_prefix("/").unwrap_or(path));
    for path in &start.binds {
        mount::bind_read_only(path, &inside(path))?;
    }
    mount::bind(&start.hosts, &start.root.join("etc/hosts"))?;
    fs_err::write(start.root.join("etc/hostname"), format!("{}\n", start.hostname))
        .map_err(system("write the host name"))?;
    devices(&start.root.join("dev"))?;
    kernel_file_systems(&start.root)?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount::pseudo("tmpfs", &start.root.join("run"), plain, "mode=755,size=20%")?;
    fs_err::create_dir(start.root.join("run/lock")).map_err(system("make /run/lock"))
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
