//! `muster down`: removes a cluster, and proves that nothing of it is left.

use muster_engine::Exit;
use muster_types::ClusterName;

use crate::confirm::confirm;
use crate::context::{Context, Orders, Ready};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::occopus;
use crate::output::events::show;
use crate::output::outcome::summary;

/// Remove a cluster: its machines, their data, its keys; then prove that nothing is left
///
/// Run it again after any failure or interruption: it goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster down quickstart\n  muster down examples/quickstart.yaml --yes")]
pub(crate) struct Args {
    /// The cluster: its name, or its file
    cluster: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let printer = &context.printer;
    let store = context.store()?;
    let name = context.choose(store.as_ref(), args.cluster.as_deref()).await?;
    let folder = context.paths.cluster(&name);
    if store.cluster(&name).await?.is_none() {
        if !folder.exists() {
            return Err(context.unknown_cluster(store.as_ref(), &name).await?);
        }
        // The record goes before the folder: an earlier `down` was cut off between the two.
        finish(context, &name)?;
        if let Some(id) = occopus::is_leaving(&context.paths, &name)? {
            occopus::forget(&context.paths, &id)?;
        }
        printer.note(&format!("{name}: nothing is left"));
        return Ok(ExitStatus::DONE);
    }
    let opened = context.open(Some(name.as_str())).await?;
    let nodes = opened.nodes().await?.len();
    let noun = if nodes == 1 { "node" } else { "nodes" };
    if !confirm(&format!("Remove cluster {name} with its {nodes} {noun} and all their data?"), args.yes)? {
        printer.note("Nothing was changed.");
        return Ok(ExitStatus::FAILED);
    }
    let infrastructure = occopus::is_leaving(&context.paths, &name)?;
    let interrupt = Interrupt::listen(printer, format!("muster down {name}"))?;
    let Ready { engine, events } = opened.engine("down", Orders::default())?;
    let working = async {
        let result = engine.down(&name, interrupt.token.clone()).await;
        // The engine holds the sender of the events: the showing ends when it is gone.
        drop(engine);
        result
    };
    let (outcome, shown) = tokio::join!(working, show(events, printer.clone()));
    shown?;
    let outcome = outcome?;
    if outcome.exit == Exit::Done {
        finish(context, &name)?;
        infrastructure.map_or(Ok(()), |id| occopus::forget(&context.paths, &id))?;
    }
    if printer.is_text() && outcome.exit == Exit::Done {
        let took = crate::output::table::duration(outcome.took.as_millis());
        printer.note(&format!("{name}: {} removed, nothing is left, in {took}", outcome.removed.len()));
    } else {
        summary(&outcome, printer)?;
    }
    Ok(interrupt.status().filter(|_| outcome.exit != Exit::Done).unwrap_or(ExitStatus(outcome.exit.code())))
}

/// The keys and what is left of the folder go last: as long as they are there, `down` can be run again.
pub(crate) fn finish(context: &Context, name: &ClusterName) -> Result<(), Failure> {
    match fs_err::remove_dir_all(context.paths.cluster(name)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        result => result?,
    }
    // The folder of all clusters, and that of sockets, when this was the last: others may be there.
    fs_err::remove_dir(context.paths.state.join("clusters")).ok();
    fs_err::remove_dir(&context.paths.runtime).ok();
    Ok(())
}
