//! What an agent runs with: its configuration, checked and with all defaults in place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_gossip::config::{PROTOCOL_MAX, PROTOCOL_MIN};
use muster_gossip::wire::keyring::{Key, Keyring};
use muster_gossip::{Coalescing, SerfSettings, Timing};
use muster_types::Redacted;

use super::addresses::{self, AddressError, GOSSIP_PORT};
use super::config::Config;
use super::files::{self, FilesError};
use super::handlers::{EventScript, SpecError};
use super::log::{Level, SyslogError};

/// Pauses between tries and waits are no shorter.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
const RPC_ADDRESS: &str = "127.0.0.1:7373";
const HANDLER_TIMEOUT: Duration = Duration::from_mins(10);
/// Of a user event, whatever the configuration says.
const EVENT_CEILING: usize = 9 * 1024;
const NAME_MAX: usize = 128;

/// Why an agent does not start, in Serf's words.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Handler(#[from] SpecError),
    #[error("Invalid log level: {0}. Valid log levels are: [TRACE DEBUG INFO WARN ERR]")]
    Level(String),
    #[error("Unknown profile: {0}")]
    Profile(String),
    #[error("Invalid encryption key: {0}")]
    Key(FilesError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("Syslog setup failed: {0}")]
    Syslog(#[from] SyslogError),
    #[error("Error determining hostname: {0}")]
    HostName(nix::errno::Errno),
    #[error("Failed to setup the Serf agent: {0}")]
    Setup(#[from] SetupError),
    #[error("Failed to start the Serf agent: Error creating Serf: {0}")]
    Start(#[from] StartError),
    #[error("Error starting RPC listener: {0}")]
    Rpc(String),
    #[error("Error starting the listener for figures: {0}")]
    Metrics(String),
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("Tags config not allowed while using tag files")]
    TagsTwice,
    #[error("Encryption key not allowed while using a keyring")]
    KeysTwice,
    #[error(transparent)]
    Files(#[from] FilesError),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Protocol version '{0}' too low. Must be in range: [{PROTOCOL_MIN}, {PROTOCOL_MAX}]")]
    ProtocolLow(u8),
    #[error("Protocol version '{0}' too high. Must be in range: [{PROTOCOL_MIN}, {PROTOCOL_MAX}]")]
    ProtocolHigh(u8),
    #[error("user event size limit exceeds limit of {EVENT_CEILING} bytes")]
    EventSize,
    #[error(
        "NodeName {0} contains invalid characters , Valid characters include all alpha-numerics and dashes and '.'"
    )]
    NodeName(String),
    #[error("NodeName {0} is longer than {NAME_MAX} characters")]
    NodeNameLong(String),
    #[error("Failed to create memberlist: Could not set up network transport: failed to obtain an address: {0}")]
    Bind(String),
    #[error("Failed to setup snapshot: failed to open snapshot: {0}")]
    Snapshot(String),
    #[error("Failed to create memberlist: {0}")]
    Gossip(#[from] muster_gossip::ConfigError),
}

#[derive(Debug)]
pub struct Settings {
    pub(crate) name: String,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: SocketAddr,
    /// Shown only if it was asked for.
    pub(crate) advertise_given: bool,
    pub(crate) profile: String,
    pub(crate) timing: Timing,
    pub(crate) serf: SerfSettings,
    pub(crate) coalesce: Option<Coalescing>,
    pub(crate) compress: bool,
    pub(crate) key: Option<Key>,
    pub(crate) log_level: Level,
    pub(crate) handlers: Vec<EventScript>,
    pub(crate) handler_timeout: Duration,
    pub(crate) rpc: SocketAddr,
    pub(crate) rpc_auth: Option<Redacted<String>>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) protocol: u8,
    pub(crate) retry_interval: Duration,
    pub(crate) config: Config,
    pub(crate) snapshot: Option<PathBuf>,
}

/// What a reload changes.
pub(crate) struct Reloadable {
    pub(crate) log_level: Level,
    pub(crate) handlers: Vec<EventScript>,
}

impl Reloadable {
    pub(crate) fn of(config: &Config) -> Result<Self, AgentError> {
        let level = config.log_level.as_deref().unwrap_or("INFO");
        let log_level = level.parse().map_err(|super::log::UnknownLevel(level)| AgentError::Level(level))?;
        let parsed: Result<Vec<_>, SpecError> =
            config.event_handlers.iter().map(|text| EventScript::parse(text)).collect();
        Ok(Self { log_level, handlers: parsed?.into_iter().flatten().collect() })
    }
}

