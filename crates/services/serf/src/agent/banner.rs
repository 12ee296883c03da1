//! What an agent says when it runs.

use std::net::SocketAddr;

use super::service::Agent;

/// The block of facts, aligned as Serf does it.
pub(crate) fn facts(agent: &Agent, rpc: SocketAddr) -> Vec<String> {
    let settings = &agent.settings;
    let mut facts =
        vec![("Node name", format!("'{}'", settings.name)), ("Bind addr", format!("'{}'", agent.gossip_address()))];
    if settings.advertise_given {
        facts.push(("Advertise addr", format!("'{}'", settings.advertise)));
    }
    facts.push(("RPC addr", format!("'{rpc}'")));
    if let Some(path) = &settings.config.rpc_socket {
        facts.push(("RPC socket", format!("'{}'", path.display())));
    }
    if let Some(address) = agent.metrics_address() {
        facts.push(("Figures addr", format!("'{address}'")));
    }
    let encrypted = settings.key.is_some() || settings.config.keyring_file.is_some();
    facts.push(("Encrypted", encrypted.to_string()));
    facts.push(("Snapshot", settings.snapshot.is_some().to_string()));
    facts.push(("Profile", settings.profile.clone()));
    facts.push(("Message Compression Enabled", settings.compress.to_string()));
    if let Some(cluster) = &settings.config.discover {
        facts.push(("mDNS cluster", cluster.clone()));
    }
    facts.iter().map(|(key, value)| format!("{key:>31}: {value}")).collect()
}
