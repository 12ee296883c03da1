//! A process's way to the cloud and to the nodes: orders that were sent arrive, whether their sender lives or not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_api::{ApplyEvent, ApplyRequest, Check, CheckEvent, StatusReply};
use muster_engine::{AgentLink, AgentLinks, LinkError, LinkStream, NODE_TAG, RunEvent};
use muster_provider::fake::{FakeCloud, FakeProvider};
use muster_provider::{
    Bakery, Capabilities, Dialer, Faults, Machine, MachineBatch, MachineRequest, Provider, ProviderError, Tags,
};
use muster_stdx::{OnError, Supervisor};
use muster_types::{ClusterName, MachineId, NodeName, Redacted};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::dice::Dice;
use super::life::Life;
use super::store::Disk;

/// Lines of the log that a story which fails shows.
const LOG_LINES_MAX: usize = 120;

/// The longest that an order is on its way.
pub(crate) const TRANSIT_MAX: Duration = Duration::from_millis(400);

/// What all processes share: the cloud's end of the wires, and what was seen to go wrong there.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) cloud: FakeCloud,
    pub(crate) dice: Dice,
    pub(crate) disk: Disk,
    pub(crate) cluster: ClusterName,
    server: Supervisor,
    state: Arc<Mutex<Counter>>,
}

struct Counter {
    start: Instant,
    /// Calls a second that it takes; `None`: all.
    rate: Option<u32>,
    /// When the next call is taken without being turned away.
    next: Option<Instant>,
    wrongs: Vec<String>,
    /// The last orders and what came of them.
    log: VecDeque<String>,
    /// A stranger has made machines: two of a node are none of the engine's doing.
    strange: bool,
}

impl Exchange {
    pub(crate) fn new(dice: &Dice, cluster: ClusterName) -> Self {
        let (cloud, server) = (FakeCloud::new(), Supervisor::new());
        let state = Counter {
            start: Instant::now(),
            rate: None,
            next: None,
            wrongs: Vec::new(),
            log: VecDeque::new(),
            strange: false,
        };
        let state = Arc::new(Mutex::new(state));
        Self { cloud, dice: dice.clone(), disk: Disk::default(), cluster, server, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Counter> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_rate(&self, rate: Option<u32>) {
        let mut state = self.state();
        (state.rate, state.next) = (rate, None);
    }

    /// What was seen that must never be.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.state().wrongs.clone()
    }

    pub(crate) fn note(&self, line: &str) {
        let mut state = self.state();
        if state.log.len() == LOG_LINES_MAX {
            state.log.pop_front();
        }
        let time = state.start.elapsed().as_secs_f32();
        state.log.push_back(format!("{time:9.3} {line}"));
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.state().log.iter().cloned().collect()
    }

    /// Whether a call is turned away for coming too soon.
    fn throttles(&self) -> bool {
        let mut state = self.state();
        let Some(rate) = state.rate else { return false };
        let now = Instant::now();
        if state.next.is_some_and(|next| now < next) {
            return true;
        }
        state.next = Some(now + Duration::from_secs(1) / rate);
        false
    }

    /// Two machines of one node at a time are one too many.
    fn look_for_twins(&self, made: &Machine) {
        let node = made.tags.get(NODE_TAG);
        let machines = self.cloud.machines();
        let twins: Vec<&Machine> = machines.iter().filter(|machine| machine.tags.get(NODE_TAG) == node).collect();
        let mut state = self.state();
        if twins.len() > 1 && !state.strange {
            let ids: Vec<&str> = twins.iter().map(|machine| machine.id.as_str()).collect();
            state.wrongs.push(format!("{} has machines {}", made.name, ids.join(" and ")));
        }
    }

    fn check_writer(&self, what: &str, life: &Life) {
        let holder = self.disk.holder(&self.cluster);
        if holder != Some(life.pid) {
            self.state().wrongs.push(format!("process {} gives the order to {what}, and {holder:?} owns", life.pid));
        }
    }
}

/// A provider at the end of a wire.
pub(crate) struct Wire {
    pub(crate) exchange: Exchange,
    pub(crate) provider: FakeProvider,
    pub(crate) life: Life,
}

impl Wire {
    fn order<T, F>(
        &self,
        (what, about): (&'static str, &str),
        work: impl FnOnce(FakeProvider) -> F,
    ) -> impl Future<Output = Answer<T>>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        self.exchange.check_writer(what, &self.life);
        let (exchange, told) = (self.exchange.clone(), format!("{}: {what} {about}", self.life.pid));
        exchange.note(&told);
        let work = work(self.provider.clone());
        let work = async move {
            let result = work.await;
            let end = result.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            exchange.note(&format!("{told}: {end}"));
            result
        };
        self.send(what, |_| work)
    }

