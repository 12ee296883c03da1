//! Every order that a provider is given leaves a line in the log of the run that gave it: what, to which machine, with what
//! end. Looks are not orders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use muster_api::EventBody;
use muster_provider::{
    Bakery, Capabilities, Dialer, Faults, Machine, MachineBatch, MachineRequest, Provider, ProviderError, Tags,
};
use muster_stdx::chain;
use muster_types::{MachineId, NodeName};

use crate::events::Emitter;
use crate::observe::node_of;

/// The run that is on, if any: whoever gives orders speaks for it.
pub(crate) type Voice = Arc<Mutex<Option<Arc<Emitter>>>>;

pub(crate) struct Audited {
    pub(crate) inner: Arc<dyn Provider>,
    pub(crate) voice: Voice,
    /// Whose machines they are, as far as they were seen.
    pub(crate) nodes: Mutex<BTreeMap<MachineId, NodeName>>,
}

impl Audited {
    async fn order<T>(
        &self,
        order: &str,
        machine: Option<&MachineId>,
        call: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let begun = Instant::now();
        let result = call.await;
        let voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(voice) = voice {
            let node = machine.and_then(|machine| self.node(machine));
            let body = EventBody::Called {
                order: order.to_owned(),
                node,
                machine: machine.cloned(),
                error: result.as_ref().err().map(|error| chain(error)),
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            };
            voice.emit(body).await;
        }
        result
    }

    fn node(&self, machine: &MachineId) -> Option<NodeName> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(machine).cloned()
    }

    fn learn(&self, machine: &Machine) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(machine.id.clone(), node_of(machine));
    }
}

#[async_trait]
impl Provider for Audited {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Machine>, ProviderError> {
        let machines = self.inner.list(tags).await?;
        for machine in &machines {
            self.learn(machine);
        }
        Ok(machines)
    }

    async fn preflight(&self, wanted: &[MachineBatch]) -> Result<(), ProviderError> {
        self.inner.preflight(wanted).await
    }

    async fn create(&self, request: &MachineRequest) -> Result<Machine, ProviderError> {
        let called = async {
            let machine = self.inner.create(request).await?;
            self.learn(&machine);
            Ok(machine)
        };
        self.order(&format!("create {} ({})", request.name, request.token), None, called).await
    }

    async fn wait_running(&self, id: &MachineId) -> Result<Machine, ProviderError> {
        self.inner.wait_running(id).await
    }

    async fn destroy(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.order("destroy", Some(id), self.inner.destroy(id)).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.order("start", Some(id), self.inner.start(id)).await
    }

    async fn stop(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.order("stop", Some(id), self.inner.stop(id)).await
    }

    async fn reboot(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.order("reboot", Some(id), self.inner.reboot(id)).await
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        self.inner.dialer()
    }

    async fn console(&self, id: &MachineId, lines: usize) -> Result<Vec<String>, ProviderError> {
        self.inner.console(id, lines).await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.inner.faults()
    }

    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        self.inner.bakery()
    }

    async fn release(&self) -> Result<(), ProviderError> {
        self.order("release", None, self.inner.release()).await
    }
}
