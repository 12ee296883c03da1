//! What outlives an engine, and engines that work on it.

use std::sync::Arc;
use std::time::Duration;

use muster_api::{Event, EventBody};
use muster_engine::{Engine, EngineConfig, EngineError, Limits, Outcome};
use muster_plan::{Plan, Policy};
use muster_provider::fake::FakeCloud;
use muster_store::{LeaseHolder, NodeRecord, Store as _};
use muster_store_sqlite::SqliteStore;
use muster_types::{NodeName, Phase};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::mortal::Mortal;
use super::{Agents, Mortality, TestBlueprint};

/// The cloud, the agents on its machines, and the state on disk.
pub(crate) struct World {
    pub(crate) cloud: FakeCloud,
    pub(crate) agents: Agents,
    pub(crate) store: SqliteStore,
    /// Holds the state until the test ends.
    folder: TempDir,
}

/// One engine, as a process would have it, and what it told.
pub(crate) struct Process {
    pub(crate) engine: Engine,
    pub(crate) events: mpsc::Receiver<Event>,
}

/// Waits of a test: as short as they can be, and long enough for a busy machine.
fn limits() -> Limits {
    Limits {
        pause_first: Duration::from_millis(1),
        pause_longest: Duration::from_millis(4),
        reach: Duration::from_secs(10),
        // Long: nodes that never join are not in the way.
        gather: Duration::from_secs(5),
        ..Limits::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let cloud = FakeCloud::new();
        let store = SqliteStore::open(&folder.path().join("muster.db")).unwrap();
        Self { agents: Agents::new(&cloud), cloud, store, folder }
    }

    pub(crate) fn process(&self) -> Process {
        self.process_with(&Mortality::default(), |_| {})
    }

    /// A process that dies as planned, with a configuration of its own.
    pub(crate) fn process_with(&self, life: &Mortality, adjust: impl FnOnce(&mut EngineConfig)) -> Process {
        let (sender, events) = mpsc::channel(100_000);
        let mut config = EngineConfig {
            store: Arc::new(Mortal { inner: self.store.clone(), life: life.clone() }),
            provider: Arc::new(Mortal { inner: self.cloud.provider(), life: life.clone() }),
            provider_name: "fake".to_owned(),
            ca_pem: "the certificate of a CA".to_owned(),
            links: Arc::new(Mortal { inner: Arc::new(self.agents.clone()), life: life.clone() }),
            holder: dead_holder(),
            concurrency_max: 32,
            events: sender,
            limits: limits(),
            clock: Arc::new(muster_engine::SystemClock),
            policy: Policy::default(),
            drain: muster_engine::Drain::AsDeclared,
            redact: Vec::new(),
        };
        adjust(&mut config);
        Process { engine: Engine::new(config), events }
    }

    /// The same machines, and a state that knows nothing.
    pub(crate) fn forget(self) -> Self {
        let Self { store, folder, .. } = Self::new();
        Self { store, folder, ..self }
    }

    /// A new process makes the cluster what the file says.
    pub(crate) async fn up(&self, blueprint: &TestBlueprint) -> Outcome {
        self.process().up(blueprint).await.unwrap()
    }

    pub(crate) async fn plan(&self, blueprint: &TestBlueprint) -> Plan {
        self.process().engine.plan(blueprint).await.unwrap()
    }

    pub(crate) async fn down(&self, blueprint: &TestBlueprint) -> Outcome {
        self.process().engine.down(&blueprint.cluster, CancellationToken::new()).await.unwrap()
    }

    pub(crate) async fn records(&self, blueprint: &TestBlueprint) -> Vec<NodeRecord> {
        self.store.nodes(&blueprint.cluster).await.unwrap()
    }

    /// Every node has one machine, one enrolment and its own configuration; nothing else is there or left open.
    pub(crate) async fn assert_true_to(&self, blueprint: &TestBlueprint) {
        let plan = self.plan(blueprint).await;
        assert!(plan.is_empty(), "{plan}");
        let nodes: u32 = blueprint.groups.iter().map(|group| group.count).sum();
        let machines = self.cloud.machines();
        assert_eq!(machines.len(), nodes as usize, "one machine each");
        for machine in &machines {
            assert_eq!(self.agents.memory(&machine.id).enrolments, 1, "{} is enrolled once", machine.name);
            assert_eq!(machine.tags["colour"], "green");
        }
        assert_eq!(self.store.open_intents(&blueprint.cluster).await.unwrap(), []);
        for record in self.records(blueprint).await {
            assert_eq!(record.phase, Phase::Ready, "{}: {}", record.name, record.reason);
            assert_eq!(record.enrol_token, None, "{} keeps no secret that was used", record.name);
        }
    }

    /// Nothing is left anywhere.
    pub(crate) async fn assert_gone(&self, blueprint: &TestBlueprint) {
        assert_eq!(self.cloud.machines(), [], "no machine is left");
        assert!(!self.cloud.is_shared_left(), "what machines share is released");
        assert_eq!(self.store.cluster(&blueprint.cluster).await.unwrap(), None);
        assert_eq!(self.records(blueprint).await, []);
        assert_eq!(self.store.open_intents(&blueprint.cluster).await.unwrap(), []);
    }
}

impl Process {
    pub(crate) async fn up(&self, blueprint: &TestBlueprint) -> Result<Outcome, EngineError> {
        self.engine.lease(&blueprint.cluster).await?;
        let plan = self.engine.plan(blueprint).await?;
        self.engine.up(blueprint, plan, CancellationToken::new()).await
    }

    /// What was told so far.
    pub(crate) fn told(&mut self) -> Vec<EventBody> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.body).collect()
    }

    /// The phases that a node went through, in order.
    pub(crate) fn phases(told: &[EventBody], of: &NodeName) -> Vec<Phase> {
        let mut phases: Vec<Phase> = told
            .iter()
            .filter_map(|body| match body {
                EventBody::Phase { node, phase, .. } if node == of => Some(*phase),
                _ => None,
            })
            .collect();
        phases.dedup();
        phases
    }
}

/// A process of this boot that is no more: whoever comes next may take over its lease at once.
fn dead_holder() -> LeaseHolder {
    let boot_id = std::io::read_to_string(std::fs::File::open("/proc/sys/kernel/random/boot_id").unwrap()).unwrap();
    LeaseHolder {
        host: "here".to_owned(),
        boot_id: boot_id.trim().to_owned(),
        pid: u32::MAX,
        start_ticks: 0,
        command: "test".to_owned(),
    }
}