    async fn send<T, F>(&self, what: &'static str, work: impl FnOnce(FakeProvider) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let work = work(self.provider.clone());
        self.life.call(what, self.exchange.carry(what, work)).await
    }
}

type Answer<T> = Result<T, ProviderError>;

impl Exchange {
    async fn carry<T>(&self, what: &'static str, work: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T>
    where
        T: Send + 'static,
    {
        let (there, back) = (self.dice.milliseconds(200), self.dice.milliseconds(200));
        if self.throttles() {
            tokio::time::sleep(there + back).await;
            return Err(ProviderError::throttled(what, "too many calls"));
        }
        let (answer, answered) = oneshot::channel();
        self.server.spawn("order", OnError::Log, async move {
            tokio::time::sleep(there).await;
            // Its sender may have died.
            drop(answer.send(work.await));
            Ok::<(), Infallible>(())
        });
        let result = answered.await.unwrap();
        tokio::time::sleep(back).await;
        result
    }
}

#[async_trait]
impl Provider for Wire {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    async fn list(&self, tags: &Tags) -> Answer<Vec<Machine>> {
        let tags = tags.clone();
        self.send("list", async move |provider: FakeProvider| provider.list(&tags).await).await
    }

    async fn preflight(&self, wanted: &[MachineBatch]) -> Answer<()> {
        self.provider.preflight(wanted).await
    }

    async fn create(&self, request: &MachineRequest) -> Answer<Machine> {
        let about = format!("{} {}", request.name, &request.token.as_str()[..4]);
        let (request, exchange) = (request.clone(), self.exchange.clone());
        let work = async move |provider: FakeProvider| {
            let before = exchange.cloud.made().len();
            let made = provider.create(&request).await;
            let after = exchange.cloud.made();
            if after.len() > before
                && let Some(id) = after.last().map(|made| made.id.clone())
            {
                let machines = exchange.cloud.machines();
                machines.iter().filter(|machine| machine.id == id).for_each(|machine| exchange.look_for_twins(machine));
            }
            made
        };
        self.order(("create", &about), work).await
    }

    async fn wait_running(&self, id: &MachineId) -> Answer<Machine> {
        let id = id.clone();
        self.send("wait running", async move |provider: FakeProvider| provider.wait_running(&id).await).await
    }

    async fn destroy(&self, id: &MachineId) -> Answer<()> {
        let (about, id) = (id.to_string(), id.clone());
        self.order(("destroy", &about), async move |provider: FakeProvider| provider.destroy(&id).await).await
    }

    async fn start(&self, id: &MachineId) -> Answer<()> {
        let (about, id) = (id.to_string(), id.clone());
        self.order(("start", &about), async move |provider: FakeProvider| provider.start(&id).await).await
    }

    async fn stop(&self, id: &MachineId) -> Answer<()> {
        let (about, id) = (id.to_string(), id.clone());
        self.order(("stop", &about), async move |provider: FakeProvider| provider.stop(&id).await).await
    }

    async fn reboot(&self, id: &MachineId) -> Answer<()> {
        let (about, id) = (id.to_string(), id.clone());
        self.order(("reboot", &about), async move |provider: FakeProvider| provider.reboot(&id).await).await
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::new(NoDialer)
    }

    async fn console(&self, id: &MachineId, lines: usize) -> Answer<Vec<String>> {
        let id = id.clone();
        self.send("console", async move |provider: FakeProvider| provider.console(&id, lines).await).await
    }

    fn faults(&self) -> Option<&dyn Faults> {
        self.provider.faults()
    }

    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        None
    }

    async fn release(&self) -> Answer<()> {
        self.order(("release", ""), async move |provider: FakeProvider| provider.release().await).await
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

/// Agents at the end of a wire.
pub(crate) struct Links<T> {
    pub(crate) inner: T,
    pub(crate) dice: Dice,
    pub(crate) life: Life,
}

impl<T: Sync> Links<T> {
    async fn call<R: Send>(&self, what: &'static str, call: impl Future<Output = R> + Send) -> R {
        let slow = async {
            tokio::time::sleep(self.dice.milliseconds(50)).await;
            call.await
        };
        self.life.call(what, slow).await
    }
}

impl<T: AgentLinks> AgentLinks for Links<T> {
    fn node(&self, name: &NodeName, address: IpAddr) -> Arc<dyn AgentLink> {
        Arc::new(Links { inner: self.inner.node(name, address), dice: self.dice.clone(), life: self.life.clone() })
    }
}

#[async_trait]
impl AgentLink for Links<Arc<dyn AgentLink>> {
    async fn status(&self) -> Result<StatusReply, LinkError> {
        self.call("agent status", self.inner.status()).await
    }

    async fn enrol(&self, token: &Redacted<String>) -> Result<(), LinkError> {
        self.call("enrol", self.inner.enrol(token)).await
    }

    async fn renew(&self) -> Result<(), LinkError> {
        self.call("renew certificate", self.inner.renew()).await
    }

    async fn apply(&self, request: &ApplyRequest) -> Result<LinkStream<ApplyEvent>, LinkError> {
        self.call("apply", self.inner.apply(request)).await
    }

    async fn checks(&self, checks: &[Check]) -> Result<LinkStream<CheckEvent>, LinkError> {
        self.call("checks", self.inner.checks(checks)).await
    }

    async fn run(&self, command: &str) -> Result<LinkStream<RunEvent>, LinkError> {
        self.call("run", self.inner.run(command)).await
    }

    async fn ping(&self) -> Result<(), LinkError> {
        self.call("ping", self.inner.ping()).await
    }
}
