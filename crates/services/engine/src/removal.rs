//! Removing machines, and not believing it before the list says so.

use muster_stdx::Backoff;
use muster_store::{Intent, IntentAction};
use muster_types::{MachineId, Phase};

use crate::EngineError;
use crate::fault::{Fault, Stop};
use crate::node::NodeRun;
use crate::unseen::look;

impl NodeRun<'_> {
    /// Removes a machine and returns the intent, which stays open until its result is recorded. That a machine is not
    /// listed proves something once it has been: one that never was may be late.
    pub(crate) async fn remove_machine(&mut self, machine: &MachineId) -> Result<Intent, Stop> {
        let _slot = self.run.provider_slots.acquire().await;
        let intent = self.begin(IntentAction::Remove, Some(machine.clone())).await?;
        let limits = &self.run.config.limits;
        let provider = &self.run.config.provider;
        let mut backoff = Backoff::new(limits.pause_first, limits.pause_longest);
        let mut was_seen = self.machine_seen.as_ref() == Some(machine) || self.is_listed(machine).await?;
        for _ in 0..limits.lists_max {
            self.run.ask("remove the machine", || provider.destroy(machine)).await?;
            if !self.is_listed(machine).await? {
                if was_seen || self.find(|listed| listed.id == *machine).await?.is_none() {
                    return Ok(intent);
                }
                was_seen = true;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
        Err(still_listed(machine, limits.lists_max).into())
    }

    async fn is_listed(&self, machine: &MachineId) -> Result<bool, Stop> {
        Ok(look(self.run.config, self.run.hold, self.run.owner_tag).await?.contains_key(machine))
    }

    /// Something beside the node's own machine has ended; the node's record stays as it is.
    pub(crate) async fn finish_apart(&mut self, intent: &Intent) -> Result<(), EngineError> {
        if self.record.revision > 0 {
            return self.finish(intent).await;
        }
        self.finish_without_record(intent).await
    }

    async fn finish_without_record(&mut self, intent: &Intent) -> Result<(), EngineError> {
        let (store, generation) = (&self.run.config.store, self.run.generation());
        let finished = store.finish(&intent.cluster, &intent.id, None, generation).await;
        finished.map_err(EngineError::store("record what was done"))?;
        self.record.revision = 0;
        self.tell_recorded(intent.action).await;
        Ok(())
    }

    /// Nothing needs it any more, the others speak of it no more, then it goes.
    pub(crate) async fn part(&mut self) -> Result<(), Stop> {
        self.drain().await?;
        self.enter(Phase::Removing, "").await;
        if self.run.board.is_leaving(self.name()) {
            self.run.board.leave(self.name());
        } else if self.record.facts.is_some() {
            // An earlier run told the others, or not all of them.
            self.run.board.change(self.name());
        }
        // From here on it changes nothing for others, who may have ended when they know that it has left.
        self.run.board.settle(self.name());
        self.be_left_out().await?;
        self.remove_self().await
    }

    /// The node and its machine go.
    pub(crate) async fn remove_self(&mut self) -> Result<(), Stop> {
        self.undo_unseen_creates().await?;
        let mut intents = Vec::new();
        if let Some(machine) = self.action.machine.clone() {
            intents.push(self.remove_machine(&machine).await?);
        }
        intents.append(&mut self.open);
        if intents.is_empty() {
            let gone = self.run.config.store.remove_node(&self.record.cluster, self.name(), self.run.generation());
            gone.await.map_err(EngineError::store("forget a node"))?;
        }
        for intent in intents {
            self.finish_without_record(&intent).await?;
        }
        Ok(())
    }

    /// The old machine goes, and with it all that is known of it.
    pub(crate) async fn remove_for_replacement(&mut self) -> Result<(), Stop> {
        let machine = self.machine.as_ref().map(|machine| machine.id.clone()).or_else(|| self.record.machine.clone());
        let Some(machine) = machine else {
            self.begin_new_life();
            return Ok(());
        };
        self.enter(Phase::Removing, "").await;
        // One that failed in this run goes at once; the others are told when its machine is gone.
        if self.run.board.is_leaving(self.name()) {
            self.be_left_out().await?;
        }
        let intent = self.remove_machine(&machine).await?;
        self.machine = None;
        self.run.board.forget_address(self.name());
        self.begin_new_life();
        self.record.phase = Phase::Planned;
        self.finish(&intent).await?;
        Ok(())
    }
}

pub(crate) fn still_listed(machine: &MachineId, lists: u32) -> Fault {
    let words = format!("the provider says that machine {machine} is removed, and still lists it after {lists} looks");
    Fault::new(words, "run the command again in a while; if it stays, remove the machine with the provider's own tools")
}

/// The intent that removes a machine: the open one, or a new one.
pub(crate) fn open_removal<'a>(open: &'a [Intent], machine: &MachineId) -> Option<&'a Intent> {
    open.iter().find(|intent| intent.action == IntentAction::Remove && intent.machine.as_ref() == Some(machine))
}
