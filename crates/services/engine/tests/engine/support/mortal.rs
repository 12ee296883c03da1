//! Ends an engine at any of its calls: store, provider and agents are wrapped, and the chosen call never returns.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use muster_api::Event;
use muster_api::{ApplyEvent, ApplyRequest, Check, CheckEvent, StatusReply};
use muster_engine::{AgentLink, AgentLinks, LinkError, LinkStream, RunEvent};
use muster_provider::fake::{Edge, FakeProvider};
use muster_provider::{
    BakeProgress, BakeRequest, BakedImage, Bakery, Capabilities, Dialer, Faults, ImageId, Machine, MachineBatch,
    MachineRequest, Provider, ProviderError, Tags,
};
use muster_store::{ClusterRecord, Intent, IntentId, Lease, LeaseHolder, NodeRecord, Revision, Store, StoreError};
use muster_store_sqlite::SqliteStore;
use muster_types::{ClusterName, Generation, MachineId, NodeName, Redacted};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// One engine's life, counted in calls.
#[derive(Clone, Default)]
pub(crate) struct Mortality {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    plan: Mutex<Plan>,
    dead: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    /// What was called, in order.
    calls: Vec<&'static str>,
    death: Option<(usize, Edge)>,
}

impl Mortality {
    /// Dies at the `call`-th call, counted from 1.
    pub(crate) fn at(call: usize, edge: Edge) -> Self {
        let mortality = Self::default();
        mortality.plan().death = Some((call, edge));
        mortality
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.plan().calls.clone()
    }

    pub(crate) async fn died(&self) {
        self.shared.dead.subscribe().wait_for(|dead| *dead).await.unwrap();
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, what: &'static str, call: impl Future<Output = T> + Send) -> T {
        let dies = {
            let mut plan = self.plan();
            plan.calls.push(what);
            let number = plan.calls.len();
            plan.death.filter(|(at, _)| *at == number).map(|(_, edge)| edge)
        };
        if dies == Some(Edge::Before) {
            self.shared.dead.send_replace(true);
        }
        self.hang_if_dead().await;
        let result = call.await;
        if dies == Some(Edge::After) {
            self.shared.dead.send_replace(true);
        }
        self.hang_if_dead().await;
        result
    }

    async fn hang_if_dead(&self) {
        if *self.shared.dead.borrow() {
            pending::<()>().await;
        }
    }
}

/// Something that an engine calls.
#[derive(Clone)]
pub(crate) struct Mortal<T> {
    pub(crate) inner: T,
    pub(crate) life: Mortality,
}

#[async_trait]
impl Store for Mortal<SqliteStore> {
    async fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError> {
        self.life.call("clusters", self.inner.clusters()).await
    }

    async fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRecord>, StoreError> {
        self.life.call("cluster", self.inner.cluster(name)).await
    }

    async fn put_cluster(&self, record: &ClusterRecord, under: Generation) -> Result<Revision, StoreError> {
        self.life.call("put cluster", self.inner.put_cluster(record, under)).await
    }

    async fn remove_cluster(&self, name: &ClusterName, under: Generation) -> Result<(), StoreError> {
        self.life.call("remove cluster", self.inner.remove_cluster(name, under)).await
    }

    async fn nodes(&self, cluster: &ClusterName) -> Result<Vec<NodeRecord>, StoreError> {
        self.life.call("nodes", self.inner.nodes(cluster)).await
    }

    async fn put_node(&self, record: &NodeRecord, under: Generation) -> Result<Revision, StoreError> {
        self.life.call("put node", self.inner.put_node(record, under)).await
    }

    async fn remove_node(&self, cluster: &ClusterName, node: &NodeName, under: Generation) -> Result<(), StoreError> {
        self.life.call("remove node", self.inner.remove_node(cluster, node, under)).await
    }

    async fn begin(&self, intent: &Intent, under: Generation) -> Result<(), StoreError> {
        self.life.call("begin", self.inner.begin(intent, under)).await
    }

    async fn finish(
        &self,
        cluster: &ClusterName,
        id: &IntentId,
        node: Option<&NodeRecord>,
        under: Generation,
    ) -> Result<Revision, StoreError> {
        self.life.call("finish", self.inner.finish(cluster, id, node, under)).await
    }

    async fn open_intents(&self, cluster: &ClusterName) -> Result<Vec<Intent>, StoreError> {
        self.life.call("open intents", self.inner.open_intents(cluster)).await
    }

    async fn append_events(&self, cluster: &ClusterName, events: &[Event]) -> Result<(), StoreError> {
        self.life.call("append events", self.inner.append_events(cluster, events)).await
    }

