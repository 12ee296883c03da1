//! An agent from its settings to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_gossip::Event;
use muster_gossip_net::{Notice, SnapshotFile, Sockets};
use muster_stdx::{OnError, Supervisor};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fanout::Fanout;
use super::files;
use super::handle::{Handle, Shared};
use super::handlers::{GossipAnswer, Handlers, Worker};
use super::log::{Level, Log, Syslog};
use super::settings::{AgentError, Settings, StartError};
use super::{joins, mdns, words};
use crate::rpc::server;

/// Tasks have this long to end.
const END: Duration = Duration::from_secs(2);

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Because it was asked to.
    Done,
    /// It could not go on.
    Failed,
}

/// An agent that is bound to its addresses and does not run yet.
pub struct Agent {
    pub(crate) settings: Settings,
    handle: Handle,
    supervisor: Supervisor,
    gossip: muster_gossip_net::Service,
    notices: mpsc::Receiver<Notice>,
    snapshot: Vec<SocketAddr>,
    gossip_address: SocketAddr,
    listeners: Listeners,
}

#[derive(Default)]
struct Listeners {
    rpc: Option<TcpListener>,
    socket: Option<(UnixListener, server::SocketPath)>,
    metrics: Option<TcpListener>,
}

impl Agent {
    /// Reads the files that the settings name, and binds the gossip's sockets.
    pub async fn build(mut settings: Settings, log: Log) -> Result<Self, AgentError> {
        if settings.config.enable_syslog {
            let facility = settings.config.syslog_facility.as_deref().unwrap_or("LOCAL0");
            log.set_syslog(Syslog::connect(facility)?);
        }
        log.line(Level::Info, "agent: Serf agent starting");
        settings.load_tags()?;
        let keyring = settings.keyring()?;
        settings.check()?;
        let sockets = Sockets::bind(settings.bind).await.map_err(|error| bind_error(settings.bind, &error))?;
        let gossip_address = sockets.address();
        let snapshot = open_snapshot(&settings)?;
        let known =
            snapshot.iter().flat_map(|file| file.snapshot().alive()).filter(|(name, _)| **name != settings.name);
        let known: Vec<SocketAddr> = known.map(|(_, address)| *address).collect();
        let mut advertise = settings.advertise;
        if advertise.port() == 0 {
            advertise.set_port(gossip_address.port());
        }
        settings.advertise = advertise;
        let mut config = muster_gossip::Config::new(settings.name.clone(), advertise);
        config.tags.clone_from(&settings.config.tags);
        config.protocol = settings.protocol;
        config.coordinates = !settings.config.disable_coordinates;
        config.keyring = keyring;
        config.compress = settings.compress;
        config.timing = settings.timing;
        config.serf = settings.serf;
        config.coalesce = settings.coalesce;
        let (gossip, handle, notices) =
            muster_gossip_net::build(config, sockets, snapshot).map_err(StartError::Gossip)?;
        let supervisor = Supervisor::new();
        let handle = Handle(Arc::new(share(&settings, log, handle, &supervisor, gossip_address.port())));
        let listeners = Listeners::default();
        Ok(Self { settings, handle, supervisor, gossip, notices, snapshot: known, gossip_address, listeners })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Binds the RPC and the figures; where the RPC is reached.
    pub async fn listen(&mut self) -> Result<SocketAddr, AgentError> {
        let failed = |address: SocketAddr, error: &std::io::Error| {
            let reason = bind_reason(error);
            format!("listen tcp {address}: bind: {reason}")
        };
        let address = self.settings.rpc;
        let rpc = TcpListener::bind(address).await.map_err(|error| AgentError::Rpc(failed(address, &error)))?;
        let address = rpc.local_addr().map_err(|error| AgentError::Rpc(error.to_string()))?;
        self.listeners.rpc = Some(rpc);
        if let Some(path) = &self.settings.config.rpc_socket {
            let bound = server::bind_socket(path).await.map_err(|error| AgentError::Rpc(error.to_string()))?;
            self.listeners.socket = Some(bound);
        }
        if let Some(address) = self.settings.metrics {
            let bound = TcpListener::bind(address).await;
            self.listeners.metrics = Some(bound.map_err(|error| AgentError::Metrics(failed(address, &error)))?);
        }
        Ok(address)
    }

    /// Where it hears the gossip, with the port that was chosen.
    pub fn gossip_address(&self) -> SocketAddr {
        self.gossip_address
    }

    /// Where figures are shown.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.listeners.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Until it is asked to end: by the token, by the RPC, or because somebody else has its name.
    pub async fn run(mut self, token: CancellationToken) -> Ended {
        let end = self.handle.0.end.clone();
        // The gossip outlives the others: what they have told it must still leave.
        let gossip_end = CancellationToken::new();
        let gossip_tasks = Supervisor::new();
        let (gossip, gossip_token) = (self.gossip, gossip_end.clone());
        gossip_tasks.spawn("gossip", OnError::Shutdown, async move {
            gossip.run(gossip_token).await;
            Ok::<_, Infallible>(())
        });
        let listeners = std::mem::take(&mut self.listeners);
        serve(&self.supervisor, &self.handle, listeners);
        joins::start(&self.supervisor, &self.handle, &self.settings, std::mem::take(&mut self.snapshot));
        mdns::start(&self.supervisor, &self.handle, &self.settings);
        loop {
            // Losing a notice is the end; the others lose nothing.
            tokio::select! {
                () = token.cancelled() => break,
                () = end.cancelled() => break,
                notice = self.notices.recv() => match notice {
                    Some(notice) => noticed(&self.handle, notice).await,
                    None => break,
                },
            }
        }
        self.supervisor.shutdown(END).await;
        gossip_end.cancel();
        gossip_tasks.shutdown(END).await;
        self.handle.log().line(Level::Info, "agent: shutdown complete");
        if self.handle.0.failed.load(Ordering::Relaxed) { Ended::Failed } else { Ended::Done }
    }
}

fn share(
    settings: &Settings,
    log: Log,
    gossip: muster_gossip_net::Handle,
    supervisor: &Supervisor,
    port: u16,
) -> Shared {
    let worker = Worker {
        gossip: GossipAnswer(gossip.clone()),
        log: log.clone(),
        limit: settings.handler_timeout,
        supervisor: supervisor.clone(),
    };
    Shared {
        gossip,
        log,
        handlers: Handlers::new(worker, settings.handlers.clone()),
        fanout: Fanout::default(),
        name: settings.name.clone(),
        tags: Mutex::new(Arc::new(settings.config.tags.clone())),
        tags_file: settings.config.tags_file.clone(),
        keyring_file: settings.config.keyring_file.clone(),
        rpc_auth: settings.rpc_auth.clone(),
        port,
        end: CancellationToken::new(),
        failed: AtomicBool::new(false),
        ip: settings.advertise.ip(),
    }
}

fn serve(supervisor: &Supervisor, handle: &Handle, listeners: Listeners) {
    if let Some(listener) = listeners.rpc {
        supervisor.spawn("rpc", OnError::Shutdown, server::serve_tcp(listener, handle.clone(), supervisor.clone()));
    }
    if let Some((listener, path)) = listeners.socket {
        let serving = server::serve_unix(listener, path, handle.clone(), supervisor.clone());
        supervisor.spawn("rpc socket", OnError::Shutdown, serving);
    }
    if let Some(listener) = listeners.metrics {
        supervisor.spawn("figures", OnError::Log, crate::figures::serve(listener, handle.clone()));
    }
}

async fn noticed(handle: &Handle, notice: Notice) {
    let log = handle.log();
    match notice {
        Notice::Changed { kind, member } => {
            log.line(Level::Info, words::change(kind, &member));
        }
        Notice::Warning(warning) => {
            let (level, text) = words::warning(&warning);
            log.line(level, text);
        }
        Notice::Snapshot(error) => log.line(Level::Err, format!("serf: Failed to update snapshot: {error}")),
        Notice::Event(event) => happened(handle, event).await,
    }
}

async fn happened(handle: &Handle, event: Event) {
    let log = handle.log();
    match &event {
        Event::KeysChanged => return keys_changed(handle).await,
        Event::NameTaken { matching, responses } => {
            let text = format!("serf: minority in name conflict resolution, quitting [{matching} / {responses}]");
            log.line(Level::Warn, text);
            log.line(Level::Warn, "agent: Serf shutdown detected, quitting");
            return handle.0.end.cancel();
        }
        _ => {}
    }
    let Some(line) = words::event(&event) else { return };
    log.line(Level::Info, line);
    let event = Arc::new(event);
    handle.0.handlers.dispatch(&event, &handle.own());
    let lost = handle.0.fanout.tell(&event);
    if lost > 0 {
        log.line(Level::Warn, format!("agent.ipc: Dropping event to client: {lost} streams are too slow"));
    }
}

async fn keys_changed(handle: &Handle) {
    let Some(path) = &handle.0.keyring_file else { return };
    let Ok(Some(keyring)) = handle.0.gossip.with(|gossip, _| gossip.keyring().cloned()).await else { return };
    if let Err(error) = files::write_keyring(path, &keyring) {
        handle.log().line(Level::Err, format!("serf: Failed to update keyring file: {error}"));
    }
}

fn open_snapshot(settings: &Settings) -> Result<Option<SnapshotFile>, StartError> {
    let Some(path) = &settings.snapshot else { return Ok(None) };
    let opened = SnapshotFile::open(path, settings.config.rejoin_after_leave);
    opened.map(Some).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let text = || format!("open {}: no such file or directory", path.display());
        StartError::Snapshot(if missing { text() } else { error.to_string() })
    })
}

fn bind_error(address: SocketAddr, error: &muster_gossip_net::BindError) -> StartError {
    let (kind, source) = match error {
        muster_gossip_net::BindError::Tcp { source, .. } => ("TCP", source),
        muster_gossip_net::BindError::Udp { source, .. } => ("UDP", source),
    };
    let (ip, port, reason) = (address.ip(), address.port(), bind_reason(source));
    let lower = kind.to_lowercase();
    StartError::Bind(format!(
        "Failed to start {kind} listener on \"{ip}\" port {port}: listen {lower} {address}: bind: {reason}"
    ))
}

fn bind_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
