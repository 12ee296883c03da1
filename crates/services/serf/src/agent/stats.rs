//! The statistics of an agent, as `serf info` shows them.

use std::collections::BTreeMap;

use muster_gossip::Stats;

use super::handlers::Own;

/// Sections with keys and values.
pub(crate) fn sections(
    own: &Own,
    handlers: &[(String, String)],
    stats: &Stats,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let section = |pairs: &[(&str, String)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let runtime = [
        ("os", std::env::consts::OS.to_owned()),
        ("arch", architecture().to_owned()),
        ("version", concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("max_procs", processors.clone()),
        ("goroutines", tokio::runtime::Handle::current().metrics().num_alive_tasks().to_string()),
        ("cpu_count", processors),
    ];
    let serf = [
        ("members", stats.members.to_string()),
        ("failed", stats.failed.to_string()),
        ("left", stats.left.to_string()),
        ("health_score", stats.health_score.to_string()),
        ("member_time", stats.member_time.to_string()),
        ("event_time", stats.event_time.to_string()),
        ("query_time", stats.query_time.to_string()),
        ("intent_queue", stats.intent_queue.to_string()),
        ("event_queue", stats.event_queue.to_string()),
        ("query_queue", stats.query_queue.to_string()),
        ("encrypted", stats.encrypted.to_string()),
        ("coordinate_resets", stats.coordinate_resets.to_string()),
    ];
    BTreeMap::from([
        ("agent".to_owned(), section(&[("name", own.name.clone())])),
        ("runtime".to_owned(), section(&runtime)),
        ("serf".to_owned(), section(&serf)),
        ("tags".to_owned(), BTreeMap::clone(&own.tags)),
        ("event_handlers".to_owned(), handlers.iter().cloned().collect()),
    ])
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
