//! Executing a plan: every node goes its own way, at its own pace, and is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use muster_api::EventBody;
use muster_plan::{Action, Plan, Verb};
use muster_stdx::chain;
use muster_store::{ClusterRecord, Intent, NodeRecord, Reading};
use muster_types::{NodeName, Phase, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::bake::Kitchen;
use crate::blueprint::Blueprint;
use crate::board::Board;
use crate::compile::DesiredNode;
use crate::engine::Prepared;
use crate::events::Emitter;
use crate::lease::Hold;
use crate::node::{Lived, NodePart, NodeRun};
use crate::outcome::{Exit, NodeOutcome, Outcome, exit_of};
use crate::rollback::Added;
use crate::run::{Run, concurrency};
use crate::wishes::Wishes;
use crate::{Engine, EngineConfig, EngineError, preflight, unseen};

/// How often the log is written while a run goes on.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What a task of a run ends with; `None` when nobody waits for its result.
type Task<'a> = Pin<Box<dyn Future<Output = Result<Option<Lived>, EngineError>> + Send + 'a>>;

impl Engine {
    /// Makes the cluster what the file says. Ends when every node is ready or will not be; a cancelled token ends it
    /// at once, and the next run goes on from there.
    pub async fn up(
        &self,
        blueprint: &dyn Blueprint,
        plan: Plan,
        token: CancellationToken,
    ) -> Result<Outcome, EngineError> {
        let begun = Instant::now();
        let cluster = blueprint.cluster();
        let hold = self.hold(cluster).await?;
        let emitter = self.emitter(cluster);
        let prepared = Box::pin(self.prepared_for(blueprint, &plan, hold.generation())).await?;
        emitter.emit(EventBody::RunStarted { cluster: cluster.clone(), command: "up".to_owned() }).await;
        emitter.ordered(&self.config, prepared.plan.hash()).await;
        emitter.emit(planned(&prepared.plan)).await;
        emitter.decided(&prepared.plan).await;
        let result = Box::pin(self.execute_until_true(blueprint, (&hold, &emitter), (prepared, token))).await;
        let mut result = result.map(|parts| parts.into_outcome(cluster, &emitter, begun));
        if let Ok(outcome) = &mut result {
            // What was neither asked for nor touched is not part of the account.
            let all = outcome.nodes.len();
            outcome.nodes.retain(|node| node.verb != Verb::Keep || self.config.policy.asks_for(&node.name));
            outcome.untouched = all - outcome.nodes.len();
        }
        tell_end(&emitter, result.as_ref(), begun).await;
        if result.is_ok() {
            *self.wishes.lock().await = Wishes::default();
        }
        result
    }

    /// Executes. Where an address changed on the way, others may have been told the old one: they get a second look,
    /// unless a node has failed and the next run looks anyway.
    async fn execute_until_true(
        &self,
        blueprint: &dyn Blueprint,
        voice: (&Hold, &Emitter),
        (prepared, token): (Prepared, CancellationToken),
    ) -> Result<Parts, EngineError> {
        let approved = prepared.plan.clone();
        let added = Added::by(&prepared);
        let parts = execute(&self.config, blueprint, voice, (prepared, token.clone())).await?;
        if let Some(undone) = added.after(&parts).filter(|_| !parts.interrupted) {
            undone.tell(voice.1).await;
            let rest = self.prepare_without(blueprint, Some(&undone)).await?;
            if !undone.covers(&rest.plan, &approved) {
                return Ok(parts);
            }
            let rest = execute(&self.config, blueprint, voice, (rest, token)).await?;
            return Ok(undone.account(parts, rest));
        }
        let is_ready = parts.nodes.iter().all(|node| node.phase == Phase::Ready);
        if !parts.has_moved || parts.interrupted || !is_ready {
            return Ok(parts);
        }
        let again = self.prepare(blueprint).await?;
        if again.plan.is_empty() || !again.plan.destroys_beyond(&approved).is_empty() {
            return Ok(parts);
        }
        let more = execute(&self.config, blueprint, voice, (again, token)).await?;
        Ok(parts.followed_by(more))
    }

    /// The voice of a run, which also tells of the orders that the provider is given.
    pub(crate) fn emitter(&self, cluster: &muster_types::ClusterName) -> Arc<Emitter> {
        let emitter = Arc::new(Emitter::new(cluster.clone(), &self.config));
        *self.voice.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&emitter));
        emitter
    }
}

fn planned(plan: &Plan) -> EventBody {
    let summary = plan.summary();
    EventBody::Planned {
        create: summary.create,
        start: summary.start,
        configure: summary.configure,
        replace: summary.replace,
        remove: summary.remove,
        keep: summary.keep,
    }
}

/// The last event of a run, and the last write of its log.
pub(crate) async fn tell_end(emitter: &Emitter, result: Result<&Outcome, &EngineError>, begun: Instant) {
    let (exit, ready, total) = match result {
        Ok(outcome) => (outcome.exit.code(), outcome.ready(), outcome.total()),
        Err(error) => {
            let (message, hint) = (chain(error), error.hint());
            emitter.emit(EventBody::Failed { node: None, step: None, message, log: Vec::new(), hint }).await;
            (error.exit_code(), 0, 0)
        }
    };
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    emitter.emit(EventBody::RunFinished { exit, ready, total, duration_ms }).await;
    emitter.flush().await;
}

