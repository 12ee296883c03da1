//! Work on nodes that stay: taking them out of work and back, stopping and rebooting them. Nothing else is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use muster_api::{EventBody, StatusReply};
use muster_plan::{Action, Verb};
use muster_provider::MachineState;
use muster_stdx::Backoff;
use muster_store::{Drained, Intent, IntentAction, NodeRecord};
use muster_types::{GroupName, NodeName, Phase};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::bake::Kitchen;
use crate::blueprint::Blueprint;
use crate::board::Board;
use crate::compile::DesiredNode;
use crate::engine::Prepared;
use crate::events::Emitter;
use crate::fault::{Fault, Stop};
use crate::lease::Hold;
use crate::node::{NodePart, NodeRun};
use crate::outcome::{NodeOutcome, Outcome, exit_as};
use crate::run::{Run, concurrency};
use crate::up::{Parts, tell_end};
use crate::{Engine, EngineConfig, EngineError};

/// What is done to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tend {
    /// What runs on them comes to its end and nothing new begins, until they are resumed.
    Drain,
    Resume,
    /// Drained, then powered off. Their data is kept.
    Stop,
    /// Drained, rebooted, checked, resumed.
    Reboot,
}

impl Tend {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
        }
    }

    /// What nodes are afterwards.
    pub fn aim(self) -> Phase {
        match self {
            Self::Drain => Phase::Draining,
            Self::Stop => Phase::Stopped,
            Self::Resume | Self::Reboot => Phase::Ready,
        }
    }
}

impl Engine {
    /// Does it to these nodes, all at once; those that others need are stopped after them. Can be repeated, also after a
    /// crash anywhere in it.
    pub async fn tend(
        &self,
        blueprint: &dyn Blueprint,
        (tend, nodes): (Tend, &BTreeSet<NodeName>),
        token: CancellationToken,
    ) -> Result<Outcome, EngineError> {
        let begun = Instant::now();
        let cluster = blueprint.cluster();
        let hold = self.hold(cluster).await?;
        let emitter = self.emitter(cluster);
        let prepared = Box::pin(self.prepare(blueprint)).await?;
        let all = prepared.desired.len();
        let command = format!("{} of {} nodes", tend.as_str(), nodes.len());
        emitter.emit(EventBody::RunStarted { cluster: cluster.clone(), command }).await;
        emitter.ordered(&self.config, "").await;
        let result =
            Box::pin(tend_all(&self.config, blueprint, (&hold, &emitter), (prepared, tend, nodes), &token)).await;
        let result = result.map(|parts| {
            let interrupted = parts.interrupted;
            let mut outcome = parts.into_outcome(cluster, &emitter, begun);
            if !interrupted {
                outcome.exit = exit_as(&outcome.nodes, tend.aim());
            }
            outcome.untouched = all.saturating_sub(outcome.nodes.len());
            outcome
        });
        tell_end(&emitter, result.as_ref(), begun).await;
        result
    }
}

async fn tend_all(
    config: &EngineConfig,
    blueprint: &dyn Blueprint,
    (hold, emitter): (&Hold, &Emitter),
    (prepared, tend, nodes): (Prepared, Tend, &BTreeSet<NodeName>),
    token: &CancellationToken,
) -> Result<Parts, EngineError> {
    let Prepared { desired, observation, known, .. } = prepared;
    let run = Run {
        config,
        hold,
        emitter,
        owner_tag: &observation.owner_tag,
        blueprint,
        board: Board::new(&desired, known, BTreeSet::new()),
        kitchen: Kitchen::new(config, blueprint),
        provider_slots: Semaphore::new(concurrency(config)),
        agent_slots: Semaphore::new(config.limits.agents_max),
    };
    // Nobody is made here: who waited for the address of a node that has none would wait for ever.
    for node in &desired {
        run.board.drop_member(&node.name);
    }
    let by_name: BTreeMap<&NodeName, &DesiredNode> = desired.iter().map(|node| (&node.name, node)).collect();
    let mut parts = Parts::default();
    for stage in stages(nodes, &by_name, tend) {
        let actions: Vec<Action> = stage.into_iter().map(|node| action(node, &observation.records)).collect();
        let runs = actions.iter().map(|action| {
            let part = NodePart {
                action,
                extras: Vec::new(),
                desired: by_name.get(&action.node).copied(),
                record: observation.records.get(&action.node).cloned(),
                open: observation.intents.iter().filter(|intent| intent.node == action.node).cloned().collect(),
                machine: observation.machine(&action.node).cloned(),
            };
            NodeRun::new(&run, part).be_tended(tend)
        });
        let mut working = stream::iter(runs).buffer_unordered(config.limits.agents_max);
        loop {
            tokio::select! {
                biased;
                // What was begun is written down: the same command goes on from there.
                () = token.cancelled() => {
                    parts.interrupted = true;
                    break;
                }
                error = hold.lost() => return Err(error),
                done = working.next() => match done {
                    Some(outcome) => parts.nodes.push(outcome?),
                    None => break,
                },
            }
        }
        if parts.interrupted {
            break;
        }
    }
    parts.nodes.sort_by(|a, b| (&a.group, a.name.index(), &a.name).cmp(&(&b.group, b.name.index(), &b.name)));
    Ok(parts)
}

