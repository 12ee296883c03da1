//! The machines, and what tests may do to them and ask about them.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_types::{ClientToken, MachineId, NodeName};
use tokio::time::Instant;

use super::bakery::Images;
use super::calls::{Call, CallLog};
use super::fault::{Fault, Met, Operation, Rules};
use super::guest::{Disk, Guest};
use super::network::{Handler, Visit, handler, speak_lines};
use super::provider::FakeProvider;
use crate::{Capabilities, Machine, MachineRequest, MachineState, ProviderError, Tags};

/// What all handles share. Cheap to clone.
#[derive(Clone)]
pub struct FakeCloud {
    state: Arc<Mutex<State>>,
}

/// A machine that was made, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub id: MachineId,
    pub name: NodeName,
    pub token: ClientToken,
}

pub(super) struct State {
    pub(super) capabilities: Capabilities,
    pub(super) handler: Handler,
    pub(super) rules: Rules,
    pub(super) log: CallLog,
    handles: u32,
    /// By number, so in the order in which they were made.
    guests: BTreeMap<u32, Guest>,
    made: Vec<Made>,
    /// What the last list told.
    told: Option<Vec<Machine>>,
    /// None: machines start from whatever they are asked to.
    pub(super) images: Option<Images>,
    /// Machines that it has room for.
    room: usize,
    /// There is something that machines share; it comes with the first of them.
    shared: bool,
}

impl Default for FakeCloud {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeCloud {
    pub fn new() -> Self {
        let state = State {
            capabilities: Capabilities {
                stop_start: true,
                faults: true,
                shared_folders: false,
                concurrency_max: 32,
                visible_within: Duration::from_millis(50),
            },
            handler: handler(speak_lines),
            rules: Rules::default(),
            log: CallLog::default(),
            handles: 0,
            guests: BTreeMap::new(),
            made: Vec::new(),
            told: None,
            images: None,
            room: usize::MAX,
            shared: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A new handle, as a new process would have.
    pub fn provider(&self) -> FakeProvider {
        let handle = {
            let mut state = self.lock();
            state.handles += 1;
            state.handles
        };
        FakeProvider::new(self.clone(), handle)
    }

    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.lock().capabilities = capabilities;
    }

    /// From now on it has room for so many machines, and says so when it is asked beforehand.
    pub fn set_room(&self, machines: usize) {
        self.lock().room = machines;
    }

    /// From now on a machine starts only from an image that was baked.
    pub fn bake_images(&self) {
        self.lock().images.get_or_insert_default();
    }

    /// Serves connections to machines, in place of the line protocol that `LineProbe` speaks. A visit stands still
    /// while its machine is paused or cut off, and is dropped when the machine goes down.
    pub fn serve<F, Fut>(&self, serve: F)
    where
        F: Fn(Visit) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.lock().handler = handler(serve);
    }

    /// The next `times` calls of `operation` meet `fault`.
    pub fn inject(&self, operation: Operation, fault: Fault, times: usize) {
        self.lock().rules.add(operation, None, fault, times);
    }

    /// The next `times` calls of `operation` on machines of that name meet `fault`.
    pub fn inject_for(&self, name: &NodeName, operation: Operation, fault: Fault, times: usize) {
        self.lock().rules.add(operation, Some(name.clone()), fault, times);
    }

    /// How many of the injected faults have not been met yet.
    pub fn faults_left(&self) -> usize {
        self.lock().rules.left()
    }

    pub fn clear_faults(&self) {
        self.lock().rules.clear();
    }

    /// All calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().log.all()
    }

