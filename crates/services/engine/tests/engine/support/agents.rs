//! Agents in memory: one for each machine of the fake cloud, with the memory of a disk.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use muster_api::{
    ApplyEvent, ApplyRequest, Bootstrap, Check, CheckEvent, CheckState, ConfigPhase, ConfigState, LogStream, NodeFacts,
    StatusReply, StepOutcome,
};
use muster_engine::{AgentLink, AgentLinks, LinkError, LinkStream, RunEvent};
use muster_provider::fake::FakeCloud;
use muster_provider::{Machine, MachineState};
use muster_types::{Generation, MachineId, NodeName, Redacted, Timestamp};

/// What goes wrong on a node, once each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It cannot be reached for one call.
    Silence,
    /// It is enrolled, and nobody hears that.
    LoseEnrolReply,
    /// The stream of a configuration breaks off before its end; the work goes on.
    BreakApply,
    /// A configuration step says something and does not end.
    HangStep,
    /// The node reboots in the middle of its configuration: nobody answers for a while, then the work goes on.
    Reboot,
    /// A configuration step fails.
    FailStep,
    /// A hook that runs there fails.
    FailHook,
    /// A hook that runs there says something and does not end.
    HangHook,
    /// A check fails.
    FailCheck,
    /// Its certificate ends in a day.
    OldCertificate,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) enrolments: u32,
    pub(crate) renewals: u32,
    /// Documents that were really applied, by hash; the same one again changes nothing.
    pub(crate) applied: Vec<String>,
    /// Times that somebody asked for a document to be applied.
    pub(crate) asked_to_apply: u32,
    pub(crate) config: Option<(String, ConfigPhase)>,
    pub(crate) document: String,
    /// Steps whose result somebody has changed on the node.
    pub(crate) drifted: Vec<String>,
    /// What the node says of itself.
    pub(crate) facts: NodeFacts,
    generation: Generation,
    not_after: Option<Timestamp>,
}

/// All the agents there are. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Agents {
    cloud: FakeCloud,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<MachineId, Memory>,
    /// Commands that were run, and where.
    ran: Vec<String>,
    /// Commands that have not ended, and that nobody has let go.
    running: Arc<()>,
    troubles: BTreeMap<NodeName, VecDeque<Trouble>>,
}

impl Agents {
    pub(crate) fn new(cloud: &FakeCloud) -> Self {
        Self { cloud: cloud.clone(), state: Arc::default() }
    }

    /// The next call on that node that it suits meets this.
    pub(crate) fn trouble(&self, node: &str, trouble: Trouble, times: usize) {
        let node = NodeName::new(node).unwrap();
        let mut state = self.lock();
        state.troubles.entry(node).or_default().extend(std::iter::repeat_n(trouble, times));
    }

    pub(crate) fn clear_troubles(&self) {
        self.lock().troubles.clear();
    }

    /// Somebody has changed what is on the machine: its agent says that something else was applied.
    pub(crate) fn tamper(&self, machine: &MachineId) {
        if let Some(memory) = self.lock().machines.get_mut(machine) {
            memory.config = Some(("something else".to_owned(), ConfigPhase::Done));
            "something else".clone_into(&mut memory.document);
        }
    }

    pub(crate) fn memory(&self, machine: &MachineId) -> Memory {
        self.lock().machines.get(machine).cloned().unwrap_or_default()
    }

    /// From now on the node says that it has that many processors.
    pub(crate) fn set_cpus(&self, node: &str, cpus: u32) {
        let machines = self.cloud.machines();
        let machine = machines.into_iter().find(|machine| machine.name.as_str() == node).unwrap();
        self.lock().machines.entry(machine.id).or_default().facts.cpus = cpus;
    }

    /// Somebody changes on the node what this step made.
    pub(crate) fn damage(&self, node: &str, step: &str) {
        let machines = self.cloud.machines();
        let machine = machines.into_iter().find(|machine| machine.name.as_str() == node).unwrap();
        self.lock().machines.entry(machine.id).or_default().drifted.push(step.to_owned());
    }

    /// On all nodes together, also on machines that are gone.
    pub(crate) fn asked_to_apply(&self) -> u32 {
        self.lock().machines.values().map(|memory| memory.asked_to_apply).sum()
    }

