//! A handle on the fake cloud.

use std::sync::Arc;

use async_trait::async_trait;
use muster_doc::{Diagnostic, Tree};
use muster_types::{ClientToken, MachineId, NodeName};

use super::calls::{Call, CallOutcome};
use super::cloud::{FakeCloud, State};
use super::fault::{Met, Operation};
use super::guest::Guest;
use super::life::{Edge, Life};
use super::network::FakeDialer;
use crate::{
    Bakery, Capabilities, Dialer, Factory, Faults, Machine, MachineBatch, MachineRequest, MachineState, OpenContext,
    Provider, ProviderError, Tags,
};

/// One process's view of a `FakeCloud`. Clones are the same handle.
#[derive(Clone)]
pub struct FakeProvider {
    cloud: FakeCloud,
    handle: u32,
    life: Arc<Life>,
}

/// What a call is about.
#[derive(Default)]
pub(super) struct About {
    pub(super) machine: Option<MachineId>,
    pub(super) name: Option<NodeName>,
    pub(super) token: Option<ClientToken>,
}

impl FakeProvider {
    pub(super) fn new(cloud: FakeCloud, handle: u32) -> Self {
        Self { cloud, handle, life: Arc::default() }
    }

    pub fn cloud(&self) -> &FakeCloud {
        &self.cloud
    }

    /// The handle dies at its `call`-th call, counted from 1: that call and every later one hang for ever, also
    /// connections through the dialer. Drop what waits for them and go on with another handle.
    pub fn die_at(&self, call: u64, edge: Edge) {
        self.life.die_at(call, edge);
    }

    /// Returns once the handle has died.
    pub async fn died(&self) {
        self.life.died().await;
    }

    /// Calls made through this handle.
    pub fn calls(&self) -> u64 {
        self.life.calls()
    }

    pub(super) async fn call<T>(
        &self,
        operation: Operation,
        about: About,
        effect: impl FnOnce(&mut State, &Met) -> Result<T, ProviderError> + Send,
    ) -> Result<T, ProviderError> {
        let number = self.life.enter().await;
        let id = about.machine.clone();
        let (entry, met) = self.begin(operation, about);
        met.wait().await;
        self.life.hang_if_dead().await;
        let name = |error: ProviderError| match &id {
            Some(id) => error.machine(id),
            None => error,
        };
        if let Some(status) = met.refuse {
            entry.note(CallOutcome::Refused(status));
            let error = ProviderError { status, ..ProviderError::permanent(operation.as_str(), "the fake refuses") };
            self.life.leave(number).await;
            return Err(name(error));
        }
        let result = effect(&mut self.cloud.lock(), &met);
        self.life.leave(number).await;
        match &result {
            Err(error) => entry.note(CallOutcome::Refused(error.status)),
            Ok(_) if met.lose_reply => {
                entry.note(CallOutcome::ReplyLost);
                return Err(name(ProviderError::temporary(operation.as_str(), "the reply was lost")));
            }
            Ok(_) => entry.note(CallOutcome::Answered),
        }
        result
    }

    fn begin(&self, operation: Operation, about: About) -> (Entry, Met) {
        let mut state = self.cloud.lock();
        let About { machine, mut name, token } = about;
        if let Some(id) = &machine {
            name = state.find(id).map(|guest| guest.machine.name.clone());
        }
        let met = state.rules.take(operation, name.as_ref());
        let call = Call { handle: self.handle, operation, machine, name, token, outcome: CallOutcome::Open };
        let place = state.log.begin(call);
        (Entry { cloud: self.cloud.clone(), place }, met)
    }

    /// A call on one machine, which has to exist.
    async fn on(
        &self,
        operation: Operation,
        id: &MachineId,
        effect: impl FnOnce(&mut Guest, &Met) -> Result<(), String> + Send,
    ) -> Result<Machine, ProviderError> {
        self.call(operation, About::of(id), |state, met| {
            let guest = state.known(id, operation)?;
            match effect(guest, met) {
                Ok(()) => Ok(guest.machine.clone()),
                Err(why) => Err(ProviderError::permanent(operation.as_str(), why).machine(id)),
            }
        })
        .await
    }
}

impl About {
    fn of(id: &MachineId) -> Self {
        Self { machine: Some(id.clone()), ..Self::default() }
    }
}

/// Ends a call in the log even when its caller goes away.
struct Entry {
    cloud: FakeCloud,
    place: usize,
}

impl Entry {
    fn note(&self, outcome: CallOutcome) {
        self.cloud.lock().log.note(self.place, outcome);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.cloud.lock().log.end(self.place);
    }
}

fn is_on(guest: &Guest) -> bool {
    matches!(guest.machine.state, MachineState::Running | MachineState::Paused)
}

fn not_on(guest: &Guest) -> String {
    format!("the machine is {}", format!("{:?}", guest.machine.state).to_lowercase())
}

