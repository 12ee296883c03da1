//! `muster ls`: the clusters there are.

use muster_types::Phase;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::table::{age, table};

/// List the clusters there are
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster ls\n  muster ls --json")]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let store = context.store()?;
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for cluster in store.clusters().await? {
        let nodes = store.nodes(&cluster.name).await?;
        let ready = nodes.iter().filter(|node| node.phase == Phase::Ready).count();
        let state = if cluster.removing { "removing" } else { "up" };
        rows.push(vec![
            cluster.name.to_string(),
            cluster.provider.clone(),
            format!("{ready}/{}", nodes.len()),
            state.to_owned(),
            age(cluster.created_at),
            cluster.file.clone(),
        ]);
        documents.push(serde_json::json!({
            "name": cluster.name, "provider": cluster.provider, "ready": ready, "nodes": nodes.len(),
            "state": state, "created_at": cluster.created_at, "file": cluster.file,
        }));
    }
    if !context.printer.is_text() {
        context.printer.json(&serde_json::json!({ "version": 1, "clusters": documents }))?;
    } else if rows.is_empty() {
        context.printer.note("There is no cluster. Make one: muster up FILE");
    } else {
        let header = ["CLUSTER", "PROVIDER", "READY", "STATE", "AGE", "FILE"];
        context.printer.line(&table(&context.printer, &header, rows));
    }
    Ok(ExitStatus::DONE)
}