/// What a run leaves.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) nodes: Vec<NodeOutcome>,
    pub(crate) removed: Vec<NodeName>,
    pub(crate) leftovers: Vec<String>,
    pub(crate) interrupted: bool,
    pub(crate) has_moved: bool,
}

impl Parts {
    /// What a second look changed; what it left as it was is told as the first one left it.
    fn followed_by(self, more: Self) -> Self {
        let mut first: BTreeMap<NodeName, NodeOutcome> =
            self.nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        let nodes = more.nodes.into_iter().map(|node| {
            let before = first.remove(&node.name).filter(|_| node.verb == Verb::Keep);
            before.unwrap_or(node)
        });
        let mut leftovers = self.leftovers;
        leftovers.extend(more.leftovers);
        Self {
            nodes: nodes.collect(),
            removed: self.removed.into_iter().chain(more.removed).collect(),
            leftovers,
            interrupted: more.interrupted,
            has_moved: false,
        }
    }

    pub(crate) fn into_outcome(
        mut self,
        cluster: &muster_types::ClusterName,
        emitter: &Emitter,
        begun: Instant,
    ) -> Outcome {
        self.nodes.iter_mut().for_each(|node| emitter.redactor.clean_outcome(node));
        self.leftovers.iter_mut().for_each(|text| emitter.redactor.clean(text));
        let exit = if self.interrupted {
            Exit::Interrupted
        } else {
            exit_of(&self.nodes, self.removed.len(), self.leftovers.len())
        };
        Outcome {
            cluster: cluster.clone(),
            run: emitter.run().clone(),
            nodes: self.nodes,
            removed: self.removed,
            untouched: 0,
            leftovers: self.leftovers,
            exit,
            took: begun.elapsed(),
        }
    }
}

async fn execute(
    config: &EngineConfig,
    blueprint: &dyn Blueprint,
    (hold, emitter): (&Hold, &Emitter),
    (prepared, token): (Prepared, CancellationToken),
) -> Result<Parts, EngineError> {
    let Prepared { plan, desired, observation, mut known, renewals, wishes, is_partial, .. } = prepared;
    preflight::check(config, &plan, &desired).await?;
    // What gets another machine does not follow before it is configured.
    for action in plan.actions().iter().filter(|action| action.verb == Verb::Replace) {
        known.followers.remove(&action.node);
    }
    let record = observation.cluster.as_ref();
    note_cluster(config, blueprint, hold, (record, &observation.owner_tag, wishes)).await?;
    let run = Run {
        config,
        hold,
        emitter,
        owner_tag: &observation.owner_tag,
        blueprint,
        board: Board::new(&desired, known, moving(&plan)),
        kitchen: Kitchen::new(config, blueprint),
        provider_slots: Semaphore::new(concurrency(config)),
        agent_slots: Semaphore::new(config.limits.agents_max),
    };
    if !is_partial {
        unseen::finish_strays(&run, &plan, &observation.intents).await?;
    }
    let mut parts = parts(&plan, &desired, &observation.records, &observation.intents);
    for part in &mut parts {
        part.machine = observation.machine(&part.action.node).cloned();
    }
    let mut outcomes = BTreeMap::new();
    let tasks: FuturesUnordered<Task<'_>> = FuturesUnordered::new();
    for part in parts {
        let mut node = NodeRun::new(&run, part);
        if node.is_kept() {
            node.note_facts().await?;
            let outcome = node.keep();
            outcomes.insert(outcome.name.clone(), outcome);
        } else {
            tasks.push(Box::pin(async move { node.live().await.map(Some) }));
        }
    }
    for node in renewals {
        let address = observation.machine(&node).and_then(|machine| machine.addresses.first()).copied();
        let run = &run;
        if let Some(address) = address {
            tasks.push(Box::pin(async move {
                renew(run, &node, address).await;
                Ok(None)
            }));
        }
    }
    let mut result = Parts { interrupted: false, ..Parts::default() };
    result.interrupted = drive(&run, tasks, &token, |lived| {
        result.leftovers.extend(lived.leftovers);
        if let Some(outcome) = lived.outcome {
            outcomes.insert(outcome.name.clone(), outcome);
        } else {
            result.removed.extend(lived.gone);
        }
    })
    .await?;
    result.removed.sort_by(|a, b| (a.index(), a).cmp(&(b.index(), b)));
    result.has_moved = run.board.has_moved();
    for action in plan.actions().iter().filter(|action| !action.extra) {
        match outcomes.remove(&action.node) {
            Some(outcome) => result.nodes.push(outcome),
            None if result.interrupted => result.nodes.push(interrupted(&run, action)),
            None => {}
        }
    }
    Ok(result)
}

