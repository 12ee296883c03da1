//! What can be made to go wrong, how often, and for which machine.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use muster_types::NodeName;
use tokio::sync::watch;

use crate::Status;

/// Rules that wait at most; more means that a test injects in a loop.
const RULES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    List,
    Create,
    WaitRunning,
    Destroy,
    /// The machine's name is the image's.
    Bake,
    Start,
    Stop,
    Reboot,
    Console,
    Release,
    Pause,
    Resume,
    Kill,
    CutOff,
    Heal,
    /// Through the dialer; not among the recorded calls.
    Connect,
    /// Through the dialer; not among the recorded calls.
    Ping,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::WaitRunning => "wait",
            Self::Destroy => "destroy",
            Self::Bake => "bake",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
            Self::Console => "console",
            Self::Release => "release",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Kill => "kill",
            Self::CutOff => "cut off",
            Self::Heal => "heal",
            Self::Connect => "connect",
            Self::Ping => "ping",
        }
    }
}

/// One thing that goes wrong. A call meets one fault of each kind, so that they add up: a machine can be made, its
/// reply lost, and itself be invisible for a while.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing happens, and the call says so.
    Refuse(Status),
    /// The call takes that long before anything happens.
    Delay(Duration),
    /// The call waits at the gate before anything happens.
    Hold(Gate),
    /// It happens, and the call answers with a temporary error.
    LoseReply,
    /// `Create`: the machine is missing from the next `lists` lists that would show it.
    Invisible { lists: usize },
    /// `Create`: the machine is missing from lists for that long.
    InvisibleFor(Duration),
    /// `List`: it tells what the list before it told.
    Stale,
    /// `WaitRunning`: the machine fails to boot.
    FailBoot,
    /// `Destroy`: the call succeeds and the machine lives on.
    Pretend,
    /// `Destroy`: the machine is still in the next `lists` lists, as being removed.
    Linger { lists: usize },
}

impl Fault {
    fn suits(&self, operation: Operation) -> bool {
        match self {
            Self::Invisible { .. } | Self::InvisibleFor(_) => operation == Operation::Create,
            Self::Stale => operation == Operation::List,
            Self::FailBoot => operation == Operation::WaitRunning,
            Self::Pretend | Self::Linger { .. } => operation == Operation::Destroy,
            Self::LoseReply => !matches!(operation, Operation::Connect | Operation::Ping),
            Self::Refuse(_) | Self::Delay(_) | Self::Hold(_) => true,
        }
    }
}

/// Calls that reach it wait until it is opened; tests see how many did.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct GateState {
    arrived: usize,
    open: bool,
}

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns once `calls` calls have reached the gate, counting those that went on.
    pub async fn arrived(&self, calls: usize) {
        // The sender lives in `self`, so the channel cannot close.
        drop(self.state.subscribe().wait_for(|state| state.arrived >= calls).await);
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    pub(super) async fn pass(&self) {
        self.state.send_modify(|state| state.arrived += 1);
        drop(self.state.subscribe().wait_for(|state| state.open).await);
    }
}

/// The faults that one call meets.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each fault is met or not, whatever the others are")]
pub(super) struct Met {
    pub(super) refuse: Option<Status>,
    pub(super) delay: Option<Duration>,
    pub(super) hold: Option<Gate>,
    pub(super) lose_reply: bool,
    pub(super) invisible_lists: usize,
    pub(super) invisible_for: Option<Duration>,
    pub(super) stale: bool,
    pub(super) fail_boot: bool,
    pub(super) pretend: bool,
    pub(super) linger_lists: usize,
}

impl Met {
    /// What comes before anything happens.
    pub(super) async fn wait(&self) {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(gate) = &self.hold {
            gate.pass().await;
        }
    }

    fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::Refuse(status) => self.refuse = Some(*status),
            Fault::Delay(delay) => self.delay = Some(*delay),
            Fault::Hold(gate) => self.hold = Some(gate.clone()),
            Fault::LoseReply => self.lose_reply = true,
            Fault::Invisible { lists } => self.invisible_lists = *lists,
            Fault::InvisibleFor(time) => self.invisible_for = Some(*time),
            Fault::Stale => self.stale = true,
            Fault::FailBoot => self.fail_boot = true,
            Fault::Pretend => self.pretend = true,
            Fault::Linger { lists } => self.linger_lists = *lists,
        }
    }
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    /// `None` means any machine.
    name: Option<NodeName>,
    fault: Fault,
    left: usize,
}

/// Faults that wait for their calls, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    pub(super) fn add(&mut self, operation: Operation, name: Option<NodeName>, fault: Fault, times: usize) {
        assert!(fault.suits(operation), "{fault:?} means nothing to {operation:?}");
        assert!(self.rules.len() < RULES_MAX, "too many faults injected");
        if times > 0 {
            self.rules.push(Rule { operation, name, fault, left: times });
        }
    }

    pub(super) fn take(&mut self, operation: Operation, name: Option<&NodeName>) -> Met {
        let mut met = Met::default();
        let mut kinds = Vec::new();
        for rule in &mut self.rules {
            let meant = rule.operation == operation && (rule.name.is_none() || rule.name.as_ref() == name);
            if meant && !kinds.contains(&discriminant(&rule.fault)) {
                kinds.push(discriminant(&rule.fault));
                rule.left -= 1;
                met.add(&rule.fault);
            }
        }
        self.rules.retain(|rule| rule.left > 0);
        met
    }

    pub(super) fn left(&self) -> usize {
        self.rules.iter().map(|rule| rule.left).fold(0, usize::saturating_add)
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }
}
