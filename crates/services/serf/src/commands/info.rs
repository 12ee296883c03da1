//! Commands about an agent and the program: info, rtt, keygen, version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Call, Stop, Terminal, go};
use crate::rpc::client::Client;
use crate::rpc::types::Stats;

pub(crate) async fn info(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let format = call.flags.text("format").unwrap_or("text").to_owned();
    let mut client = call.connect().await?;
    let stats = client.stats().await;
    let stats = call.done("Error querying agent", stats)?;
    match format.as_str() {
        "json" => {
            let sections = stats.iter().map(|(name, section)| (name.clone(), go::text_map(section)));
            call.line(go::json(&sections.collect::<Value>()))
        }
        "text" => call.line(text(&stats).trim()),
        other => call.fail(format!("Encoding error: Invalid output format \"{other}\"")),
    }
}

fn text(stats: &Stats) -> String {
    let mut lines = Vec::new();
    for (name, section) in stats {
        lines.push(format!("{name}:"));
        lines.extend(section.iter().map(|(key, value)| format!("\t{key} = {value}")));
    }
    lines.join("\n")
}

pub(crate) async fn rtt(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let mut client = call.connect().await?;
    let (first, second) = match call.flags.words.as_slice() {
        [first, second] => (first.clone(), second.clone()),
        [first] => {
            let first = first.clone();
            let stats = client.stats().await;
            let mut stats = call.done("Error querying agent", stats)?;
            (first, stats.remove("agent").and_then(|mut agent| agent.remove("name")).unwrap_or_default())
        }
        _ => return call.misused("One or two node names must be specified"),
    };
    let here = coordinate(call, &mut client, &first).await?;
    let there = coordinate(call, &mut client, &second).await?;
    let millis = here.distance(&there).as_secs_f64() * 1000.0;
    call.line(format!("Estimated {first} <-> {second} rtt: {millis:.3} ms"))
}

async fn coordinate(
    call: &mut Call<'_, '_>,
    client: &mut Client,
    node: &str,
) -> Result<muster_gossip::Coordinate, Stop> {
    let found = client.coordinate(node).await;
    match call.done("Error getting coordinates", found)? {
        Some(found) => Ok(muster_gossip::Coordinate {
            adjustment: found.adjustment,
            error: found.error,
            height: found.height,
            place: found.vec,
        }),
        None => call.fail(format!("Could not find a coordinate for node {}", go::quoted(node))),
    }
}

/// A key for AES-256.
pub(crate) fn keygen(terminal: &mut Terminal<'_>) -> Result<(), Stop> {
    terminal.line(STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// The version of Serf whose command line this is, and ours behind it.
pub(crate) fn version(terminal: &mut Terminal<'_>) -> Result<(), Stop> {
    terminal.line(concat!("0.9.4+muster.", env!("CARGO_PKG_VERSION")))?;
    terminal.line("Agent Protocol: 5 (Understands back to: 2)")
}