impl Settings {
    pub async fn resolve(mut config: Config) -> Result<Self, AgentError> {
        let Reloadable { log_level, handlers } = Reloadable::of(&config)?;
        let profile = config.profile.clone().unwrap_or_else(|| "lan".to_owned());
        let timing = match profile.as_str() {
            "lan" => Timing::lan(),
            "wan" => Timing::wan(),
            "local" => Timing::local(),
            _ => return Err(AgentError::Profile(profile)),
        };
        let name = match config.node_name.clone() {
            Some(name) => name,
            None => nix::unistd::gethostname().map_err(AgentError::HostName)?.to_string_lossy().into_owned(),
        };
        if let Some(role) = config.role.take() {
            config.tags.insert("role".to_owned(), role);
        }
        let key =
            config.encrypt_key.as_ref().map(|key| files::key(key.expose())).transpose().map_err(AgentError::Key)?;
        let (bind, advertise) = gossip_addresses(&config).await?;
        let rpc = config.rpc_addr.clone().unwrap_or_else(|| RPC_ADDRESS.to_owned());
        let rpc = addresses::resolve_one(&rpc, 0).await.ok_or(AddressError::Rpc(rpc))?;
        let metrics = match &config.metrics_addr {
            Some(text) => {
                let found = addresses::resolve_one(text, 0).await;
                Some(found.ok_or_else(|| AgentError::Metrics(format!("lookup {text}: no such host")))?)
            }
            None => None,
        };
        Ok(Self {
            name,
            bind,
            advertise,
            advertise_given: config.advertise.is_some(),
            profile,
            timing,
            serf: serf_settings(&config),
            coalesce: coalescing(&config),
            compress: config.enable_compression.unwrap_or(true),
            key,
            log_level,
            handlers,
            handler_timeout: config.event_handler_timeout.unwrap_or(HANDLER_TIMEOUT),
            rpc,
            rpc_auth: config.rpc_auth.clone(),
            metrics,
            protocol: config.protocol.unwrap_or(PROTOCOL_MAX),
            retry_interval: config.retry_interval.unwrap_or(RETRY_INTERVAL).max(PAUSE_MIN),
            snapshot: config.snapshot_path.clone(),
            config,
        })
    }

    /// Tags from the file, or from the configuration, but not from both.
    pub(crate) fn load_tags(&mut self) -> Result<(), SetupError> {
        let Some(path) = &self.config.tags_file else { return Ok(()) };
        if !self.config.tags.is_empty() {
            return Err(SetupError::TagsTwice);
        }
        self.config.tags = files::read_tags(path)?;
        Ok(())
    }

    pub(crate) fn keyring(&self) -> Result<Option<Keyring>, SetupError> {
        match (&self.config.keyring_file, &self.key) {
            (Some(_), Some(_)) => Err(SetupError::KeysTwice),
            (Some(path), None) => Ok(Some(files::read_keyring(path)?)),
            (None, Some(key)) => Ok(Some(Keyring::new([key.clone()]).map_err(FilesError::Key)?)),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.protocol < PROTOCOL_MIN {
            return Err(StartError::ProtocolLow(self.protocol));
        }
        if self.protocol > PROTOCOL_MAX {
            return Err(StartError::ProtocolHigh(self.protocol));
        }
        if self.serf.event_size_max > EVENT_CEILING {
            return Err(StartError::EventSize);
        }
        let valid = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '.';
        if self.config.validate_node_names && !self.name.chars().all(valid) {
            return Err(StartError::NodeName(self.name.clone()));
        }
        if self.config.validate_node_names && self.name.len() > NAME_MAX {
            return Err(StartError::NodeNameLong(self.name.clone()));
        }
        Ok(())
    }
}

/// What to bind to, and what others are told.
async fn gossip_addresses(config: &Config) -> Result<(SocketAddr, SocketAddr), AddressError> {
    let text = config.bind.clone().unwrap_or_else(|| "0.0.0.0".to_owned());
    let mut bind = addresses::resolve_one(&text, GOSSIP_PORT).await.ok_or_else(|| AddressError::Bind(text.clone()))?;
    if let Some(interface) = &config.interface {
        if bind.ip().is_unspecified() {
            bind.set_ip(addresses::of_interface(interface)?);
        } else {
            addresses::check_interface(interface, bind.ip())?;
        }
    }
    if let Some(text) = &config.advertise {
        let advertise = addresses::resolve_one(text, bind.port()).await;
        return Ok((bind, advertise.ok_or_else(|| AddressError::Advertise(text.clone()))?));
    }
    let mut advertise = bind;
    if bind.ip().is_unspecified() {
        advertise.set_ip(addresses::private()?);
    }
    Ok((bind, advertise))
}

fn serf_settings(config: &Config) -> SerfSettings {
    let usual = SerfSettings::default();
    SerfSettings {
        reconnect_interval: config.reconnect_interval.unwrap_or(usual.reconnect_interval),
        reconnect_timeout: config.reconnect_timeout.unwrap_or(usual.reconnect_timeout),
        tombstone_timeout: config.tombstone_timeout.unwrap_or(usual.tombstone_timeout),
        broadcast_timeout: config.broadcast_timeout.unwrap_or(usual.broadcast_timeout).max(PAUSE_MIN),
        event_size_max: config.user_event_size_limit.unwrap_or(usual.event_size_max),
        query_size_max: config.query_size_limit.unwrap_or(usual.query_size_max),
        response_size_max: config.query_response_size_limit.unwrap_or(usual.response_size_max),
        resolve_conflicts: !config.disable_name_resolution,
        ..usual
    }
}

fn coalescing(config: &Config) -> Option<Coalescing> {
    let usual = Coalescing::default();
    let period = config.coalesce_period.unwrap_or(usual.period);
    let quiet = config.coalesce_quiet.unwrap_or(usual.quiet).min(period);
    (!period.is_zero()).then_some(Coalescing { period, quiet })
}
