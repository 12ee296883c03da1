//! `muster render`: exactly what a node would be given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use muster_api::NodeFacts;
use muster_engine::compile::{Compiled, Member, Members, RenderFault, Rendered};
use muster_pki::Secrets;
use muster_store::NodeRecord;
use muster_types::{GroupName, NodeName, Redacted};

use crate::context::{Context, ReadingArgs};
use crate::error::Failure;
use crate::exit::ExitStatus;

/// Print what a node would be given, as it would be given
///
/// For nodes of an Occopus infrastructure that is the user-data that Occopus would give them. With `--json` the document
/// that an agent carries out stands beside it.
///
/// Addresses are those of the running cluster, where there is one; others can be given. A node whose address is given
/// counts as one that has joined, with 2 CPUs and 2 GiB of memory unless it has said otherwise. Secrets stand as
/// `<secret RECIPE/NAME>`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster render cluster.yaml --node web-1 --any-address 203.0.113.7,10.0.0.7\n  \
                        muster render --address web-1=10.0.0.1 --address web-2=10.0.0.2")]
pub(crate) struct Args {
    /// The cluster file; cluster.yaml of this folder without it
    file: Option<PathBuf>,
    /// Only this node
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// The address of a node, or several with commas: the first is the one that others use
    #[arg(long = "address", value_name = "NODE=IP[,IP…]", value_parser = parse_address)]
    addresses: Vec<(NodeName, Vec<IpAddr>)>,
    /// The same two addresses for every node
    #[arg(long, value_name = "PUBLIC,PRIVATE", value_parser = parse_pair)]
    any_address: Option<Addresses>,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Show secrets as the nodes get them
    #[arg(long)]
    show_secrets: bool,
}

/// One argument of the command line with several addresses in it.
#[derive(Debug, Clone)]
struct Addresses(Vec<IpAddr>);

fn parse_addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    text.split(',').map(|part| part.trim().parse().map_err(|_| format!("`{part}` is not an IP address"))).collect()
}

fn parse_pair(text: &str) -> Result<Addresses, String> {
    let addresses = parse_addresses(text)?;
    if addresses.len() != 2 {
        return Err("two addresses are expected: PUBLIC,PRIVATE".to_owned());
    }
    Ok(Addresses(addresses))
}

fn parse_address(text: &str) -> Result<(NodeName, Vec<IpAddr>), String> {
    let (name, addresses) = text.split_once('=').ok_or("NODE=IP is expected, as in web-1=10.0.0.1")?;
    Ok((name.parse().map_err(|error| format!("{error}"))?, parse_addresses(addresses)?))
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let mut compiled = context.compile(args.file.as_deref(), &args.reading)?;
    give_secrets(args.show_secrets, &mut compiled, context)?;
    let (order, members) = members(&args, &compiled, context).await?;
    let names: Vec<NodeName> = match &args.node {
        Some(node) if members.0.contains_key(node) => vec![node.clone()],
        Some(node) => {
            let names: Vec<&str> = members.0.keys().map(NodeName::as_str).collect();
            let hint = format!("nodes of the file: {}", names.join(", "));
            return Err(Failure::usage(format!("the file describes no node `{node}`"), hint));
        }
        None => order,
    };
    let mut documents = Vec::new();
    for name in &names {
        let rendered = compiled.render(name, &members).map_err(|fault| failure(fault, name, &compiled))?;
        documents.push((name, rendered));
    }
    if !context.printer.is_text() {
        let nodes: Vec<_> = documents.iter().map(|(name, rendered)| node(name, rendered)).collect();
        context.printer.json(&serde_json::json!({ "version": 1, "nodes": nodes }))?;
        return Ok(ExitStatus::DONE);
    }
    for (name, rendered) in &documents {
        if documents.len() > 1 {
            context.printer.line(&format!("--- # {name}"));
        }
        context.printer.data(rendered.user_data.as_ref().unwrap_or(&rendered.document));
    }
    Ok(ExitStatus::DONE)
}

