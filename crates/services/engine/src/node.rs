//! One node's way through a run: from its action in the plan to ready, gone, or a reason why not.

use std::time::{Duration, Instant};

use muster_api::EventBody;
use muster_plan::{Action, Verb};
use muster_provider::Machine;
use muster_store::{Drained, Intent, IntentAction, NodeRecord};
use muster_types::{ClientToken, MachineId, NodeName, Phase, Timestamp};

use crate::EngineError;
use crate::compile::DesiredNode;
use crate::fault::{Fault, Stop};
use crate::outcome::NodeOutcome;
use crate::policy::Tries;
use crate::run::Run;

/// What a node's task leaves.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) outcome: Option<NodeOutcome>,
    /// The node, when it is gone as asked.
    pub(crate) gone: Option<NodeName>,
    pub(crate) leftovers: Vec<String>,
}

/// What a node's task is made from.
pub(crate) struct NodePart<'a> {
    pub(crate) action: &'a Action,
    pub(crate) extras: Vec<&'a Action>,
    /// `None` for a node that is to go.
    pub(crate) desired: Option<&'a DesiredNode>,
    pub(crate) record: Option<NodeRecord>,
    pub(crate) open: Vec<Intent>,
    pub(crate) machine: Option<Machine>,
}

#[expect(clippy::struct_excessive_bools, reason = "what has happened to a node is true or not, each by itself")]
pub(crate) struct NodeRun<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) action: &'a Action,
    pub(crate) desired: Option<&'a DesiredNode>,
    pub(crate) record: NodeRecord,
    /// Intents of earlier runs that nobody finished.
    pub(crate) open: Vec<Intent>,
    /// The intent that the node's last write finishes.
    pub(crate) intent: Option<Intent>,
    pub(crate) machine: Option<Machine>,
    /// The machine that was listed when the run began.
    pub(crate) machine_seen: Option<MachineId>,
    /// Made in this run: it is enrolled without asking first.
    pub(crate) fresh: bool,
    /// The record's token is the one that this run's create goes with.
    pub(crate) token_chosen: bool,
    /// A create with the record's token may have made a machine, whatever later ones are told.
    pub(crate) maybe_made: bool,
    /// Configuration steps that were run.
    pub(crate) changed: usize,
    /// Times that a configuration was applied, also one that changed nothing.
    pub(crate) applied: usize,
    pub(crate) begun: Instant,
    /// How long it took until it was ready.
    pub(crate) ready_after: Duration,
    /// It was to leave, and its record says so until it is ready or gone.
    pub(crate) leaving: bool,
    /// What its group's policy leaves it after failures.
    tries: Tries,
    extras: Vec<&'a Action>,
    leftovers: Vec<String>,
}

