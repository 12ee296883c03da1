//! What an agent is started with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use muster_api::Bootstrap;

/// Called once, when the agent listens.
pub type Ready = Box<dyn FnOnce() + Send>;

pub struct AgentConfig {
    pub bootstrap: Bootstrap,
    /// Made on demand, 0700.
    pub state_dir: PathBuf,
    /// `/`; another folder stands for the node in tests, see `ApplierConfig`.
    pub root: PathBuf,
    pub listen: SocketAddr,
    /// New with every start of the machine; `None` makes one from the kernel's and the start of PID 1.
    pub boot_id: Option<String>,
    /// Whether this start of the machine was asked for on the machine itself.
    pub rebooted_from_inside: bool,
    pub ready: Option<Ready>,
    pub limits: AgentLimits,
    /// What whoever started the node lets it use.
    pub node_limits: NodeLimits,
}

/// What a node may use where it cannot see that itself; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NodeLimits {
    pub memory_bytes: Option<u64>,
    /// Processors, or parts of one.
    pub cpus: Option<f64>,
}

impl AgentConfig {
    /// The usual folder, every IPv4 address, and the port of the bootstrap document.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), bootstrap.port),
            bootstrap,
            state_dir: PathBuf::from("/var/lib/muster"),
            root: PathBuf::from("/"),
            boot_id: None,
            rebooted_from_inside: false,
            ready: None,
            limits: AgentLimits::default(),
            node_limits: NodeLimits::default(),
        }
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("node", &self.bootstrap.node)
            .field("state_dir", &self.state_dir)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// How much an agent takes at once.
#[derive(Debug, Clone)]
pub struct AgentLimits {
    /// Connections whose handshake is not over; the oldest gives way to a newer one.
    pub handshakes: usize,
    pub handshake: Duration,
    /// Connections of operators.
    pub connections: usize,
    /// Connections of anybody else with a certificate: they are told that they may not, and no more.
    pub strangers: usize,
    /// Commands that run at once.
    pub execs: usize,
    /// A connection without a request for this long is closed.
    pub idle: Duration,
    /// From the head of a request to the end of its body.
    pub body: Duration,
    /// A stream without an event for this long gets a blank line.
    pub heartbeat: Duration,
    /// How long tasks may take to end.
    pub shutdown: Duration,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            handshakes: 32,
            handshake: Duration::from_secs(5),
            connections: 64,
            strangers: 8,
            execs: 32,
            idle: Duration::from_secs(30),
            body: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            shutdown: Duration::from_secs(5),
        }
    }
}