/// The nodes that may change what others are told.
fn moving(plan: &Plan) -> BTreeSet<NodeName> {
    let moving = plan.actions().iter().filter(|action| !action.extra && action.verb != Verb::Keep && !action.follows);
    moving.map(|action| action.node.clone()).collect()
}

/// Runs all tasks to their end. True when it was interrupted.
async fn drive(
    run: &Run<'_>,
    mut tasks: FuturesUnordered<Task<'_>>,
    token: &CancellationToken,
    mut lived: impl FnMut(Lived),
) -> Result<bool, EngineError> {
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    flush.reset();
    loop {
        tokio::select! {
            biased;
            // Dropping the tasks in the middle is what a crash would do, and what every task is made for.
            () = token.cancelled() => return Ok(true),
            error = run.hold.lost() => return Err(error),
            // A task that is not done stays where it is.
            done = tasks.next() => match done {
                None => return Ok(false),
                Some(Ok(Some(end))) => lived(end),
                Some(Ok(None)) => {}
                Some(Err(error)) => return Err(error),
            },
            // The next tick comes later.
            _ = flush.tick() => run.emitter.flush().await,
        }
    }
}

/// The cluster is known before its first machine is asked for.
async fn note_cluster(
    config: &EngineConfig,
    blueprint: &dyn Blueprint,
    hold: &Hold,
    (known, owner_tag, wishes): (Option<&ClusterRecord>, &str, Wishes),
) -> Result<(), EngineError> {
    let (file, settings) = (whole_path(blueprint.file()), blueprint.settings(&config.provider_name));
    let Reading { definitions, image } = blueprint.reading();
    let reading = Reading { definitions: definitions.map(|file| whole_path(&file)), image };
    let Wishes { scaled, leaving } = wishes;
    let record = match known {
        Some(record) => ClusterRecord { file, reading, settings, scaled, leaving, ..record.clone() },
        None => ClusterRecord {
            name: blueprint.cluster().clone(),
            revision: 0,
            provider: config.provider_name.clone(),
            settings,
            owner_tag: owner_tag.to_owned(),
            file,
            reading,
            created_at: Timestamp::now(),
            removing: false,
            scaled,
            leaving,
        },
    };
    if known == Some(&record) {
        return Ok(());
    }
    let written = config.store.put_cluster(&record, hold.check()?).await;
    written.map(drop).map_err(EngineError::store("record the cluster"))
}

/// Found again from other folders.
fn whole_path(file: &str) -> String {
    let path = std::path::Path::new(file);
    let is_file = !matches!(file, "" | "-");
    let whole = is_file.then(|| std::path::absolute(path).ok()).flatten();
    whole.map_or_else(|| file.to_owned(), |whole| whole.display().to_string())
}

/// The plan by node: one task each.
fn parts<'a>(
    plan: &'a Plan,
    desired: &'a [DesiredNode],
    records: &BTreeMap<NodeName, NodeRecord>,
    intents: &[Intent],
) -> Vec<NodePart<'a>> {
    let desired: BTreeMap<&NodeName, &DesiredNode> = desired.iter().map(|node| (&node.name, node)).collect();
    let mut open: BTreeMap<&NodeName, Vec<Intent>> = BTreeMap::new();
    for intent in intents {
        open.entry(&intent.node).or_default().push(intent.clone());
    }
    let mut extras: BTreeMap<&NodeName, Vec<&Action>> = BTreeMap::new();
    for action in plan.actions().iter().filter(|action| action.extra) {
        extras.entry(&action.node).or_default().push(action);
    }
    let mains = plan.actions().iter().filter(|action| !action.extra);
    let part = |action: &'a Action| NodePart {
        action,
        extras: extras.remove(&action.node).unwrap_or_default(),
        desired: desired.get(&action.node).copied(),
        record: records.get(&action.node).cloned(),
        open: open.remove(&action.node).unwrap_or_default(),
        machine: None,
    };
    mains.map(part).collect()
}

async fn renew(run: &Run<'_>, node: &NodeName, address: std::net::IpAddr) {
    let renewed = match run.hold.check() {
        Ok(_) => tokio::time::timeout(run.config.limits.reach, run.config.links.node(node, address).renew()).await,
        Err(_) => return,
    };
    let problem = match renewed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    run.emitter.warn(Some(node), format!("its certificate was not renewed: {problem}")).await;
}

fn interrupted(run: &Run<'_>, action: &Action) -> NodeOutcome {
    let standing = run.board.standing(&action.node);
    let is_there = action.verb == Verb::Keep || action.follows;
    NodeOutcome {
        name: action.node.clone(),
        group: action.group.clone(),
        verb: action.verb,
        why: action.reason.clone(),
        phase: standing.phase.unwrap_or(if is_there { Phase::Ready } else { Phase::Planned }),
        reason: "interrupted".to_owned(),
        step: None,
        log: Vec::new(),
        hint: "run the command again: it goes on from here".to_owned(),
        machine: standing.machine.or_else(|| action.machine.clone()),
        addresses: standing.addresses,
        changed: 0,
        took: Duration::ZERO,
        timed_out: false,
    }
}