impl<'a> NodeRun<'a> {
    pub(crate) fn new(run: &'a Run<'a>, part: NodePart<'a>) -> Self {
        let record = part.record.unwrap_or_else(|| blank(run, part.action, part.machine.as_ref()));
        let stays = matches!(part.action.verb, Verb::Configure | Verb::Start);
        let was_leaving = matches!(record.phase, Phase::Draining | Phase::Removing);
        let leaving = stays && (was_leaving || record.drained == Some(Drained::Stopped));
        Self {
            run,
            action: part.action,
            desired: part.desired,
            record,
            open: part.open,
            intent: None,
            machine_seen: part.machine.as_ref().map(|machine| machine.id.clone()),
            machine: part.machine,
            fresh: false,
            token_chosen: false,
            maybe_made: part.action.token.is_some(),
            changed: 0,
            extras: part.extras,
            applied: 0,
            begun: Instant::now(),
            ready_after: Duration::ZERO,
            leaving,
            tries: Tries::new(part.desired.map(|desired| desired.on_failure)),
            leftovers: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &'a NodeName {
        &self.action.node
    }

    /// Goes all the way. An error ends the whole run.
    pub(crate) async fn live(mut self) -> Result<Lived, EngineError> {
        for extra in std::mem::take(&mut self.extras) {
            let Some(machine) = &extra.machine else { continue };
            match self.remove_machine(machine).await {
                Ok(intent) => self.finish_apart(&intent).await?,
                Err(Stop::Run(error)) => return Err(*error),
                Err(Stop::Node(fault)) => {
                    let words = format!("machine {machine} of {} is still there: {}", self.name(), fault.reason);
                    self.run.emitter.warn(Some(self.name()), words.clone()).await;
                    self.leftovers.push(words);
                }
            }
        }
        let outcome = match self.action.verb {
            Verb::Keep => Some(self.stay().await?),
            Verb::Configure if self.action.follows => Some(self.stay().await?),
            Verb::Remove => self.leave().await?,
            Verb::Create | Verb::Start | Verb::Configure | Verb::Replace => Some(self.become_ready().await?),
        };
        self.run.board.settle(self.name());
        let gone = outcome.is_none().then(|| self.name().clone());
        Ok(Lived { outcome, gone, leftovers: self.leftovers })
    }

    /// There is nothing to do for it, and nothing can come up.
    pub(crate) fn is_kept(&self) -> bool {
        let board = &self.run.board;
        let follows = board.is_moving() && board.follows_at(self.name()).is_some();
        self.action.verb == Verb::Keep && self.extras.is_empty() && !follows
    }

    pub(crate) fn keep(&self) -> NodeOutcome {
        if !self.run.config.policy.asks_for(self.name()) {
            // Whoever would wait for its address in this run would wait in vain.
            self.run.board.drop_member(self.name());
        }
        self.run.board.end(self.name(), Ok(()));
        self.outcome(Phase::Ready, Fault::default())
    }

    /// What a kept node said when it was asked may be news.
    pub(crate) async fn note_facts(&mut self) -> Result<(), EngineError> {
        let said = self.run.board.facts(self.name()).filter(|said| self.record.facts.as_ref() != Some(said));
        let Some(facts) = said else { return Ok(()) };
        self.record.facts = Some(facts);
        self.save().await
    }

    async fn leave(&mut self) -> Result<Option<NodeOutcome>, EngineError> {
        match self.part().await {
            Ok(()) => Ok(None),
            Err(Stop::Run(error)) => Err(*error),
            Err(Stop::Node(fault)) => {
                self.leftovers.push(format!("{} is still there: {}", self.name(), fault.reason));
                self.tell_failure(&fault).await;
                Ok(Some(self.outcome(Phase::Failed, *fault)))
            }
        }
    }

    async fn become_ready(&mut self) -> Result<NodeOutcome, EngineError> {
        let waiting = self.run.board.unready(&self.action.needs);
        if !waiting.is_empty() {
            let words: Vec<String> = waiting.iter().map(|group| format!("group {group}")).collect();
            self.enter(Phase::Planned, &words.join(", ")).await;
        }
        if let Err(blocked) = self.run.board.ready(&self.action.needs).await {
            return self.stay_planned(blocked.reason).await;
        }
        let mut verb = self.action.verb;
        while let Err(stop) = self.attempt(verb).await {
            let fault = match stop {
                Stop::Run(error) => return Err(*error),
                Stop::Node(fault) => *fault,
            };
            let Some(next) = self.try_again(&fault).await else { return self.fail(fault).await };
            verb = next;
        }
        self.be_ready().await?;
        self.stay().await
    }

    pub(crate) async fn be_ready(&mut self) -> Result<(), EngineError> {
        self.record.enrol_token = None;
        self.write_end(Phase::Ready, "").await?;
        self.run.emitter.phase(self.name(), Phase::Ready, "", "").await;
        self.ready_after = self.begun.elapsed();
        Ok(())
    }

    /// What its group's policy makes of a failure; `None`: the node is left as it is, for people to look at.
    pub(crate) async fn try_again(&mut self, fault: &Fault) -> Option<Verb> {
        // The machine that the plan gave to it may be there, and not recorded yet.
        let has_machine = self.record.machine.is_some() || self.machine.is_some();
        let is_running = self.is_running();
        let verb = self.tries.after(has_machine, is_running)?;
        self.maybe_made |= fault.uncertain;
        let words = format!("{}; trying again ({})", fault.reason, verb.as_str());
        self.run.emitter.warn(Some(self.name()), words).await;
        tokio::time::sleep(self.tries.pause(&self.run.config.limits)).await;
        Some(verb)
    }

    /// One try, from wherever the node is to all its checks passed.
    pub(crate) async fn attempt(&mut self, verb: Verb) -> Result<(), Stop> {
        if matches!(verb, Verb::Create | Verb::Replace) {
            self.bake().await?;
        }
        self.adopt(verb);
        // What the last try began is open like what an earlier run began.
        self.open.extend(self.intent.take());
        if verb == Verb::Create {
            self.choose_token().await?;
        }
        self.settle(verb).await?;
        match verb {
            Verb::Replace => {
                self.drain().await?;
                self.remove_for_replacement().await?;
                self.create().await?;
            }
            Verb::Create => self.create().await?,
            Verb::Start => self.start().await?,
            Verb::Configure | Verb::Keep | Verb::Remove => self.take_up().await?,
        }
        self.join().await?;
        self.be_taken_in().await?;
        self.configure().await?;
        self.resume().await
    }

    /// The machine that the plan gave to the node is its machine, whatever the record says.
    fn adopt(&mut self, verb: Verb) {
        let (Some(machine), Some(desired)) = (&self.machine, self.desired) else { return };
        if matches!(verb, Verb::Start | Verb::Configure) {
            self.record.machine = Some(machine.id.clone());
            self.record.token = machine.token.clone();
            self.record.addresses.clone_from(&machine.addresses);
        }
        if self.record.machine_hash.is_empty() {
            self.record.machine_hash.clone_from(&desired.machine_hash);
        }
    }

    fn is_running(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.state == muster_provider::MachineState::Running)
    }