/// Who may be worked on at the same time. A group is stopped before those that it needs: they run its hooks.
fn stages<'n>(
    nodes: &'n BTreeSet<NodeName>,
    desired: &BTreeMap<&NodeName, &DesiredNode>,
    tend: Tend,
) -> Vec<Vec<&'n NodeName>> {
    if tend != Tend::Stop {
        return vec![nodes.iter().collect()];
    }
    let mut needs: BTreeMap<&GroupName, BTreeSet<&GroupName>> = BTreeMap::new();
    for node in desired.values() {
        needs.entry(&node.group).or_default().extend(&node.needs);
    }
    let mut depths: BTreeMap<&GroupName, usize> = needs.keys().map(|group| (*group, 0)).collect();
    // The needs of groups have no circles, so no way through them is longer than there are groups.
    for _ in 0..needs.len() {
        for (group, needed) in &needs {
            let depth = needed.iter().filter_map(|need| depths.get(need)).map(|depth| depth + 1).max().unwrap_or(0);
            depths.insert(group, depth);
        }
    }
    let mut stages: BTreeMap<std::cmp::Reverse<usize>, Vec<&NodeName>> = BTreeMap::new();
    for node in nodes {
        let depth = desired.get(node).and_then(|of| depths.get(&of.group)).copied().unwrap_or_default();
        stages.entry(std::cmp::Reverse(depth)).or_default().push(node);
    }
    stages.into_values().collect()
}

fn action(node: &NodeName, records: &BTreeMap<NodeName, NodeRecord>) -> Action {
    let record = records.get(node);
    Action {
        verb: Verb::Configure,
        node: node.clone(),
        group: record.map_or_else(|| crate::down::group_of(node), |record| record.group.clone()),
        reason: "asked for".to_owned(),
        machine: record.and_then(|record| record.machine.clone()),
        extra: false,
        follows: false,
        needs: Vec::new(),
        waits_for: Vec::new(),
        steps: Vec::new(),
        token: None,
    }
}

