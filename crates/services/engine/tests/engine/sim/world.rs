//! Clouds, nodes and a disk that outlive processes, in time that passes only when everybody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use muster_api::Event;
use muster_engine::{Clock, Drain, Engine, EngineConfig, Limits};
use muster_plan::Policy;
use muster_provider::{Capabilities, Provider as _};
use muster_store::LeaseHolder;
use muster_types::{ClusterName, SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dice::Dice;
use super::life::{Life, Mishap};
use super::store::{SimStore, Wall};
use super::wire::{Exchange, Links, TRANSIT_MAX, Wire};
use crate::support::Agents;

/// How long the cloud's lists may lag behind.
pub(crate) const LAG_MAX: Duration = Duration::from_secs(20);

/// The clocks of one machine, both driven by the runtime's time.
#[derive(Clone, Copy)]
struct SimClock {
    start: Instant,
}

impl Clock for SimClock {
    fn since_boot(&self) -> Option<Duration> {
        Some(self.start.elapsed())
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.start.elapsed()).unwrap()
    }
}

pub(crate) struct SimWorld {
    pub(crate) dice: Dice,
    pub(crate) exchange: Exchange,
    pub(crate) agents: Agents,
    clock: SimClock,
    born: AtomicU32,
}

/// One process: an engine, and what becomes of it.
pub(crate) struct SimProcess {
    pub(crate) engine: Engine,
    pub(crate) life: Life,
    pub(crate) store: SimStore,
    pub(crate) events: mpsc::Receiver<Event>,
}

impl SimWorld {
    pub(crate) fn new(seed: u64, cluster: ClusterName) -> Self {
        let dice = Dice::new(seed);
        let exchange = Exchange::new(&dice, cluster);
        let claims = exchange.cloud.provider().capabilities();
        exchange.cloud.set_capabilities(Capabilities { visible_within: LAG_MAX + TRANSIT_MAX, ..claims });
        let agents = Agents::new(&exchange.cloud);
        Self { dice, exchange, agents, clock: SimClock { start: Instant::now() }, born: AtomicU32::new(0) }
    }

    pub(crate) fn process(&self, mishap: Option<(usize, Mishap)>, policy: Policy) -> SimProcess {
        let pid = self.born.fetch_add(1, Ordering::Relaxed) + 1;
        let life = Life::new(pid, mishap);
        self.exchange.disk.born(pid);
        let clock = self.clock;
        let wall: Wall = Arc::new(move || clock.now());
        let (disk, dice) = (self.exchange.disk.clone(), self.dice.clone());
        let store = SimStore { disk, life: life.clone(), dice: dice.clone(), wall };
        // More than any run here tells: few of them are listened to.
        let (sender, events) = mpsc::channel(100_000);
        let engine = Engine::new(EngineConfig {
            store: Arc::new(store.clone()),
            provider: Arc::new(Wire {
                exchange: self.exchange.clone(),
                provider: self.exchange.cloud.provider(),
                life: life.clone(),
            }),
            provider_name: "fake".to_owned(),
            ca_pem: "the certificate of a CA".to_owned(),
            links: Arc::new(Links { inner: self.agents.clone(), dice, life: life.clone() }),
            holder: LeaseHolder {
                host: "here".to_owned(),
                boot_id: "this".to_owned(),
                pid,
                start_ticks: 0,
                command: "muster up".to_owned(),
            },
            concurrency_max: 32,
            events: sender,
            limits: Limits::default(),
            clock: Arc::new(clock),
            policy,
            drain: Drain::AsDeclared,
            redact: Vec::new(),
        });
        SimProcess { engine, life, store, events }
    }
}
