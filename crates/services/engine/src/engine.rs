//! The engine of one cluster: its parts, its lease, and what was prepared for a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_api::Event;
use muster_plan::{Begun, BegunAction, Change, Desired, Facts, Health, Inputs, Plan, Policy, Verb};
use muster_provider::Provider;
use muster_spec::OnFailure;
use muster_store::{Intent, IntentAction, LeaseHolder, Store};
use muster_types::{ClusterName, Generation, GroupName, NodeName, Redacted, Timestamp};
use tokio::sync::{Mutex, mpsc};

use crate::audited::{Audited, Voice};
use crate::bake::unbaked;
use crate::blueprint::Blueprint;
use crate::board::Known;
use crate::compile::DesiredNode;
use crate::drain::Drain;
use crate::facts::{Replies, ask_agents, facts, forget_left, leaving, members, renewals, running};
use crate::lease::{Clock, Hold};
use crate::link::AgentLinks;
use crate::observe::{Observation, observe};
use crate::reality::Reality;
use crate::rollback::Undone;
use crate::wishes::Wishes;
use crate::{EngineError, Limits};

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineConfig {
    pub store: Arc<dyn Store>,
    pub provider: Arc<dyn Provider>,
    pub provider_name: String,
    /// The cluster's CA certificate, which new machines are given.
    pub ca_pem: String,
    pub links: Arc<dyn AgentLinks>,
    pub holder: LeaseHolder,
    /// Machines at work at once; the provider's own limit holds as well.
    pub concurrency_max: usize,
    /// Where the events of runs go; a slow listener slows the run down, one that has gone does not matter.
    pub events: mpsc::Sender<Event>,
    pub limits: Limits,
    /// Tells how much is left of the lease.
    pub clock: Arc<dyn Clock>,
    pub policy: Policy,
    pub drain: Drain,
    /// What no event, no record and no account may hold.
    pub redact: Vec<Redacted<String>>,
}

/// Builds, changes and removes one cluster.
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) voice: Voice,
    hold: Mutex<Option<Arc<Hold>>>,
    prepared: Mutex<Option<Prepared>>,
    /// Written down when a plan is executed.
    pub(crate) wishes: Mutex<Wishes>,
}

/// What a plan was made from, for the run that executes it.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) desired: Vec<DesiredNode>,
    pub(crate) observation: Observation,
    pub(crate) known: Known,
    pub(crate) renewals: Vec<NodeName>,
    /// This time and before.
    pub(crate) wishes: Wishes,
    /// The plan does not speak of every node.
    pub(crate) is_partial: bool,
    pub(crate) facts: BTreeMap<NodeName, Facts>,
    pub(crate) replies: Replies,
    /// The lease that was held meanwhile: nobody else has changed anything since.
    generation: Option<Generation>,
}

impl Engine {
    pub fn new(mut config: EngineConfig) -> Self {
        let voice = Voice::default();
        let (inner, nodes) = (Arc::clone(&config.provider), std::sync::Mutex::default());
        config.provider = Arc::new(Audited { inner, voice: Arc::clone(&voice), nodes });
        Self { config, voice, hold: Mutex::default(), prepared: Mutex::default(), wishes: Mutex::default() }
    }

    /// Takes the cluster's lease, unless this engine has it. It is renewed until `release`, or until the engine goes.
    /// A plan that is made under it needs no second look before it is executed.
    pub async fn lease(&self, cluster: &ClusterName) -> Result<(), EngineError> {
        self.hold(cluster).await.map(drop)
    }

    /// Gives the lease back.
    pub async fn release(&self) -> Result<(), EngineError> {
        match self.hold.lock().await.take() {
            Some(hold) => hold.release().await,
            None => Ok(()),
        }
    }

    /// What would be done. Read-only; needs no lease.
    pub async fn plan(&self, blueprint: &dyn Blueprint) -> Result<Plan, EngineError> {
        let prepared = self.prepare(blueprint).await?;
        let plan = prepared.plan.clone();
        *self.prepared.lock().await = Some(prepared);
        Ok(plan)
    }

    /// What the last plan was made from; `None` before the first and once it was executed.
    pub async fn reality(&self) -> Option<Reality> {
        self.prepared.lock().await.as_ref().map(Reality::of)
    }

