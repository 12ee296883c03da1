//! What an agent is told: by flags and by JSON files, with Serf's keys and Serf's rules for putting them together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_types::Redacted;
use serde::Deserialize;

use super::duration;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("Error reading '{}': {text}", path.display())]
    Read { path: PathBuf, text: String },
    #[error("Error decoding '{}': {text}", path.display())]
    Decode { path: PathBuf, text: String },
}

/// Everything may be missing; `merge` puts several together. Names are the keys of the files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "they are keys of Serf's files")]
pub struct Config {
    pub node_name: Option<String>,
    /// Of old: the tag `role`.
    pub role: Option<String>,
    pub disable_coordinates: bool,
    pub tags: BTreeMap<String, String>,
    pub tags_file: Option<PathBuf>,
    pub bind: Option<String>,
    pub advertise: Option<String>,
    pub encrypt_key: Option<Redacted<String>>,
    pub keyring_file: Option<PathBuf>,
    pub log_level: Option<String>,
    pub rpc_addr: Option<String>,
    pub rpc_auth: Option<Redacted<String>>,
    pub protocol: Option<u8>,
    pub replay_on_join: bool,
    pub query_response_size_limit: Option<usize>,
    pub query_size_limit: Option<usize>,
    pub user_event_size_limit: Option<usize>,
    pub start_join: Vec<String>,
    pub event_handlers: Vec<String>,
    pub profile: Option<String>,
    pub snapshot_path: Option<PathBuf>,
    pub leave_on_terminate: bool,
    pub skip_leave_on_interrupt: bool,
    pub discover: Option<String>,
    pub mdns: Mdns,
    pub interface: Option<String>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub reconnect_interval: Option<Duration>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub reconnect_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub tombstone_timeout: Option<Duration>,
    pub disable_name_resolution: bool,
    pub enable_syslog: bool,
    pub syslog_facility: Option<String>,
    pub retry_join: Vec<String>,
    pub retry_max_attempts: Option<u32>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub retry_interval: Option<Duration>,
    pub rejoin_after_leave: bool,
    pub enable_compression: Option<bool>,
    pub statsite_addr: Option<String>,
    pub statsd_addr: Option<String>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub broadcast_timeout: Option<Duration>,
    pub validate_node_names: bool,

    /// Ours: a Unix socket with the same RPC.
    pub rpc_socket: Option<PathBuf>,
    /// Ours: where Prometheus fetches figures by HTTP.
    pub metrics_addr: Option<String>,
    /// Ours: a handler that runs longer is killed with all it started.
    #[serde(deserialize_with = "duration::deserialize")]
    pub event_handler_timeout: Option<Duration>,
    /// Ours: how long events are held back at most to be told together; `0` tells them at once.
    #[serde(deserialize_with = "duration::deserialize")]
    pub coalesce_period: Option<Duration>,
    /// Ours: after so long without another one they are told.
    #[serde(deserialize_with = "duration::deserialize")]
    pub coalesce_quiet: Option<Duration>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mdns {
    pub interface: Option<String>,
    pub disable_ipv4: bool,
    pub disable_ipv6: bool,
}

/// A later value takes the place of an earlier one.
macro_rules! replace {
    ($base:ident, $over:ident: $($field:ident)*) => { $(if $over.$field.is_some() { $base.$field = $over.$field; })* };
}

/// What was set once stays.
macro_rules! either {
    ($base:ident, $over:ident: $($field:ident)*) => { $($base.$field |= $over.$field;)* };
}

/// Lists and maps grow.
macro_rules! extend {
    ($base:ident, $over:ident: $($field:ident)*) => { $($base.$field.extend($over.$field);)* };
}

impl Config {
    /// What `over` says comes on top.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        let mut base = self;
        replace!(base, over: node_name role tags_file bind advertise encrypt_key keyring_file log_level rpc_addr rpc_auth
            protocol query_response_size_limit query_size_limit user_event_size_limit profile snapshot_path discover
            interface reconnect_interval reconnect_timeout tombstone_timeout syslog_facility retry_max_attempts
            retry_interval enable_compression statsite_addr statsd_addr broadcast_timeout rpc_socket metrics_addr
            event_handler_timeout coalesce_period coalesce_quiet);
        either!(base, over: disable_coordinates replay_on_join leave_on_terminate skip_leave_on_interrupt
            disable_name_resolution enable_syslog rejoin_after_leave validate_node_names);
        extend!(base, over: tags start_join event_handlers retry_join);
        let (mut mdns, later) = (base.mdns, over.mdns);
        replace!(mdns, later: interface);
        either!(mdns, later: disable_ipv4 disable_ipv6);
        Self { mdns, ..base }
    }

    /// Files, and folders whose `*.json` files count in the order of their names. Later ones come on top.
    pub fn read_paths(paths: &[PathBuf]) -> Result<Self, FileError> {
        let mut config = Self::default();
        for path in paths {
            for file in files(path)? {
                config = config.merge(Self::read(&file)?);
            }
        }
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self, FileError> {
        let text = fs_err::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&text).map_err(|text| FileError::Decode { path: path.to_owned(), text })
    }

    /// The error is in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // As in Go, an empty text is none.
        for text in [&mut config.node_name, &mut config.role, &mut config.bind, &mut config.advertise] {
            text.take_if(|text| text.is_empty());
        }
        Ok(config)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> FileError {
    let text = match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => error.to_string(),
    };
    FileError::Read { path: path.to_owned(), text }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs_err::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json") && !file.is_dir());
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_count_in_order_and_later_ones_win() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
        write("b.json", r#"{"node_name": "b", "tags": {"x": "2", "y": "2"}, "start_join": ["two"]}"#);
        write(
            "a.json",
            r#"{"node_name": "a", "tags": {"x": "1"}, "start_join": ["one"], "leave_on_terminate": true,
                "retry_interval": "1m30s", "mdns": {"interface": "eth0"}}"#,
        );
        write("c.txt", "not for us");
        let config = Config::read_paths(&[folder.path().to_owned()]).unwrap();
        assert_eq!(config.node_name.as_deref(), Some("b"));
        assert_eq!(config.tags, BTreeMap::from([("x", "2"), ("y", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()))));
        assert_eq!(config.start_join, ["one", "two"]);
        assert!(config.leave_on_terminate, "a later file does not take it back");
        assert_eq!(config.retry_interval, Some(Duration::from_secs(90)));
        assert_eq!(config.mdns.interface.as_deref(), Some("eth0"));
    }

    #[test]
    fn mistakes_are_told_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs_err::write(&path, r#"{"nodename": "b"}"#).unwrap();
        let error = Config::read_paths(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("Error decoding '{}': unknown field `nodename`", path.display())),
            "{error}"
        );
        let error = Config::read_paths(&[folder.path().join("nope.json")]).unwrap_err().to_string();
        assert!(error.ends_with("nope.json: no such file or directory"), "{error}");
    }
}