    /// Finishes what earlier runs began and this one does not take up by the same intent.
    async fn settle(&mut self, verb: Verb) -> Result<(), Stop> {
        if verb != Verb::Create {
            self.undo_unseen_creates().await?;
        }
        let mut begun = std::mem::take(&mut self.open).into_iter();
        while let Some(intent) = begun.next() {
            let goes_on = match intent.action {
                IntentAction::Create => verb == Verb::Create && intent.id == self.record.token,
                IntentAction::Remove => verb == Verb::Replace && intent.machine == self.action.machine,
                IntentAction::Start => verb == Verb::Start,
                IntentAction::Configure => verb == Verb::Configure,
                IntentAction::Stop | IntentAction::Reboot => false,
            };
            if goes_on {
                self.open.push(intent);
                continue;
            }
            let ended = match intent.action {
                IntentAction::Create => self.undo_create(&intent).await,
                _ => self.finish(&intent).await.map_err(Stop::from),
            };
            if let Err(stop) = ended {
                // The next try begins with it again.
                self.open.push(intent);
                self.open.extend(begun);
                return Err(stop);
            }
        }
        Ok(())
    }

    async fn stay_planned(&mut self, reason: String) -> Result<NodeOutcome, EngineError> {
        // A node that is there goes on as it was.
        if self.record.machine.is_none() {
            self.record.phase = Phase::Planned;
            self.record.since = Timestamp::now();
            self.record.reason = self.run.emitter.redactor.cleaned(&reason);
            self.save().await?;
        }
        self.run.emitter.phase(self.name(), Phase::Planned, "", &reason).await;
        self.run.board.end(self.name(), Err("it was not begun".to_owned()));
        self.drop_member().await;
        let hint = "put the failed nodes right; the next `muster up` goes on from here";
        Ok(self.outcome(Phase::Planned, Fault::new(reason, hint)))
    }

    async fn fail(&mut self, fault: Fault) -> Result<NodeOutcome, EngineError> {
        let is_create = self.intent.as_ref().is_some_and(|intent| intent.action == IntentAction::Create);
        if fault.uncertain || is_create && self.maybe_made {
            self.intent = None;
        }
        // What was to leave is still to be resumed.
        let phase = if self.leaving { Phase::Draining } else { Phase::Failed };
        self.write_end(phase, &fault.reason).await?;
        self.tell_failure(&fault).await;
        self.run.board.end(self.name(), Err(fault.reason.clone()));
        self.drop_member().await;
        Ok(self.outcome(Phase::Failed, fault))
    }

    pub(crate) async fn tell_failure(&mut self, fault: &Fault) {
        let body = EventBody::Failed {
            node: Some(self.name().clone()),
            step: fault.step.clone(),
            message: fault.reason.clone(),
            log: fault.log.clone(),
            hint: fault.hint.clone(),
        };
        self.run.emitter.emit(body).await;
        self.run.emitter.phase(self.name(), Phase::Failed, "", &fault.reason).await;
    }

