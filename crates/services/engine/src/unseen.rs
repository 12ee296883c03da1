//! Machines that are there and not listed yet: a create that was begun and that nobody goes on with may have made one.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use muster_plan::Plan;
use muster_provider::{Machine, Tags};
use muster_stdx::Backoff;
use muster_store::{Intent, IntentAction};
use muster_types::{ClientToken, MachineId, NodeName};
use tokio::time::Instant;

use crate::fault::{Fault, Stop};
use crate::lease::Hold;
use crate::node::NodeRun;
use crate::observe::CLUSTER_TAG;
use crate::removal::still_listed;
use crate::run::{Run, ask};
use crate::{EngineConfig, EngineError};

/// One list of the cluster's machines, asked for again while it fails for a while.
pub(crate) async fn look(
    config: &EngineConfig,
    hold: &Hold,
    owner_tag: &str,
) -> Result<BTreeMap<MachineId, Machine>, Stop> {
    let tags = Tags::from([(CLUSTER_TAG.to_owned(), owner_tag.to_owned())]);
    let call = ("list the cluster's machines", config.limits.list);
    let machines = ask(config, hold, call, || config.provider.list(&tags)).await?;
    Ok(machines.into_iter().map(|machine| (machine.id.clone(), machine)).collect())
}

/// A machine that may not be listed yet, looked for until it must have shown itself. Whoever sent its create has lost the
/// lease before this begins, so the time counts from here.
pub(crate) async fn find(
    config: &EngineConfig,
    hold: &Hold,
    (owner_tag, is_meant): (&str, impl Fn(&Machine) -> bool),
) -> Result<Option<MachineId>, Stop> {
    let until = Instant::now() + config.provider.capabilities().visible_within;
    let mut backoff = Backoff::new(config.limits.pause_first, config.limits.pause_longest);
    loop {
        let is_last = Instant::now() >= until;
        let machines = look(config, hold, owner_tag).await?;
        if let Some(machine) = machines.into_values().find(&is_meant) {
            return Ok(Some(machine.id));
        }
        if is_last {
            return Ok(None);
        }
        tokio::time::sleep_until(until.min(Instant::now() + backoff.pause())).await;
    }
}

/// Intents of nodes that the plan does not speak of: a create may have made a machine that is seen only now, of the others
/// nothing is left to do.
pub(crate) async fn finish_strays(run: &Run<'_>, plan: &Plan, intents: &[Intent]) -> Result<(), EngineError> {
    let spoken_of: BTreeSet<&NodeName> = plan.actions().iter().map(|action| &action.node).collect();
    let strays = intents.iter().filter(|intent| !spoken_of.contains(&intent.node)).map(async |intent| {
        if intent.action == IntentAction::Create {
            match remove_stray(run, &intent.id).await {
                Ok(()) => {}
                Err(Stop::Run(error)) => return Err(*error),
                // Its intent stays open for the next run.
                Err(Stop::Node(fault)) => {
                    let words = format!("what was begun for it may still be there: {}", fault.reason);
                    run.emitter.warn(Some(&intent.node), words).await;
                    return Ok(());
                }
            }
        }
        let finished = run.config.store.finish(&intent.cluster, &intent.id, None, run.hold.check()?).await;
        finished.map(drop).map_err(EngineError::store("record what was done"))
    });
    join_all(strays).await.into_iter().collect()
}

/// The open intent of its create is what a crash in the middle goes on from.
async fn remove_stray(run: &Run<'_>, token: &ClientToken) -> Result<(), Stop> {
    let _slot = run.provider_slots.acquire().await;
    let mut last = None;
    for _ in 0..run.config.limits.lists_max {
        let is_meant = |machine: &Machine| machine.token == *token;
        let Some(machine) = find(run.config, run.hold, (run.owner_tag, is_meant)).await? else { return Ok(()) };
        run.ask("remove the machine", || run.config.provider.destroy(&machine)).await?;
        last = Some(machine);
    }
    Err(last.map_or_else(Fault::default, |machine| still_listed(&machine, run.config.limits.lists_max)).into())
}

impl NodeRun<'_> {
    /// Ends a create of an earlier run or try that nobody goes on with: what it made is removed, unless it is the
    /// machine that the node keeps.
    pub(crate) async fn undo_create(&mut self, intent: &Intent) -> Result<(), Stop> {
        let is_kept = self.machine.as_ref().is_some_and(|machine| machine.token == intent.id);
        if !is_kept && let Some(machine) = self.made_by(&intent.id).await? {
            let removal = self.remove_machine(&machine).await?;
            self.finish_apart(&removal).await?;
        }
        Ok(self.finish_apart(intent).await?)
    }

    async fn made_by(&self, token: &ClientToken) -> Result<Option<MachineId>, Stop> {
        self.find(|machine| machine.token == *token).await
    }

    pub(crate) async fn find(&self, is_meant: impl Fn(&Machine) -> bool) -> Result<Option<MachineId>, Stop> {
        find(self.run.config, self.run.hold, (self.run.owner_tag, is_meant)).await
    }

    /// Undoes the open creates whose machines are not the one that the plan speaks of.
    pub(crate) async fn undo_unseen_creates(&mut self) -> Result<(), Stop> {
        let seen = self.machine.as_ref().map(|machine| machine.token.clone());
        let is_unseen = |intent: &Intent| intent.action == IntentAction::Create && Some(&intent.id) != seen.as_ref();
        while let Some(at) = self.open.iter().position(is_unseen) {
            let create = self.open[at].clone();
            self.undo_create(&create).await?;
            self.open.retain(|open| open.id != create.id);
        }
        Ok(())
    }
}
