//! `muster sweep`: finds what carries our tags and belongs to no cluster that is known, and removes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use muster_engine::CLUSTER_TAG;
use muster_provider::{Machine, Provider, Tags};
use muster_store::Store;
use muster_types::{ClusterName, MachineId};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::{Context, holder};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::Tone;
use crate::output::table::table;
use crate::registry;

/// A folder that was changed in this time may be of a cluster that is just being made.
const FRESH: Duration = Duration::from_secs(10);
/// How long the work on one cluster may take before somebody else may begin.
const LEASE_MS: u64 = 600_000;

/// Find machines and data that belong to no cluster there is, and remove them after showing them
///
/// That is what a lost state or a removal by hand leaves behind. A cluster whose state was lost and that should live on is
/// not for this: `muster up FILE` takes its machines over.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster sweep --dry-run       show it only\n  muster sweep --yes --json")]
pub(crate) struct Args {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show what would be removed, and remove nothing; exit 2 when there is something
    #[arg(long)]
    dry_run: bool,
}

/// Something that is left over.
#[derive(Debug, Clone, Serialize)]
struct Stray {
    provider: &'static str,
    /// The cluster that it was of, or whose network it is in.
    cluster: ClusterName,
    /// Machines, with the nodes that they were made for.
    machines: Vec<(MachineId, String)>,
    /// The folder of a cluster that is not known: keys and data.
    folder: Option<PathBuf>,
    /// Why it was not removed.
    error: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let printer = &context.printer;
    let store = context.store()?;
    let mut strays = find(context, store.as_ref()).await?;
    if printer.is_text() {
        show(&strays, context);
    }
    if strays.is_empty() || args.dry_run {
        let status = if strays.is_empty() { ExitStatus::DONE } else { ExitStatus::PENDING };
        if !printer.is_text() {
            printer.json(&serde_json::json!({ "version": 1, "found": strays, "removed": false }))?;
        }
        return Ok(status);
    }
    if !confirm("Remove all of this, with its data?", args.yes)? {
        printer.note("Nothing was changed.");
        return Ok(ExitStatus::FAILED);
    }
    for stray in &mut strays {
        if let Err(failure) = remove(stray, context, store.as_ref()).await {
            stray.error = Some(failure.words());
        }
    }
    let failed = strays.iter().filter(|stray| stray.error.is_some()).count();
    let status = match failed {
        0 => ExitStatus::DONE,
        all if all == strays.len() => ExitStatus::FAILED,
        _ => ExitStatus::PARTLY,
    };
    if !printer.is_text() {
        printer.json(&serde_json::json!({ "version": 1, "found": strays, "removed": true }))?;
        return Ok(status);
    }
    for stray in strays.iter().filter(|stray| stray.error.is_some()) {
        let why = stray.error.as_deref().unwrap_or_default();
        printer.note(&format!("{} {}: {why}", printer.tone("left:", Tone::Bad), stray.cluster));
    }
    if failed == 0 {
        printer.note("All of it is gone.");
    } else {
        printer.hint("put right what is named, then run `muster sweep` again");
    }
    Ok(status)
}

async fn find(context: &Context, store: &dyn Store) -> Result<Vec<Stray>, Failure> {
    let mut strays = Vec::new();
    let known = store.clusters().await?;
    for record in &known {
        let factory = registry::find(&record.provider)?;
        let provider = context.provider(&record.name, &record.provider, None).await?;
        let machines = provider.list(&Tags::new()).await?;
        let foreign = |machine: &Machine| machine.tags.get(CLUSTER_TAG).is_some_and(|tag| *tag != record.owner_tag);
        let machines: Vec<_> = machines.iter().filter(|machine| foreign(machine)).map(named).collect();
        if !machines.is_empty() {
            let (provider, cluster) = (factory.name(), record.name.clone());
            strays.push(Stray { provider, cluster, machines, folder: None, error: None });
        }
    }
    let folders = match fs_err::read_dir(context.paths.state.join("clusters")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(strays),
        folders => folders?,
    };
    for entry in folders {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_string_lossy().parse::<ClusterName>() else { continue };
        let changed = entry.metadata()?.modified()?;
        let is_fresh = SystemTime::now().duration_since(changed).is_ok_and(|age| age < FRESH);
        if is_fresh || known.iter().any(|record| record.name == name) {
            continue;
        }
        for factory in registry::factories()? {
            let machines = if context.paths.provider(&name, factory.name()).exists() {
                context.provider(&name, factory.name(), None).await?.list(&Tags::new()).await?
            } else {
                Vec::new()
            };
            strays.push(Stray {
                provider: factory.name(),
                cluster: name.clone(),
                machines: machines.iter().map(named).collect(),
                folder: Some(entry.path()),
                error: None,
            });
        }
    }
    Ok(strays)
}

fn named(machine: &Machine) -> (MachineId, String) {
    (machine.id.clone(), machine.name.to_string())
}

fn show(strays: &[Stray], context: &Context) {
    if strays.is_empty() {
        context.printer.note("Nothing is left over.");
        return;
    }
    let rows = strays.iter().flat_map(|stray| {
        let folder = stray.folder.iter().map(|folder| ("folder", folder.display().to_string()));
        let machines = stray.machines.iter().map(|(id, node)| ("machine", format!("{id} of {node}")));
        let rows: Vec<_> = machines.chain(folder).collect();
        rows.into_iter()
            .map(|(kind, what)| vec![stray.cluster.to_string(), stray.provider.to_owned(), kind.to_owned(), what])
    });
    context.printer.line(&table(&context.printer, &["CLUSTER", "PROVIDER", "KIND", "WHAT"], rows));
}

/// Under the cluster's lease, so that nobody makes a cluster of this name meanwhile.
async fn remove(stray: &Stray, context: &Context, store: &dyn Store) -> Result<(), Failure> {
    let lease = store.acquire(&stray.cluster, &holder("muster sweep")?, LEASE_MS).await?;
    let removed = remove_held(stray, context, store).await;
    store.release(&lease).await?;
    removed
}

async fn remove_held(stray: &Stray, context: &Context, store: &dyn Store) -> Result<(), Failure> {
    let is_known = store.cluster(&stray.cluster).await?.is_some();
    if stray.folder.is_some() && is_known {
        return Err(Failure::new("it has been made since", "`muster ls` shows it", ExitStatus::FAILED));
    }
    let provider: Arc<dyn Provider> = context.provider(&stray.cluster, stray.provider, None).await?;
    for (machine, _) in &stray.machines {
        provider.destroy(machine).await?;
    }
    if stray.folder.is_some() {
        provider.release().await?;
    }
    // Not believed before the list has said so twice.
    for _ in 0..2 {
        let listed = provider.list(&Tags::new()).await?;
        if let Some(machine) = listed.iter().find(|machine| stray.machines.iter().any(|(id, _)| *id == machine.id)) {
            let message = format!("the provider says that machine {} is removed, and still lists it", machine.id);
            return Err(Failure::new(message, "run the command again in a while", ExitStatus::FAILED));
        }
    }
    if let Some(folder) = &stray.folder {
        match fs_err::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}