    /// A node that could not be made is left out of what the others are told.
    async fn drop_member(&self) {
        if self.run.board.drop_member(self.name()) {
            let words = format!("{} has no address; the other nodes are configured without it", self.name());
            self.run.emitter.warn(Some(self.name()), words).await;
        }
    }

    /// Tells of a phase; it is written down with the node's next write, not on its own.
    pub(crate) async fn enter(&mut self, phase: Phase, waiting_for: &str) {
        if !self.leaving {
            self.record.phase = phase;
        }
        self.run.board.stand(self.name(), |standing| standing.phase = Some(phase));
        self.run.emitter.phase(self.name(), phase, waiting_for, "").await;
    }

    pub(crate) async fn write_end(&mut self, phase: Phase, reason: &str) -> Result<(), EngineError> {
        self.record.phase = phase;
        self.record.reason = self.run.emitter.redactor.cleaned(reason);
        self.record.since = Timestamp::now();
        match self.intent.take() {
            Some(intent) => self.finish(&intent).await,
            None => self.save().await,
        }
    }

    pub(crate) async fn save(&mut self) -> Result<(), EngineError> {
        let written = self.run.config.store.put_node(&self.record, self.run.generation()).await;
        self.record.revision = written.map_err(EngineError::store("record a node"))?;
        Ok(())
    }

    /// Writes an intent down and tells of it. The intent of an earlier run for the same is taken up.
    pub(crate) async fn begin(
        &mut self,
        action: IntentAction,
        machine: Option<MachineId>,
    ) -> Result<Intent, EngineError> {
        let open = self.open.iter().position(|intent| intent.action == action && intent.machine == machine);
        if let Some(open) = open {
            return Ok(self.open.swap_remove(open));
        }
        let intent = Intent {
            id: new_token(),
            cluster: self.record.cluster.clone(),
            node: self.name().clone(),
            action,
            machine,
            begun_at: Timestamp::now(),
        };
        let written = self.run.config.store.begin(&intent, self.run.generation()).await;
        written.map_err(EngineError::store("write an intent down"))?;
        self.tell_intent(&intent).await;
        Ok(intent)
    }

    pub(crate) async fn tell_intent(&self, intent: &Intent) {
        let body = EventBody::Intent {
            node: intent.node.clone(),
            action: word(intent.action).to_owned(),
            token: intent.id.to_string(),
        };
        self.run.emitter.emit(body).await;
    }

    /// Marks an intent as done, with the node as it is now.
    pub(crate) async fn finish(&mut self, intent: &Intent) -> Result<(), EngineError> {
        let (store, generation) = (&self.run.config.store, self.run.generation());
        let written = store.finish(&intent.cluster, &intent.id, Some(&self.record), generation).await;
        self.record.revision = written.map_err(EngineError::store("record what was done"))?;
        self.tell_recorded(intent.action).await;
        Ok(())
    }

    pub(crate) async fn tell_recorded(&self, action: IntentAction) {
        let body = EventBody::Recorded { node: self.name().clone(), action: word(action).to_owned() };
        self.run.emitter.emit(body).await;
    }
}

/// The record of a node that has none. A machine that nobody recorded is taken as it is.
fn blank(run: &Run<'_>, action: &Action, machine: Option<&Machine>) -> NodeRecord {
    NodeRecord {
        cluster: run.hold.cluster().clone(),
        name: action.node.clone(),
        group: action.group.clone(),
        revision: 0,
        machine: machine.map(|machine| machine.id.clone()),
        token: machine.map_or_else(new_token, |machine| machine.token.clone()),
        machine_hash: String::new(),
        addresses: Vec::new(),
        phase: Phase::Planned,
        since: Timestamp::now(),
        reason: String::new(),
        enrol_token: None,
        document: None,
        document_hash: None,
        facts: None,
        drained: None,
    }
}

/// 128 random bits: no two are the same.
pub(crate) fn new_token() -> ClientToken {
    ClientToken::new(format!("{:032x}", rand::random::<u128>()))
}

pub(crate) fn word(action: IntentAction) -> &'static str {
    match action {
        IntentAction::Create => "create",
        IntentAction::Start => "start",
        IntentAction::Configure => "configure",
        IntentAction::Remove => "remove",
        IntentAction::Stop => "stop",
        IntentAction::Reboot => "reboot",
    }
}