    /// How many nodes each group of the file should have now.
    pub async fn numbers(&self, blueprint: &dyn Blueprint) -> Result<BTreeMap<GroupName, u32>, EngineError> {
        let observation = observe(&self.config, blueprint.cluster()).await?;
        let wishes = Wishes::of(observation.cluster.as_ref(), &Wishes::default());
        let mut numbers = BTreeMap::new();
        for node in blueprint.desired(&wishes.staying(observation.existing()), &wishes.scaled) {
            *numbers.entry(node.group).or_default() += 1;
        }
        Ok(numbers)
    }

    /// From the next plan on groups have these numbers of nodes. They are written down when a plan is executed, and
    /// hold until the next such call; the file's ranges bound them.
    pub async fn scale(&self, numbers: BTreeMap<GroupName, u32>) {
        self.wishes.lock().await.scaled.extend(numbers);
    }

    /// Where groups have too many nodes from the next plan on, these go first.
    pub async fn let_go(&self, nodes: BTreeSet<NodeName>) {
        self.wishes.lock().await.leaving.extend(nodes);
    }

    /// The nodes of each group that have a machine, the oldest first.
    pub async fn by_age(&self, cluster: &ClusterName) -> Result<BTreeMap<GroupName, Vec<NodeName>>, EngineError> {
        let observation = observe(&self.config, cluster).await?;
        let mut ages: BTreeMap<GroupName, Vec<(Timestamp, Option<u32>, NodeName)>> = BTreeMap::new();
        for record in observation.records.values() {
            if let Some(machine) = observation.machine(&record.name) {
                let age = (machine.created_at, record.name.index(), record.name.clone());
                ages.entry(record.group.clone()).or_default().push(age);
            }
        }
        let sorted = ages.into_iter().map(|(group, mut nodes)| {
            nodes.sort();
            (group, nodes.into_iter().map(|(.., name)| name).collect())
        });
        Ok(sorted.collect())
    }

    pub(crate) async fn hold(&self, cluster: &ClusterName) -> Result<Arc<Hold>, EngineError> {
        let mut held = self.hold.lock().await;
        if let Some(hold) = &*held {
            if hold.cluster() != cluster {
                return Err(EngineError::OtherCluster { held: hold.cluster().clone(), asked: cluster.clone() });
            }
            hold.check()?;
            return Ok(Arc::clone(hold));
        }
        let config = &self.config;
        let hold = Hold::acquire(config, cluster).await?;
        let hold = Arc::new(hold);
        *held = Some(Arc::clone(&hold));
        Ok(hold)
    }

    /// What an approved plan was made from, if nobody can have changed anything since; else a new look, whose plan may
    /// not destroy more than the approved one.
    pub(crate) async fn prepared_for(
        &self,
        blueprint: &dyn Blueprint,
        approved: &Plan,
        generation: Generation,
    ) -> Result<Prepared, EngineError> {
        let prepared = self.prepared.lock().await.take();
        if let Some(prepared) = prepared
            && prepared.generation == Some(generation)
            && prepared.plan == *approved
        {
            return Ok(prepared);
        }
        let prepared = self.prepare(blueprint).await?;
        let beyond = prepared.plan.destroys_beyond(approved);
        if beyond.is_empty() {
            return Ok(prepared);
        }
        let actions = beyond.iter().map(|action| format!("{} {}", action.verb.as_str(), action.node)).collect();
        Err(EngineError::PlanChanged { actions })
    }

    pub(crate) async fn prepare(&self, blueprint: &dyn Blueprint) -> Result<Prepared, EngineError> {
        self.prepare_without(blueprint, None).await
    }