    async fn events(&self, cluster: &ClusterName, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.life.call("events", self.inner.events(cluster, limit)).await
    }

    async fn acquire(&self, cluster: &ClusterName, holder: &LeaseHolder, ttl_ms: u64) -> Result<Lease, StoreError> {
        self.life.call("acquire", self.inner.acquire(cluster, holder, ttl_ms)).await
    }

    /// Not counted: it comes when it comes.
    async fn renew(&self, lease: &Lease, ttl_ms: u64) -> Result<Lease, StoreError> {
        self.life.hang_if_dead().await;
        self.inner.renew(lease, ttl_ms).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.life.call("release lease", self.inner.release(lease)).await
    }
}

#[async_trait]
impl Provider for Mortal<FakeProvider> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Machine>, ProviderError> {
        self.life.call("list", self.inner.list(tags)).await
    }

    async fn preflight(&self, wanted: &[MachineBatch]) -> Result<(), ProviderError> {
        self.inner.preflight(wanted).await
    }

    async fn create(&self, request: &MachineRequest) -> Result<Machine, ProviderError> {
        self.life.call("create", self.inner.create(request)).await
    }

    async fn wait_running(&self, id: &MachineId) -> Result<Machine, ProviderError> {
        self.life.call("wait running", self.inner.wait_running(id)).await
    }

    async fn destroy(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.life.call("destroy", self.inner.destroy(id)).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.life.call("start", self.inner.start(id)).await
    }

    async fn stop(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.life.call("stop", self.inner.stop(id)).await
    }

    async fn reboot(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.life.call("reboot", self.inner.reboot(id)).await
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(NoDialer)
    }

    async fn console(&self, id: &MachineId, lines: usize) -> Result<Vec<String>, ProviderError> {
        self.life.call("console", self.inner.console(id, lines)).await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.inner.faults()
    }

    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        let inner = self.inner.bakery()?;
        Some(Arc::new(Mortal { inner, life: self.life.clone() }))
    }

    async fn release(&self) -> Result<(), ProviderError> {
        self.life.call("release", self.inner.release()).await
    }
}

#[async_trait]
impl Bakery for Mortal<Arc<dyn Bakery>> {
    async fn is_baked(&self, request: &BakeRequest) -> Result<bool, ProviderError> {
        self.life.call("is baked", self.inner.is_baked(request)).await
    }

    async fn bake(
        &self,
        request: &BakeRequest,
        progress: &(dyn Fn(BakeProgress) + Send + Sync),
    ) -> Result<Option<BakedImage>, ProviderError> {
        self.life.call("bake", self.inner.bake(request, progress)).await
    }

    async fn list(&self) -> Result<Vec<BakedImage>, ProviderError> {
        self.life.call("list images", self.inner.list()).await
    }

    async fn remove(&self, id: &ImageId) -> Result<(), ProviderError> {
        self.life.call("remove image", self.inner.remove(id)).await
    }

    async fn prune(&self) -> Result<Vec<BakedImage>, ProviderError> {
        self.life.call("prune images", self.inner.prune()).await
    }
}

/// The engine reaches agents through its links only.
struct NoDialer;

#[async_trait]
impl Dialer for NoDialer {
    async fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        Err(std::io::Error::other(format!("nobody dials {address} here")))
    }

    async fn ping(&self, address: IpAddr) -> std::io::Result<()> {
        Err(std::io::Error::other(format!("nobody pings {address} here")))
    }
}

impl<T: AgentLinks> AgentLinks for Mortal<Arc<T>> {
    fn node(&self, name: &NodeName, address: IpAddr) -> Arc<dyn AgentLink> {
        Arc::new(Mortal { inner: self.inner.node(name, address), life: self.life.clone() })
    }
}

#[async_trait]
impl AgentLink for Mortal<Arc<dyn AgentLink>> {
    async fn status(&self) -> Result<StatusReply, LinkError> {
        self.life.call("agent status", self.inner.status()).await
    }

    async fn enrol(&self, token: &Redacted<String>) -> Result<(), LinkError> {
        self.life.call("enrol", self.inner.enrol(token)).await
    }

    async fn renew(&self) -> Result<(), LinkError> {
        self.life.call("renew certificate", self.inner.renew()).await
    }

    async fn apply(&self, request: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError> {
        self.life.call("apply", self.inner.apply(request)).await
    }

    async fn checks(&self, checks: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError> {
        self.life.call("checks", self.inner.checks(checks)).await
    }

    async fn run(&self, command: &str) -> Result<LinkStream<RunEvent>, LinkError> {
        self.life.call("run", self.inner.run(command)).await
    }

    async fn ping(&self) -> Result<(), LinkError> {
        self.life.call("ping", self.inner.ping()).await
    }
}
