//! Removing a cluster, and proving that nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use muster_api::EventBody;
use muster_plan::Verb;
use muster_provider::{Machine, ProviderError, Status};
use muster_stdx::Backoff;
use muster_store::{ClusterRecord, Intent, IntentAction, IntentId, NodeRecord, Reading};
use muster_types::{ClientToken, ClusterName, GroupName, MachineId, NodeName, Phase, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::events::Emitter;
use crate::fault::{Fault, Stop};
use crate::lease::Hold;
use crate::node::{new_token, word};
use crate::observe::{Observation, node_of, observe};
use crate::outcome::{NodeOutcome, Outcome};
use crate::removal::{open_removal, still_listed};
use crate::run::{ask, concurrency};
use crate::unseen::look;
use crate::up::{Parts, tell_end};
use crate::{Engine, EngineConfig, EngineError};

impl Engine {
    /// Removes all machines of the cluster, what they share, and in the end its records. Works from any half state and
    /// can be repeated; machines are found by their tag, also when the store has forgotten them.
    pub async fn down(&self, cluster: &ClusterName, token: CancellationToken) -> Result<Outcome, EngineError> {
        let begun = Instant::now();
        let hold = self.hold(cluster).await?;
        let emitter = self.emitter(cluster);
        emitter.emit(EventBody::RunStarted { cluster: cluster.clone(), command: "down".to_owned() }).await;
        emitter.ordered(&self.config, "").await;
        let result = remove(&self.config, (&hold, &emitter), cluster, &token).await;
        let result = result.map(|parts| parts.into_outcome(cluster, &emitter, begun));
        tell_end(&emitter, result.as_ref(), begun).await;
        result
    }
}

/// Times that what is listed after all is removed again.
const ROUNDS_MAX: u32 = 3;

/// One removal of a cluster.
struct Removal<'a> {
    config: &'a EngineConfig,
    hold: &'a Hold,
    emitter: &'a Emitter,
    cluster: &'a ClusterName,
    owner_tag: String,
    records: BTreeMap<NodeName, NodeRecord>,
    open: Vec<Intent>,
    /// Tokens of all machines that were ever listed.
    seen: BTreeSet<ClientToken>,
    /// A machine is recorded and was not listed: it may be gone, or late.
    late: bool,
    /// Machines that are to go.
    left: BTreeMap<MachineId, Leaving>,
    parts: Parts,
}

struct Leaving {
    node: NodeName,
    intent: IntentId,
    fault: Option<Fault>,
}

async fn remove(
    config: &EngineConfig,
    (hold, emitter): (&Hold, &Emitter),
    cluster: &ClusterName,
    token: &CancellationToken,
) -> Result<Parts, EngineError> {
    let Observation { cluster: record, owner_tag, records, machines, intents, .. } = observe(config, cluster).await?;
    mark(config, hold, cluster, (record, &owner_tag)).await?;
    let parts = Parts::default();
    let mut removal = Removal {
        config,
        hold,
        emitter,
        cluster,
        owner_tag,
        records,
        open: intents,
        seen: BTreeSet::new(),
        late: false,
        left: BTreeMap::new(),
        parts,
    };
    let interrupted = tokio::select! {
        biased;
        // What was begun is written down: the next `down` goes on from there.
        () = token.cancelled() => true,
        error = hold.lost() => return Err(error),
        result = removal.run(machines) => {
            result?;
            false
        }
    };
    if interrupted {
        removal.parts.interrupted = true;
        let left = std::mem::take(&mut removal.left);
        for (machine, leaving) in left {
            let hint = "run `muster down` again: it goes on from here";
            removal.account(&machine, &leaving.node, Phase::Removing, Fault::new("interrupted", hint));
        }
    }
    let mut parts = removal.parts;
    parts.nodes.sort_by(|a, b| (&a.group, a.name.index(), &a.name).cmp(&(&b.group, b.name.index(), &b.name)));
    Ok(parts)
}

/// From here on only `down` goes on.
async fn mark(
    config: &EngineConfig,
    hold: &Hold,
    cluster: &ClusterName,
    (record, owner_tag): (Option<ClusterRecord>, &str),
) -> Result<(), EngineError> {
    let record = match record {
        Some(record) if record.removing => return Ok(()),
        Some(record) => ClusterRecord { removing: true, ..record },
        None => ClusterRecord {
            name: cluster.clone(),
            revision: 0,
            provider: config.provider_name.clone(),
            settings: None,
            owner_tag: owner_tag.to_owned(),
            file: String::new(),
            reading: Reading::default(),
            created_at: Timestamp::now(),
            removing: true,
            scaled: BTreeMap::new(),
            leaving: BTreeSet::new(),
        },
    };
    let written = config.store.put_cluster(&record, hold.check()?).await;
    written.map(drop).map_err(EngineError::store("record that the cluster is to go"))
}