    /// With `undone`, those nodes go, and nothing else is done but what that needs.
    pub(crate) async fn prepare_without(
        &self,
        blueprint: &dyn Blueprint,
        undone: Option<&Undone>,
    ) -> Result<Prepared, EngineError> {
        let cluster = blueprint.cluster();
        let generation = self.hold.lock().await.as_ref().map(|hold| hold.generation());
        let observation = observe(&self.config, cluster).await?;
        if observation.cluster.as_ref().is_some_and(|record| record.removing) {
            return Err(EngineError::BeingRemoved { cluster: cluster.clone() });
        }
        let mut wishes = Wishes::of(observation.cluster.as_ref(), &*self.wishes.lock().await);
        if let Some(undone) = undone {
            undone.take_back(&mut wishes);
        }
        let mut desired = blueprint.desired(&wishes.staying(observation.existing()), &wishes.scaled);
        desired.retain(|node| undone.is_none_or(|undone| undone.leaves(&node.name, &observation)));
        wishes.settle(|node| observation.is_known(node), &desired.iter().map(|node| &node.name).collect());
        let policy = undone.map_or_else(|| self.config.policy.clone(), Undone::policy);
        let replies = ask_agents(&self.config, running(&observation)).await;
        let mut inputs = Inputs {
            cluster: cluster.clone(),
            provider: self.config.provider_name.clone(),
            desired: desired.iter().map(desired_input).collect(),
            observed: observation.observed(),
            recorded: observation.recorded(),
            begun: observation.intents.iter().map(begun_input).collect(),
            facts: BTreeMap::new(),
            unbaked: BTreeMap::new(),
            policy,
        };
        // A node that gets another machine gets another address: what others are given can only be known then. That
        // may make more nodes move, so this goes on until no more do; the set only grows.
        let mut moving = BTreeSet::new();
        // Why nodes are replaced, which cannot be seen any more once their own address is taken for unknown.
        let mut reasons: BTreeMap<NodeName, Change> = BTreeMap::new();
        let (plan, known) = loop {
            let members = members(&desired, &observation, (&replies, &moving));
            let mut leaving = leaving(&members, &observation, &replies);
            forget_left(blueprint, (&members, &mut leaving), &observation, &replies);
            let mut known = Known { members, leaving, followers: BTreeMap::new() };
            inputs.facts = facts(blueprint, &desired, &observation, (&mut known, &replies))?;
            for (node, change) in &reasons {
                if let Some(facts) = inputs.facts.get_mut(node)
                    && matches!(facts.change, Change::Unknown { .. })
                {
                    facts.change = change.clone();
                }
            }
            let plan = muster_plan::plan(&inputs);
            let replaced = plan.actions().iter().filter(|action| action.verb == Verb::Replace);
            let before = moving.len();
            moving.extend(replaced.map(|action| action.node.clone()));
            if moving.len() == before {
                break (plan, known);
            }
            let replacing = |facts: &Facts| matches!(facts.change, Change::Replace { .. });
            let found = inputs.facts.iter().filter(|(_, facts)| replacing(facts));
            reasons.extend(found.map(|(node, facts)| (node.clone(), facts.change.clone())));
        };
        let mut known = known;
        // One that does not answer cannot follow, and putting that right was not asked for.
        known.followers.retain(|node, _| {
            let answers = inputs.facts.get(node).is_some_and(|facts| facts.health == Health::Answers);
            inputs.policy.asks_for(node) || answers
        });
        let is_partial = inputs.policy.only.is_some();
        let facts = inputs.facts.clone();
        let plan = self.with_images(blueprint, &desired, (plan, inputs)).await;
        let renewals = renewals(&self.config, &replies, Timestamp::now());
        Ok(Prepared { plan, desired, observation, known, renewals, wishes, is_partial, facts, replies, generation })
    }

    /// The same plan, which also names the images that have to be made for it.
    async fn with_images(
        &self,
        blueprint: &dyn Blueprint,
        desired: &[DesiredNode],
        (plan, mut inputs): (Plan, Inputs),
    ) -> Plan {
        let made = plan.actions().iter().filter(|action| matches!(action.verb, Verb::Create | Verb::Replace));
        let made: BTreeSet<&NodeName> = made.map(|action| &action.node).collect();
        let nodes = desired.iter().filter(|node| made.contains(&node.name)).collect();
        inputs.unbaked = unbaked(&self.config, blueprint, nodes).await;
        if inputs.unbaked.is_empty() { plan } else { muster_plan::plan(&inputs) }
    }
}

fn desired_input(node: &DesiredNode) -> Desired {
    Desired {
        name: node.name.clone(),
        group: node.group.clone(),
        needs: node.needs.clone(),
        machine_hash: node.machine_hash.clone(),
        replace_failed: node.on_failure == OnFailure::Replace,
    }
}

fn begun_input(intent: &Intent) -> Begun {
    Begun {
        node: intent.node.clone(),
        action: match intent.action {
            IntentAction::Create => BegunAction::Create,
            // What was stopped is started, and what was rebooted is looked at.
            IntentAction::Start | IntentAction::Stop | IntentAction::Reboot => BegunAction::Start,
            IntentAction::Configure => BegunAction::Configure,
            IntentAction::Remove => BegunAction::Remove,
        },
        machine: intent.machine.clone(),
        token: intent.id.clone(),
    }
}