fn node(name: &NodeName, rendered: &Rendered) -> serde_json::Value {
    let mut node = serde_json::json!({"name": name, "hash": rendered.hash, "document": rendered.document});
    if let Some(user_data) = &rendered.user_data {
        node["user_data"] = user_data.as_str().into();
    }
    node
}

/// A mark for each secret; the secret itself, where it is made already and may be shown.
fn give_secrets(show: bool, compiled: &mut Compiled, context: &Context) -> Result<(), Failure> {
    let there = if show { Secrets::read(&context.paths.pki(&compiled.spec.name.value))? } else { Secrets::default() };
    let wanted = compiled.wanted_secrets().keys().cloned();
    let given = wanted.map(|name| {
        let mark = || Redacted::new(format!("<secret {name}>"));
        let value = there.get(&name).cloned().unwrap_or_else(mark);
        (name, value)
    });
    let given: Secrets = given.collect();
    if show && compiled.wanted_secrets().keys().any(|name| there.get(name).is_none()) {
        context.printer.note("Secrets that stand as `<secret …>` are made by the first `muster up`.");
    }
    compiled.give_secrets(given);
    Ok(())
}

/// The nodes that should be, in the order of the file, with their addresses: given ones first, then those of the running
/// cluster.
async fn members(args: &Args, compiled: &Compiled, context: &Context) -> Result<(Vec<NodeName>, Members), Failure> {
    let mut known: BTreeMap<NodeName, NodeRecord> = BTreeMap::new();
    let mut existing: BTreeMap<GroupName, BTreeSet<NodeName>> = BTreeMap::new();
    let mut scaled = BTreeMap::new();
    if context.paths.database().exists() {
        let (store, cluster) = (context.store()?, &compiled.spec.name.value);
        scaled = store.cluster(cluster).await?.map(|record| record.scaled).unwrap_or_default();
        for record in store.nodes(cluster).await? {
            if record.machine.is_some() {
                existing.entry(record.group.clone()).or_default().insert(record.name.clone());
            }
            known.insert(record.name.clone(), record);
        }
    }
    let desired = compiled.desired(&existing, &scaled);
    let order = desired.iter().map(|node| node.name.clone()).collect();
    let mut members = BTreeMap::new();
    for node in desired {
        let given = args.addresses.iter().find(|(name, _)| *name == node.name).map(|(_, addresses)| addresses.clone());
        let given = given.or_else(|| args.any_address.as_ref().map(|any| any.0.clone()));
        let (addresses, facts) =
            known.remove(&node.name).map_or_else(Default::default, |record| (record.addresses, record.facts));
        let facts = facts.or_else(|| given.is_some().then(small_machine));
        let addresses = given.unwrap_or(addresses);
        members.insert(node.name, Member { group: node.group, addresses, facts });
    }
    if let Some((name, _)) = args.addresses.iter().find(|(name, _)| !members.contains_key(name)) {
        return Err(Failure::usage(format!("the file describes no node `{name}`"), "look at the names of `--address`"));
    }
    Ok((order, Members(members)))
}

fn small_machine() -> NodeFacts {
    let architecture = std::env::consts::ARCH.to_owned();
    NodeFacts { cpus: 2, memory_bytes: 2 << 30, architecture, ..NodeFacts::default() }
}

fn failure(fault: RenderFault, node: &NodeName, compiled: &Compiled) -> Failure {
    match fault {
        RenderFault::Bad(diagnostics) => Failure::Rejected { sources: compiled.sources.clone(), diagnostics },
        RenderFault::Waiting(names) => {
            let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
            let names: Vec<String> = names.into_iter().collect();
            Failure::usage(
                format!("the configuration of {node} needs the address of {}", names.join(", ")),
                format!("give it: `--address {}=10.0.0.1`, or all of them: `--any-address PUBLIC,PRIVATE`", names[0]),
            )
        }
    }
}