impl Removal<'_> {
    async fn run(&mut self, machines: BTreeMap<MachineId, Machine>) -> Result<(), EngineError> {
        let mut nodes = named(&machines);
        // What is recorded and not listed is removed all the same: a list may lag behind.
        for record in self.records.values() {
            if let Some(machine) = record.machine.as_ref().filter(|machine| !machines.contains_key(machine)) {
                self.late = true;
                nodes.insert(machine.clone(), record.name.clone());
            }
        }
        self.begin(nodes).await?;
        self.seen.extend(machines.into_values().map(|machine| machine.token));
        for _ in 0..ROUNDS_MAX {
            self.destroy_until_unlisted().await?;
            if !self.left.is_empty() || self.release_and_prove().await? {
                break;
            }
        }
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return self.forget().await;
        }
        for (machine, leaving) in left {
            let fault = leaving.fault.unwrap_or_else(|| still_listed(&machine, self.config.limits.lists_max));
            self.fail(&machine, &leaving.node, fault).await?;
        }
        Ok(())
    }

    /// Writes down what is about to be removed. The writes share transactions.
    async fn begin(&mut self, nodes: BTreeMap<MachineId, NodeName>) -> Result<(), EngineError> {
        let generation = self.hold.check()?;
        let mut intents = Vec::new();
        for (machine, node) in nodes {
            if self.left.contains_key(&machine) {
                continue;
            }
            let intent = open_removal(&self.open, &machine).cloned().unwrap_or_else(|| Intent {
                id: new_token(),
                cluster: self.cluster.clone(),
                node: node.clone(),
                action: IntentAction::Remove,
                machine: Some(machine.clone()),
                begun_at: Timestamp::now(),
            });
            self.parts.removed.retain(|removed| *removed != node);
            self.left.insert(machine, Leaving { node, intent: intent.id.clone(), fault: None });
            intents.push(intent);
        }
        let written = intents.iter().map(|intent| self.config.store.begin(intent, generation));
        for result in futures_util::future::join_all(written).await {
            result.map_err(EngineError::store("write an intent down"))?;
        }
        for intent in &intents {
            let (node, action, token) =
                (intent.node.clone(), word(IntentAction::Remove).to_owned(), intent.id.to_string());
            self.emitter.emit(EventBody::Intent { node, action, token }).await;
            self.emitter.phase(&intent.node, Phase::Removing, "", "").await;
        }
        Ok(())
    }

    /// Removes, looks, and removes again what is still listed; what is listed for the first time as well.
    async fn destroy_until_unlisted(&mut self) -> Result<(), EngineError> {
        let limits = &self.config.limits;
        let mut backoff = Backoff::new(limits.pause_first, limits.pause_longest);
        let seen_by = tokio::time::Instant::now() + self.config.provider.capabilities().visible_within;
        let mut looks = 0;
        loop {
            self.destroy_all().await?;
            // A create was begun and its machine never seen: it may become visible late.
            let unseen = (self.has_unseen_create() || self.late) && tokio::time::Instant::now() < seen_by;
            let listed = self.look().await?;
            looks += 1;
            self.finish_unlisted(&listed).await?;
            self.begin(listed).await?;
            let hopeful = self.left.values().any(|leaving| leaving.fault.is_none());
            if !unseen && (!hopeful || looks >= limits.lists_max) {
                return Ok(());
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn look(&mut self) -> Result<BTreeMap<MachineId, NodeName>, EngineError> {
        let machines = look(self.config, self.hold, &self.owner_tag).await;
        let machines = machines.map_err(|stop| self.unable("list the cluster's machines", stop))?;
        let nodes = named(&machines);
        self.seen.extend(machines.into_values().map(|machine| machine.token));
        Ok(nodes)
    }

    fn has_unseen_create(&self) -> bool {
        self.open.iter().any(|intent| intent.action == IntentAction::Create && !self.seen.contains(&intent.id))
    }

    fn unable(&self, operation: &'static str, stop: Stop) -> EngineError {
        match stop {
            Stop::Run(error) => *error,
            Stop::Node(fault) => {
                let status = if fault.uncertain { Status::Temporary } else { Status::Permanent };
                let source = ProviderError { status, ..ProviderError::permanent("ask", fault.reason) }.hint(fault.hint);
                EngineError::Provider {
                    provider: self.config.provider_name.clone(),
                    operation,
                    source: Box::new(source),
                }
            }
        }
    }

    async fn destroy_all(&mut self) -> Result<(), EngineError> {
        let (config, hold) = (self.config, self.hold);
        let limit = ("remove the machine", config.limits.provider_call);
        let hopeful = self.left.iter().filter(|(_, leaving)| leaving.fault.is_none());
        let machines: Vec<MachineId> = hopeful.map(|(machine, _)| machine.clone()).collect();
        let calls = machines.into_iter().map(|machine| async move {
            let destroyed = ask(config, hold, limit, || config.provider.destroy(&machine)).await;
            (machine, destroyed)
        });
        let mut calls = stream::iter(calls).buffer_unordered(concurrency(config));
        while let Some((machine, destroyed)) = calls.next().await {
            match destroyed {
                Ok(()) => {}
                Err(Stop::Run(error)) => return Err(*error),
                Err(Stop::Node(fault)) => {
                    if let Some(leaving) = self.left.get_mut(&machine) {
                        leaving.fault = Some(*fault);
                    }
                }
            }
        }
        Ok(())
    }

    async fn finish_unlisted(&mut self, listed: &BTreeMap<MachineId, NodeName>) -> Result<(), EngineError> {
        let generation = self.hold.check()?;
        // A machine whose removal failed may be unlisted for another reason than being gone.
        let is_gone = |machine: &MachineId, leaving: &Leaving| !listed.contains_key(machine) && leaving.fault.is_none();
        let gone: Vec<MachineId> =
            self.left.iter().filter(|(id, leaving)| is_gone(id, leaving)).map(|(id, _)| id.clone()).collect();
        let gone: Vec<Leaving> = gone.iter().filter_map(|machine| self.left.remove(machine)).collect();
        let store = &self.config.store;
        let written = gone.iter().map(|leaving| store.finish(self.cluster, &leaving.intent, None, generation));
        for result in futures_util::future::join_all(written).await {
            result.map_err(EngineError::store("record what was done"))?;
        }
        for Leaving { node, .. } in gone {
            let action = word(IntentAction::Remove).to_owned();
            self.emitter.emit(EventBody::Recorded { node: node.clone(), action }).await;
            // Its record went with the intent; a machine of it that is seen late begins another one.
            if let Some(record) = self.records.get_mut(&node) {
                record.revision = 0;
            }
            if !self.parts.removed.contains(&node) {
                self.parts.removed.push(node);
            }
        }
        Ok(())
    }

    /// Lets go of what the machines shared. The proof comes after it: the list is empty a second time. False when it was
    /// not, and there is more to remove.
    async fn release_and_prove(&mut self) -> Result<bool, EngineError> {
        let (config, hold) = (self.config, self.hold);
        let call = ("release what the machines shared", config.limits.provider_call);
        let released = ask(config, hold, call, || config.provider.release()).await;
        let listed = self.look().await?;
        let is_empty = listed.is_empty();
        self.begin(listed).await?;
        match released {
            // Machines that are seen only now keep it from being released.
            Err(Stop::Node(_)) if !is_empty => {}
            released => released.map_err(|stop| self.unable(call.0, stop))?,
        }
        Ok(is_empty)
    }

    async fn forget(&mut self) -> Result<(), EngineError> {
        for node in self.records.keys() {
            if !self.parts.removed.contains(node) {
                self.parts.removed.push(node.clone());
            }
        }
        self.parts.removed.sort_by(|a, b| (a.index(), a).cmp(&(b.index(), b)));
        let forgotten = self.config.store.remove_cluster(self.cluster, self.hold.check()?).await;
        forgotten.map_err(EngineError::store("forget the cluster"))
    }

    async fn fail(&mut self, machine: &MachineId, node: &NodeName, fault: Fault) -> Result<(), EngineError> {
        if let Some(record) = self.records.get_mut(node) {
            record.phase = Phase::Failed;
            record.reason.clone_from(&fault.reason);
            record.since = Timestamp::now();
            let written = self.config.store.put_node(record, self.hold.check()?).await;
            record.revision = written.map_err(EngineError::store("record a node"))?;
        }
        let (message, hint) = (fault.reason.clone(), fault.hint.clone());
        let body = EventBody::Failed { node: Some(node.clone()), step: None, message, log: Vec::new(), hint };
        self.emitter.emit(body).await;
        self.emitter.phase(node, Phase::Failed, "", &fault.reason).await;
        self.parts.leftovers.push(format!("machine {machine} of {node}: {}", fault.reason));
        self.account(machine, node, Phase::Failed, fault);
        Ok(())
    }

    fn account(&mut self, machine: &MachineId, node: &NodeName, phase: Phase, fault: Fault) {
        let record = self.records.get(node);
        self.parts.nodes.push(NodeOutcome {
            name: node.clone(),
            group: record.map_or_else(|| group_of(node), |record| record.group.clone()),
            verb: Verb::Remove,
            why: String::new(),
            phase,
            reason: fault.reason,
            step: None,
            log: Vec::new(),
            hint: fault.hint,
            machine: Some(machine.clone()),
            addresses: record.map(|record| record.addresses.clone()).unwrap_or_default(),
            changed: 0,
            took: Duration::ZERO,
            timed_out: fault.timed_out,
        });
    }
}

fn named(machines: &BTreeMap<MachineId, Machine>) -> BTreeMap<MachineId, NodeName> {
    machines.iter().map(|(id, machine)| (id.clone(), node_of(machine))).collect()
}

/// The group of a node that nobody recorded, from its name.
pub(crate) fn group_of(node: &NodeName) -> GroupName {
    let text = node.as_str();
    let group = text.rsplit_once('-').map_or(text, |(group, _)| group);
    GroupName::new(group).unwrap_or_else(|_| GroupName::new(text).expect("a node's name is a name"))
}