#[async_trait]
impl Provider for FakeProvider {
    fn capabilities(&self) -> Capabilities {
        self.cloud.lock().capabilities
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Machine>, ProviderError> {
        self.call(Operation::List, About::default(), |state, met| Ok(state.list(tags, met))).await
    }

    async fn preflight(&self, wanted: &[MachineBatch]) -> Result<(), ProviderError> {
        self.cloud.lock().preflight(wanted.iter().map(|batch| batch.count).sum())
    }

    async fn create(&self, request: &MachineRequest) -> Result<Machine, ProviderError> {
        let about = About { machine: None, name: Some(request.name.clone()), token: Some(request.token.clone()) };
        self.call(Operation::Create, about, |state, met| state.create(request, met)).await
    }

    async fn wait_running(&self, id: &MachineId) -> Result<Machine, ProviderError> {
        self.on(Operation::WaitRunning, id, |guest, met| match guest.machine.state {
            MachineState::Stopped | MachineState::Removing => Err(format!("{}; start it first", not_on(guest))),
            MachineState::Creating => {
                guest.boot(met.fail_boot);
                Ok(())
            }
            MachineState::Running | MachineState::Paused | MachineState::Failed => Ok(()),
        })
        .await
    }

    async fn destroy(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.call(Operation::Destroy, About::of(id), |state, met| {
            state.destroy(id, met);
            Ok(())
        })
        .await
    }

    async fn start(&self, id: &MachineId) -> Result<(), ProviderError> {
        let started = self.on(Operation::Start, id, |guest, _| {
            if matches!(guest.machine.state, MachineState::Stopped | MachineState::Failed) {
                guest.enter(MachineState::Creating, None);
            }
            Ok(())
        });
        started.await.map(|_| ())
    }

    async fn stop(&self, id: &MachineId) -> Result<(), ProviderError> {
        let stopped = self.on(Operation::Stop, id, |guest, _| {
            if guest.machine.state != MachineState::Stopped {
                guest.power_off(MachineState::Stopped, None);
            }
            Ok(())
        });
        stopped.await.map(|_| ())
    }

    async fn reboot(&self, id: &MachineId) -> Result<(), ProviderError> {
        let rebooted = self.on(Operation::Reboot, id, |guest, _| {
            if !is_on(guest) {
                return Err(not_on(guest));
            }
            guest.power_off(MachineState::Creating, None);
            guest.boot(false);
            Ok(())
        });
        rebooted.await.map(|_| ())
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(FakeDialer { cloud: self.cloud.clone(), life: Arc::clone(&self.life) })
    }

    async fn console(&self, id: &MachineId, lines: usize) -> Result<Vec<String>, ProviderError> {
        self.call(Operation::Console, About::of(id), |state, _| Ok(state.known(id, Operation::Console)?.console(lines)))
            .await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.capabilities().faults.then_some(self as &dyn Faults)
    }

    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        self.baker()
    }

    async fn release(&self) -> Result<(), ProviderError> {
        self.call(Operation::Release, About::default(), |state, _| state.release()).await
    }
}

#[async_trait]
impl Faults for FakeProvider {
    async fn pause(&self, id: &MachineId) -> Result<(), ProviderError> {
        let paused = self.on(Operation::Pause, id, |guest, _| {
            if !is_on(guest) {
                return Err(not_on(guest));
            }
            guest.enter(MachineState::Paused, None);
            Ok(())
        });
        paused.await.map(|_| ())
    }

    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError> {
        let resumed = self.on(Operation::Resume, id, |guest, _| {
            if !is_on(guest) {
                return Err(not_on(guest));
            }
            guest.enter(MachineState::Running, None);
            Ok(())
        });
        resumed.await.map(|_| ())
    }

    async fn kill(&self, id: &MachineId) -> Result<(), ProviderError> {
        let killed = self.on(Operation::Kill, id, |guest, _| {
            if guest.machine.state != MachineState::Stopped {
                guest.power_off(MachineState::Stopped, Some("it was killed"));
            }
            Ok(())
        });
        killed.await.map(|_| ())
    }

    async fn cut_off(&self, id: &MachineId) -> Result<(), ProviderError> {
        let cut = self.on(Operation::CutOff, id, |guest, _| {
            guest.cut(true);
            Ok(())
        });
        cut.await.map(|_| ())
    }

    async fn heal(&self, id: &MachineId) -> Result<(), ProviderError> {
        let healed = self.on(Operation::Heal, id, |guest, _| {
            guest.cut(false);
            Ok(())
        });
        healed.await.map(|_| ())
    }
}

/// Opens handles on one cloud, under the name `fake`.
#[derive(Clone)]
pub struct FakeFactory {
    cloud: FakeCloud,
}

impl FakeFactory {
    pub fn new(cloud: &FakeCloud) -> Self {
        Self { cloud: cloud.clone() }
    }
}

#[async_trait]
impl Factory for FakeFactory {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self, _block: Option<&Tree>) -> Vec<Diagnostic> {
        Vec::new()
    }

    async fn open(&self, _context: OpenContext) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.cloud.provider()))
    }
}
