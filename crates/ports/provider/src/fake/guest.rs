//! One machine of the fake cloud.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use muster_stdx::Supervisor;
use muster_types::{MachineId, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Machine, MachineRequest, MachineState};

/// Lines of a console that are kept.
const CONSOLE_LINES_MAX: usize = 1000;

/// Where the addresses start; they are given once and never again.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 64, 0, 0]);

/// What a machine keeps over stops and reboots, until it is destroyed.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Disk {
    pub fn put(&self, name: impl Into<String>, text: impl Into<String>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), text.into());
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

#[derive(Debug)]
pub(super) struct Guest {
    pub(super) machine: Machine,
    pub(super) request: MachineRequest,
    pub(super) disk: Disk,
    /// Counts the boots; 0 before the first.
    pub(super) boot: u32,
    /// Lists that are yet to pass before it is seen.
    pub(super) hidden_lists: usize,
    /// Until then it is not seen.
    pub(super) hidden_until: Option<Instant>,
    /// Lists that still show it although it was destroyed.
    pub(super) lingers: Option<usize>,
    pub(super) cut_off: bool,
    /// What happens on the machine stands still, be it paused or cut off.
    pub(super) frozen: watch::Sender<bool>,
    /// Runs what happens on the machine, and ends it with the power.
    pub(super) power: Supervisor,
    console: VecDeque<String>,
}

impl Guest {
    pub(super) fn new(number: u32, request: &MachineRequest) -> Self {
        let machine = Machine {
            id: MachineId::new(format!("fake-{number}")),
            name: request.name.clone(),
            token: request.token.clone(),
            tags: request.tags.clone(),
            state: MachineState::Creating,
            addresses: vec![IpAddr::V4(Ipv4Addr::from(FIRST_ADDRESS + number))],
            created_at: Timestamp::now(),
            detail: None,
        };
        Self {
            machine,
            request: request.clone(),
            disk: Disk::default(),
            boot: 0,
            hidden_lists: 0,
            hidden_until: None,
            lingers: None,
            cut_off: false,
            frozen: watch::Sender::new(false),
            power: Supervisor::new(),
            console: VecDeque::new(),
        }
    }

    /// Finishes a boot, well or not.
    pub(super) fn boot(&mut self, fails: bool) {
        self.boot += 1;
        self.say(format!("boot {} of {}", self.boot, self.machine.name));
        if fails {
            self.say("panic: the fake was told to fail".to_owned());
            self.power_off(MachineState::Failed, Some("it failed to boot, as the fake was told"));
        } else {
            self.enter(MachineState::Running, None);
        }
    }

    /// Ends all that happens on the machine.
    pub(super) fn power_off(&mut self, state: MachineState, detail: Option<&str>) {
        self.power.token().cancel();
        self.power = Supervisor::new();
        self.enter(state, detail);
    }

    pub(super) fn enter(&mut self, state: MachineState, detail: Option<&str>) {
        self.machine.state = state;
        self.machine.detail = detail.map(str::to_owned);
        self.thaw();
    }

    pub(super) fn cut(&mut self, cut_off: bool) {
        self.cut_off = cut_off;
        self.thaw();
    }

    pub(super) fn say(&mut self, line: String) {
        if self.console.len() == CONSOLE_LINES_MAX {
            self.console.pop_front();
        }
        self.console.push_back(line);
    }

    pub(super) fn console(&self, lines: usize) -> Vec<String> {
        self.console.iter().skip(self.console.len().saturating_sub(lines)).cloned().collect()
    }

    fn thaw(&self) {
        self.frozen.send_replace(self.cut_off || self.machine.state == MachineState::Paused);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.power.token().cancel();
    }
}