    pub fn calls_of(&self, operation: Operation) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.operation == operation).collect()
    }

    /// The most calls of an operation that were going on at the same time.
    pub fn most_at_once(&self, operation: Operation) -> usize {
        self.lock().log.most_at_once(operation)
    }

    /// Every machine that exists, be it visible in lists or not. Uses up no fault and is not recorded.
    pub fn machines(&self) -> Vec<Machine> {
        let state = self.lock();
        state.guests.values().filter(|guest| guest.lingers.is_none()).map(|guest| guest.machine.clone()).collect()
    }

    /// Every machine that was ever made, in order.
    pub fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    /// What a machine was asked for with.
    pub fn request(&self, id: &MachineId) -> Option<MachineRequest> {
        self.lock().find(id).map(|guest| guest.request.clone())
    }

    pub fn disk(&self, id: &MachineId) -> Option<Disk> {
        self.lock().find(id).map(|guest| guest.disk.clone())
    }

    /// Whether what machines share is still there; `release` takes it away.
    pub fn is_shared_left(&self) -> bool {
        self.lock().shared
    }

    /// Does to a machine what no call asked for: it ends by itself and is listed in `state`.
    pub fn crash(&self, id: &MachineId, state: MachineState, detail: &str) {
        if let Some(guest) = self.lock().find(id) {
            guest.power_off(state, Some(detail));
        }
    }

    /// Takes a machine away, as somebody would by other means.
    pub fn vanish(&self, id: &MachineId) {
        self.lock().remove(id);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A machine that was not destroyed.
    pub(super) fn find(&mut self, id: &MachineId) -> Option<&mut Guest> {
        let number: u32 = id.as_str().strip_prefix("fake-")?.parse().ok()?;
        self.guests.get_mut(&number).filter(|guest| guest.lingers.is_none())
    }

    pub(super) fn known(&mut self, id: &MachineId, operation: Operation) -> Result<&mut Guest, ProviderError> {
        self.find(id).ok_or_else(|| {
            ProviderError::permanent(operation.as_str(), "there is no such machine")
                .machine(id)
                .hint("list the machines to see which there are")
        })
    }

    pub(super) fn at(&mut self, address: IpAddr) -> Option<&mut Guest> {
        self.guests.values_mut().find(|guest| guest.lingers.is_none() && guest.machine.addresses.contains(&address))
    }

    pub(super) fn list(&mut self, tags: &Tags, met: &Met) -> Vec<Machine> {
        if let Some(told) = self.told.as_ref().filter(|_| met.stale) {
            return told.clone();
        }
        let listed = self.list_now(tags);
        self.told = Some(listed.clone());
        listed
    }

    fn list_now(&mut self, tags: &Tags) -> Vec<Machine> {
        let now = Instant::now();
        let carries = |machine: &Machine| tags.iter().all(|(key, value)| machine.tags.get(key) == Some(value));
        let mut listed = Vec::new();
        self.guests.retain(|_, guest| {
            if !carries(&guest.machine) {
                return true;
            }
            if guest.hidden_until.is_some_and(|until| now < until) {
                return true;
            }
            if guest.hidden_lists > 0 {
                guest.hidden_lists -= 1;
                return true;
            }
            if let Some(lists) = &mut guest.lingers {
                if *lists == 0 {
                    return false;
                }
                *lists -= 1;
            }
            listed.push(guest.machine.clone());
            true
        });
        listed
    }

    pub(super) fn preflight(&self, wanted: usize) -> Result<(), ProviderError> {
        if self.guests.len().saturating_add(wanted) <= self.room {
            return Ok(());
        }
        let message = format!("{wanted} machines are wanted, and there is room for {}", self.room);
        Err(ProviderError::permanent("make room", message).hint("want fewer"))
    }

    pub(super) fn create(&mut self, request: &MachineRequest, met: &Met) -> Result<Machine, ProviderError> {
        let twin = |guest: &&mut Guest| guest.lingers.is_none() && guest.machine.token == request.token;
        if let Some(guest) = self.guests.values_mut().find(twin) {
            return Ok(guest.machine.clone());
        }
        if self.images.as_ref().is_some_and(|images| !images.holds(request.image.as_ref(), &request.packages)) {
            return Err(ProviderError::permanent("create", "its image was not baked").hint("bake it first"));
        }
        if !self.capabilities.shared_folders && !request.shared_folders.is_empty() {
            return Err(ProviderError::permanent("create", "machines of the fake share no folders")
                .hint("ask for none, or give the fake the capability"));
        }
        let number = u32::try_from(self.made.len() + 1).expect("fewer machines than addresses");
        let mut guest = Guest::new(number, request);
        guest.hidden_lists = met.invisible_lists;
        guest.hidden_until = met.invisible_for.map(|time| Instant::now() + time);
        let machine = guest.machine.clone();
        self.made.push(Made { id: machine.id.clone(), name: machine.name.clone(), token: machine.token.clone() });
        self.guests.insert(number, guest);
        self.shared = true;
        Ok(machine)
    }

    pub(super) fn destroy(&mut self, id: &MachineId, met: &Met) {
        if met.pretend {
            return;
        }
        match self.find(id) {
            Some(guest) if met.linger_lists > 0 => {
                guest.power_off(MachineState::Removing, None);
                guest.lingers = Some(met.linger_lists);
            }
            _ => self.remove(id),
        }
    }

    pub(super) fn release(&mut self) -> Result<(), ProviderError> {
        let left: Vec<&str> = self
            .guests
            .values()
            .filter(|guest| guest.lingers.is_none())
            .map(|guest| guest.machine.id.as_str())
            .collect();
        if !left.is_empty() {
            let message = format!("machines still use what is shared: {}", left.join(", "));
            return Err(ProviderError::permanent("release", message).hint("destroy them first"));
        }
        self.shared = false;
        Ok(())
    }

    fn remove(&mut self, id: &MachineId) {
        self.guests.retain(|_, guest| guest.machine.id != *id || guest.lingers.is_some());
    }
}