impl NodeRun<'_> {
    async fn be_tended(mut self, tend: Tend) -> Result<NodeOutcome, EngineError> {
        let done = match self.machine.as_ref().map(|machine| machine.state) {
            _ if self.desired.is_none() => Err(self.not_in_the_file().into()),
            None => {
                let hint = "`muster status` says where it is; `muster up` makes what is missing";
                Err(Fault::new("it has no machine", hint).into())
            }
            Some(state) => match tend {
                Tend::Drain => self.take_out().await,
                Tend::Resume => self.take_back().await,
                Tend::Stop => self.stop(state).await,
                Tend::Reboot => self.reboot().await,
            },
        };
        match done {
            Ok(()) => {
                self.ready_after = self.begun.elapsed();
                self.run.emitter.phase(self.name(), tend.aim(), "", "").await;
                let mut outcome = self.outcome(tend.aim(), Fault::default());
                outcome.took = self.ready_after;
                Ok(outcome)
            }
            Err(Stop::Run(error)) => Err(*error),
            Err(Stop::Node(fault)) => {
                self.tell_failure(&fault).await;
                Ok(self.outcome(Phase::Failed, *fault))
            }
        }
    }

    fn not_in_the_file(&self) -> Fault {
        let hint = "`muster plan` shows what would become of it";
        Fault::new(format!("{} is not among the nodes that the file asks for", self.name()), hint)
    }

    async fn take_out(&mut self) -> Result<(), Stop> {
        if self.withdraw(Drained::Asked).await? {
            return Ok(());
        }
        let hint = "give its recipe a `drain` hook, or stop it: `muster node stop`";
        Err(Fault::new("its recipe says nothing of how it is drained", hint).into())
    }

    async fn take_back(&mut self) -> Result<(), Stop> {
        self.leaving = true;
        self.record.drained = None;
        self.resume().await?;
        self.record.reason = String::new();
        Ok(self.save().await?)
    }

    async fn stop(&mut self, state: MachineState) -> Result<(), Stop> {
        if state == MachineState::Running {
            self.withdraw(Drained::Stopped).await?;
        }
        let _slot = self.run.provider_slots.acquire().await;
        let machine = self.machine.as_ref().map(|machine| machine.id.clone());
        let intent = self.begin(IntentAction::Stop, machine.clone()).await?;
        let provider = &self.run.config.provider;
        if let Some(machine) = &machine {
            self.run.ask("stop the machine", || provider.stop(machine)).await?;
        }
        Ok(self.finish_as(&intent, Phase::Stopped).await?)
    }

    async fn reboot(&mut self) -> Result<(), Stop> {
        let before = self.record.phase;
        let link = self.link()?;
        let ask = self.run.config.limits.ask;
        let boot =
            tokio::time::timeout(ask, link.status()).await.ok().and_then(Result::ok).map(|status| status.boot_id);
        self.withdraw(Drained::Stopped).await?;
        let machine = self.machine.as_ref().map(|machine| machine.id.clone());
        let intent = self.begin(IntentAction::Reboot, machine.clone()).await?;
        self.enter(Phase::Booting, "").await;
        if let Some(machine) = machine {
            let _slot = self.run.provider_slots.acquire().await;
            let provider = &self.run.config.provider;
            self.run.ask("reboot the machine", || provider.reboot(&machine)).await?;
            self.run.ask("wait for the machine", || provider.wait_running(&machine)).await?;
        }
        self.come_back(boot).await?;
        let (_, rendered) = self.render().await?;
        let link = self.link()?;
        self.check(&link, (&rendered.checks, rendered.outside.as_ref())).await?;
        self.leaving = self.record.drained == Some(Drained::Stopped);
        self.resume().await?;
        Ok(self.finish_as(&intent, if before == Phase::Failed { before } else { Phase::Ready }).await?)
    }

    /// Returns when its agent answers in another boot than before.
    async fn come_back(&mut self, before: Option<String>) -> Result<(), Stop> {
        self.enter(Phase::Joining, "its agent, after the reboot").await;
        let limits = &self.run.config.limits;
        let deadline = tokio::time::Instant::now() + limits.reach;
        let mut backoff = Backoff::new(Duration::from_millis(10).min(limits.pause_first), limits.pause_longest);
        let mut last = "no answer".to_owned();
        loop {
            let link = self.link()?;
            match tokio::time::timeout_at(deadline, link.status()).await {
                Ok(Ok(StatusReply { boot_id, .. })) if before.as_ref() != Some(&boot_id) => return Ok(()),
                Ok(Ok(_)) => "it is still in the boot that was to end".clone_into(&mut last),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => {}
            }
            let pause = backoff.pause();
            if tokio::time::Instant::now() + pause >= deadline {
                let words = format!("it did not come back within {} s: {last}", limits.reach.as_secs());
                let hint = format!("read `muster logs {} --console`; `muster up` goes on from here", self.name());
                return Err(Fault::timeout(words, hint).into());
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn finish_as(&mut self, intent: &Intent, phase: Phase) -> Result<(), EngineError> {
        if self.record.phase != phase {
            self.record.since = muster_types::Timestamp::now();
        }
        self.record.phase = phase;
        if phase != Phase::Failed {
            self.record.reason = String::new();
        }
        self.finish(intent).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_stopped_before_those_that_they_need() {
        let node = |name: &str, needs: &[&str]| DesiredNode {
            needs: needs.iter().map(|need| GroupName::new(*need).unwrap()).collect(),
            name: NodeName::new(name).unwrap(),
            group: GroupName::new(name.split('-').next().unwrap()).unwrap(),
            provider: String::new(),
            image: None,
            packages: BTreeSet::new(),
            shared_folders: BTreeSet::new(),
            size: muster_provider::Size::default(),
            settings: None,
            tags: muster_provider::Tags::new(),
            machine_hash: String::new(),
            on_failure: muster_spec::OnFailure::Keep,
            timeout: Duration::ZERO,
        };
        let nodes = [node("db-1", &[]), node("web-1", &["db"]), node("web-2", &["db"]), node("front-1", &["web"])];
        let desired: BTreeMap<&NodeName, &DesiredNode> = nodes.iter().map(|node| (&node.name, node)).collect();
        let chosen: BTreeSet<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
        let names = |tend| -> Vec<String> {
            let stages = stages(&chosen, &desired, tend);
            stages.iter().map(|stage| stage.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(names(Tend::Stop), ["front-1", "web-1 web-2", "db-1"]);
        assert_eq!(names(Tend::Drain), ["db-1 front-1 web-1 web-2"]);
    }
}
