//! What may be asked of an agent that runs: by its RPC, by signals, by the program it is part of. Cheap to clone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muster_gossip::{
    ConfigError, Coordinate, EventError, JoinOptions, KeyOperation, KeyReport, Member, QueryError, QueryId,
    QueryRequest, RemoveError, RespondError,
};
use muster_gossip_net::{Answers, Reason, Stopped};
use muster_types::Redacted;
use tokio_util::sync::CancellationToken;

use super::addresses;
use super::fanout::Fanout;
use super::files::{self, Base64Error, FilesError};
use super::handlers::{Handlers, Own};
use super::log::{Level, Log};
use super::settings::{AgentError, Reloadable};
use super::{Config, stats};

/// Why something that was asked for failed, in Serf's words.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{}", joined(.0))]
    Join(Vec<String>),
    #[error(transparent)]
    Tags(#[from] ConfigError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("timeout waiting for update broadcast")]
    TagsLate,
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error("timed out broadcasting node removal")]
    RemoveLate,
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("{}", muster_stdx::chain(.0))]
    Query(#[from] QueryError),
    #[error(transparent)]
    Respond(#[from] RespondError),
    #[error(transparent)]
    Key(#[from] Base64Error),
}

/// As Go's library for several errors writes it.
fn joined(errors: &[String]) -> String {
    let head =
        if errors.len() == 1 { "1 error occurred:".to_owned() } else { format!("{} errors occurred:", errors.len()) };
    format!("{head}\n\t* {}\n\n", errors.join("\n\t* "))
}

#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) gossip: muster_gossip_net::Handle,
    pub(crate) log: Log,
    pub(crate) handlers: Handlers,
    pub(crate) fanout: Fanout,
    pub(crate) name: String,
    /// Of this agent, as handlers are told them.
    pub(crate) tags: Mutex<Arc<BTreeMap<String, String>>>,
    pub(crate) tags_file: Option<PathBuf>,
    pub(crate) keyring_file: Option<PathBuf>,
    pub(crate) rpc_auth: Option<Redacted<String>>,
    /// For addresses without one.
    pub(crate) port: u16,
    /// The agent is to end.
    pub(crate) end: CancellationToken,
    pub(crate) failed: AtomicBool,
    pub(crate) ip: IpAddr,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Agent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Handle {
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where members reach this one, without the port.
    pub fn ip(&self) -> IpAddr {
        self.0.ip
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(crate) fn own(&self) -> Own {
        let tags = self.0.tags.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Own { name: self.0.name.clone(), tags }
    }

    /// In the order of their names.
    pub async fn members(&self) -> Result<Vec<Member>, HandleError> {
        Ok(self.0.gossip.with(|gossip, _| gossip.members().cloned().collect()).await?)
    }

    /// Why a member is suspected or failed.
    pub fn reason(&self, name: &str) -> Option<Reason> {
        self.0.gossip.metrics().reason(name)
    }

    /// How many addresses answered; an error only if none did.
    pub async fn join(&self, addresses: &[String], replay: bool) -> Result<usize, HandleError> {
        let log = &self.0.log;
        log.line(Level::Info, format!("agent: joining: [{}] replay: {replay}", addresses.join(" ")));
        let (found, unresolved) = addresses::resolve_all(addresses, self.0.port).await;
        let joined = self.0.gossip.join(found, JoinOptions { replay }).await?;
        let failed = joined.failures.iter().map(|failure| {
            let ip = failure.address.ip();
            format!("Failed to join {ip}: {}", dial_reason(&failure.address.to_string(), &failure.reason))
        });
        let errors = failed.chain(unresolved).collect();
        if joined.contacted > 0 {
            log.line(Level::Info, format!("agent: joined: {} nodes", joined.contacted));
            return Ok(joined.contacted);
        }
        let error = HandleError::Join(errors);
        log.line(Level::Warn, format!("agent: error joining: {error}"));
        Err(error)
    }

    /// Tells others that this agent goes; it does not end by that.
    pub async fn leave(&self) -> Result<(), HandleError> {
        self.0.log.line(Level::Info, "agent: requesting graceful leave from Serf");
        Ok(self.0.gossip.leave().await?)
    }

    /// The agent ends, without telling others.
    pub fn shut_down(&self) {
        if !self.0.end.is_cancelled() {
            self.0.log.line(Level::Info, "agent: requesting serf shutdown");
            self.0.end.cancel();
        }
    }

    /// As `shut_down`, and the agent counts as failed.
    pub(crate) fn fail(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
        self.0.end.cancel();
    }

    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), HandleError> {
        self.0.log.line(Level::Info, format!("agent: Force leaving node: {name}"));
        match self.0.gossip.remove(name.to_owned(), prune).await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(HandleError::RemoveLate),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets tags and removes others.
    pub async fn update_tags(&self, set: BTreeMap<String, String>, delete: &[String]) -> Result<(), HandleError> {
        let mut tags = BTreeMap::clone(&self.own().tags);
        tags.retain(|tag, _| !delete.contains(tag));
        tags.extend(set);
        self.replace_tags(tags).await
    }

    pub(crate) async fn replace_tags(&self, tags: BTreeMap<String, String>) -> Result<(), HandleError> {
        if let Some(path) = &self.0.tags_file {
            files::write_tags(path, &tags)?;
        }
        let told = self.0.gossip.set_tags(tags.clone()).await??;
        *self.0.tags.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(tags);
        if told { Ok(()) } else { Err(HandleError::TagsLate) }
    }

    pub async fn user_event(&self, name: String, payload: Vec<u8>, coalesce: bool) -> Result<(), HandleError> {
        let shown = String::from_utf8_lossy(&payload).into_owned();
        let line = format!("agent: Requesting user event send: {name}. Coalesced: {coalesce}. Payload: {shown:?}");
        self.0.log.line(Level::Debug, line);
        let sent = self.0.gossip.with(move |gossip, now| gossip.user_event(now, &name, &payload, coalesce)).await?;
        sent.map(drop).map_err(HandleError::Event)
    }

    pub async fn query(&self, request: QueryRequest) -> Result<Answers, HandleError> {
        let (name, shown) = (&request.name, String::from_utf8_lossy(&request.payload));
        self.0.log.line(Level::Debug, format!("agent: Requesting query send: {name}. Payload: {shown:?}"));
        Ok(self.0.gossip.query(request).await??)
    }

    pub async fn respond(&self, query: QueryId, payload: Vec<u8>) -> Result<(), HandleError> {
        let answered = self.0.gossip.with(move |gossip, now| gossip.respond(now, query, payload)).await?;
        answered.map_err(HandleError::Respond)
    }

    /// On all members.
    pub async fn change_keys(&self, operation: KeyOperation) -> Result<KeyReport, HandleError> {
        let what = match operation {
            KeyOperation::Install(_) => "key installation",
            KeyOperation::Use(_) => "primary key change",
            KeyOperation::Remove(_) => "key removal",
            KeyOperation::List => "key listing",
        };
        self.0.log.line(Level::Info, format!("agent: Initiating {what}"));
        Ok(self.0.gossip.change_keys(operation).await??)
    }

    pub async fn coordinate(&self, name: String) -> Result<Option<Coordinate>, HandleError> {
        Ok(self.0.gossip.with(move |gossip, _| gossip.coordinate(&name).cloned()).await?)
    }

    /// Sections with keys and values.
    pub async fn stats(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>, HandleError> {
        let stats = self.0.gossip.with(|gossip, _| gossip.stats()).await?;
        Ok(stats::sections(&self.own(), &self.0.handlers.shown(), &stats))
    }

    /// Figures for Prometheus.
    pub async fn figures(&self) -> Result<String, HandleError> {
        let stats = self.0.gossip.with(|gossip, _| gossip.stats()).await?;
        Ok(self.0.gossip.metrics().render(&stats))
    }

    /// Log level, handlers and tags as a configuration says; what was set over the RPC is gone.
    pub async fn reload(&self, config: Config) -> Result<(), AgentError> {
        let Reloadable { log_level, handlers } = Reloadable::of(&config)?;
        self.0.log.set_level(log_level);
        self.0.handlers.replace(handlers);
        let mut tags = config.tags;
        if let Some(role) = config.role {
            tags.insert("role".to_owned(), role);
        }
        if self.0.tags_file.is_none()
            && let Err(error) = self.replace_tags(tags).await
        {
            self.0.log.line(Level::Err, format!("agent: Error updating tags: {error}"));
        }
        Ok(())
    }
}

/// Go says what it did before what went wrong.
fn dial_reason(address: &str, reason: &str) -> String {
    let reason = reason.split(" (os error").next().unwrap_or(reason);
    match reason {
        "Connection refused" => format!("dial tcp {address}: connect: connection refused"),
        "No route to host" => format!("dial tcp {address}: connect: no route to host"),
        "Network is unreachable" => format!("dial tcp {address}: connect: network is unreachable"),
        "Connection timed out" | "i/o timeout" => format!("dial tcp {address}: i/o timeout"),
        other => other.to_owned(),
    }
}