    /// Commands that were run, and where, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.lock().ran.clone()
    }

    /// Commands that hang and that nobody has let go.
    pub(crate) fn running(&self) -> usize {
        Arc::strong_count(&self.lock().running) - 1
    }

    pub(crate) fn memory_of(&self, node: &str) -> Memory {
        let machines = self.cloud.machines();
        let machine = machines.iter().find(|machine| machine.name.as_str() == node).unwrap();
        self.memory(&machine.id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn meets(&mut self, node: &NodeName, trouble: &Trouble) -> bool {
        let Some(troubles) = self.troubles.get_mut(node) else { return false };
        let Some(at) = troubles.iter().position(|waiting| waiting == trouble) else { return false };
        troubles.remove(at).is_some()
    }
}

impl AgentLinks for Agents {
    fn node(&self, name: &NodeName, address: IpAddr) -> Arc<dyn AgentLink> {
        Arc::new(Link { agents: self.clone(), node: name.clone(), address })
    }
}

struct Link {
    agents: Agents,
    node: NodeName,
    address: IpAddr,
}

impl Link {
    fn machine(&self) -> Result<(Machine, Bootstrap), LinkError> {
        let away = |reason: &str| LinkError::Unreachable { reason: reason.to_owned() };
        if self.agents.lock().meets(&self.node, &Trouble::Silence) {
            return Err(away("connection refused"));
        }
        let machines = self.agents.cloud.machines();
        let machine = machines.into_iter().find(|machine| machine.addresses.contains(&self.address));
        let machine = machine.filter(|machine| machine.state == MachineState::Running);
        let machine = machine.ok_or_else(|| away("no route to host"))?;
        let request = self.agents.cloud.request(&machine.id).ok_or_else(|| away("no route to host"))?;
        let bootstrap: Bootstrap = serde_json::from_str(request.user_data.expose()).unwrap();
        if bootstrap.node != self.node {
            return Err(LinkError::Untrusted { reason: format!("it is {}", bootstrap.node) });
        }
        Ok((machine, bootstrap))
    }

    fn enrolled(&self) -> Result<(Machine, Bootstrap), LinkError> {
        let found = self.machine()?;
        match self.agents.memory(&found.0.id).enrolments {
            0 => Err(LinkError::NotEnrolled),
            _ => Ok(found),
        }
    }
}

#[async_trait]
impl AgentLink for Link {
    async fn status(&self) -> Result<StatusReply, LinkError> {
        let (machine, bootstrap) = self.enrolled()?;
        let old = self.agents.lock().meets(&self.node, &Trouble::OldCertificate);
        let memory = self.agents.memory(&machine.id);
        Ok(StatusReply {
            version: "test".to_owned(),
            cluster: bootstrap.cluster,
            node: bootstrap.node,
            boot_id: String::new(),
            booted_at: machine.created_at,
            enrolled: true,
            certificate_not_after: if old { Some(Timestamp::now()) } else { memory.not_after },
            generation: memory.generation,
            config: memory.config.map(|(hash, phase)| ConfigState { hash, phase, steps: Vec::new() }),
            token_reuses: 0,
            facts: memory.facts,
            drifted: memory.drifted,
        })
    }

    async fn enrol(&self, token: &Redacted<String>) -> Result<(), LinkError> {
        let (machine, bootstrap) = self.machine()?;
        let mut state = self.agents.lock();
        let memory = state.machines.entry(machine.id).or_default();
        if memory.enrolments > 0 {
            return Ok(());
        }
        if muster_pki::token_hash(token.expose()) != bootstrap.token_sha256 {
            return Err(LinkError::Untrusted { reason: "it was started with another token".to_owned() });
        }
        memory.enrolments += 1;
        if state.meets(&self.node, &Trouble::LoseEnrolReply) {
            return Err(LinkError::Unreachable { reason: "connection reset".to_owned() });
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), LinkError> {
        let (machine, _) = self.enrolled()?;
        self.agents.lock().machines.entry(machine.id).or_default().renewals += 1;
        Ok(())
    }

    async fn apply(&self, request: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError> {
        let (machine, _) = self.enrolled()?;
        let mut state = self.agents.lock();
        let fails = state.meets(&self.node, &Trouble::FailStep);
        let reboots = state.meets(&self.node, &Trouble::Reboot);
        let breaks = reboots || state.meets(&self.node, &Trouble::BreakApply);
        let hangs = state.meets(&self.node, &Trouble::HangStep);
        if reboots {
            let away = std::iter::repeat_n(Trouble::Silence, 5);
            state.troubles.entry(self.node.clone()).or_default().extend(away);
        }
        let memory = state.machines.entry(machine.id).or_default();
        if request.generation < memory.generation {
            return Err(LinkError::Refused {
                code: "stale".to_owned(),
                message: format!("it has orders of generation {}", memory.generation),
                hint: String::new(),
                temporary: false,
            });
        }
        memory.generation = request.generation;
        memory.asked_to_apply += 1;
        let is_done = memory.config == Some((request.hash.clone(), ConfigPhase::Done));
        let phase = if fails { ConfigPhase::Failed } else { ConfigPhase::Done };
        if !fails {
            memory.drifted.clear();
        }
        if !is_done {
            memory.applied.push(request.hash.clone());
            memory.config = Some((request.hash.clone(), phase));
            memory.document.clone_from(&request.document);
        }
        drop(state);
        let mut events = events(is_done, fails, request.hash.clone());
        if breaks {
            events.truncate(2);
            events.push(Err(LinkError::Unreachable { reason: "connection reset".to_owned() }));
        }
        if hangs {
            events.truncate(4);
            return Ok(Box::pin(stream::iter(events).chain(stream::pending())));
        }
        Ok(Box::pin(stream::iter(events)))
    }

    async fn checks(&self, checks: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError> {
        self.enrolled()?;
        let fails = self.agents.lock().meets(&self.node, &Trouble::FailCheck);
        let event = |index, state, reason: Option<&str>| {
            let check = "port 80".to_owned();
            Ok(CheckEvent { index, check, state, reason: reason.map(str::to_owned) })
        };
        let refused = Some("connection refused");
        let mut events = vec![event(0, CheckState::Waiting, refused)];
        if fails {
            events.push(event(0, CheckState::Failed, refused));
        } else {
            events.extend((0..checks.len()).map(|index| event(index, CheckState::Passed, None)));
        }
        Ok(Box::pin(stream::iter(events)))
    }

    /// `drain NODE` and `resume NODE` are understood where the configuration speaks of the node.
    async fn run(&self, command: &str) -> Result<LinkStream<RunEvent>, LinkError> {
        let (machine, _) = self.enrolled()?;
        let mut state = self.agents.lock();
        state.ran.push(format!("{}: {command}", self.node));
        let subject = command.split_whitespace().last().unwrap_or_default();
        let document = state.machines.get(&machine.id).map(|memory| memory.document.clone()).unwrap_or_default();
        let is_known = document.contains(&format!(" {subject}~"));
        let line = |text: &str| Ok(RunEvent::Output { stream: LogStream::Stdout, text: text.to_owned() });
        if state.meets(&self.node, &Trouble::HangHook) {
            let held = Arc::clone(&state.running);
            let hangs = stream::pending().map(move |event| (event, Arc::clone(&held)).0);
            return Ok(Box::pin(stream::iter([line("job 12 of alice holds it")]).chain(hangs)));
        }
        let fails = state.meets(&self.node, &Trouble::FailHook);
        let (text, code) = match (is_known, fails) {
            (_, true) => ("the database is away", 1),
            (false, _) => ("no such node", 2),
            (true, false) => ("done", 0),
        };
        Ok(Box::pin(stream::iter([line(text), Ok(RunEvent::Ended { code })])))
    }

    async fn ping(&self) -> Result<(), LinkError> {
        self.machine().map(drop)
    }
}

fn events(is_done: bool, fails: bool, hash: String) -> Vec<Result<ApplyEvent, LinkError>> {
    let (file, command) = ("write_files[/etc/motd]".to_owned(), "runcmd[0]".to_owned());
    let outcome = if is_done { StepOutcome::Unchanged } else { StepOutcome::Done };
    let mut events = vec![
        ApplyEvent::Started { step: file.clone(), index: 0, total: 2 },
        ApplyEvent::Done { step: file, outcome, duration_ms: 1 },
        ApplyEvent::Started { step: command.clone(), index: 1, total: 2 },
        ApplyEvent::Output { step: command.clone(), stream: LogStream::Stdout, text: "some words\n".to_owned() },
    ];
    let (phase, changed) = if fails {
        let message = "the command failed".to_owned();
        events.push(ApplyEvent::Failed { step: command, exit_code: Some(1), message, log: vec!["oh no".to_owned()] });
        (ConfigPhase::Failed, 1)
    } else {
        events.push(ApplyEvent::Done { step: command, outcome, duration_ms: 1 });
        (ConfigPhase::Done, if is_done { 0 } else { 2 })
    };
    events.push(ApplyEvent::Finished { hash, phase, changed, total: 2 });
    events.into_iter().map(Ok).collect()
}
