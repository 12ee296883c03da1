//! The lease that makes this process the one writer of a cluster: renewed in the background, checked before each order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_stdx::{OnError, Supervisor, chain};
use muster_store::{Lease, Store, StoreError};
use muster_types::{ClusterName, Generation, SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{EngineConfig, EngineError, Limits};

/// Where a holder reads how much is left of its lease.
pub trait Clock: Send + Sync {
    /// Time that nobody can set and that goes on while the machine sleeps: a process that was stopped or a machine that
    /// was suspended has to see that its lease is over. `None` where it cannot be read.
    fn since_boot(&self) -> Option<Duration>;

    /// The wall clock, by which other machines tell that a lease is over.
    fn now(&self) -> Timestamp;
}

/// This machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn since_boot(&self) -> Option<Duration> {
        muster_sys::clock::since_boot().ok()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A lease that is held until it is released, dropped or lost.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    supervisor: Supervisor,
}

struct Shared {
    store: Arc<dyn Store>,
    cluster: ClusterName,
    limits: Limits,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    /// Cancelled when the lease is lost.
    lost: CancellationToken,
}

#[derive(Clone)]
struct Held {
    lease: Lease,
    /// When it ends by the clock that nobody sets, counted from before it was asked for.
    until: Duration,
}

impl Hold {
    pub(crate) async fn acquire(config: &EngineConfig, cluster: &ClusterName) -> Result<Self, EngineError> {
        let limits = config.limits.clone();
        let asked = config.clock.since_boot().unwrap_or_default();
        let lease = config.store.acquire(cluster, &config.holder, milliseconds(&limits));
        let lease = lease.await.map_err(EngineError::store("take the cluster's lease"))?;
        let shared = Arc::new(Shared {
            store: Arc::clone(&config.store),
            cluster: cluster.clone(),
            held: Mutex::new(Held { lease, until: asked + limits.lease_ttl }),
            limits,
            clock: Arc::clone(&config.clock),
            lost: CancellationToken::new(),
        });
        let supervisor = Supervisor::new();
        let renewing = Arc::clone(&shared);
        supervisor.spawn("lease renewal", OnError::Log, async move { renewing.renew_until_lost().await });
        Ok(Self { shared, supervisor })
    }

    pub(crate) fn cluster(&self) -> &ClusterName {
        &self.shared.cluster
    }

    pub(crate) fn generation(&self) -> Generation {
        self.shared.held().lease.generation
    }

    /// Asked before every order: is enough left of the lease that the order comes in time?
    pub(crate) fn check(&self) -> Result<Generation, EngineError> {
        let held = self.shared.held();
        let margin = self.shared.limits.lease_margin;
        if self.shared.lost.is_cancelled() {
            return Err(self.shared.error("somebody else holds it now"));
        }
        // Whoever takes over looks at the wall clock, which can be set: both have to agree.
        let wall_margin = SignedDuration::try_from(margin).unwrap_or(SignedDuration::ZERO);
        let in_time = self.shared.clock.since_boot().is_some_and(|now| now + margin < held.until);
        if !in_time || self.shared.clock.now() + wall_margin >= held.lease.expires_at {
            self.shared.lost.cancel();
            return Err(self.shared.error("it could not be renewed in time"));
        }
        Ok(held.lease.generation)
    }

    /// Returns when the lease is lost.
    pub(crate) async fn lost(&self) -> EngineError {
        self.shared.lost.cancelled().await;
        self.shared.error("it was taken over or could not be renewed in time")
    }

    /// Gives the lease back. A lease that was lost meanwhile has nothing to give.
    pub(crate) async fn release(&self) -> Result<(), EngineError> {
        self.supervisor.token().cancel();
        let lease = self.shared.held().lease;
        match self.shared.store.release(&lease).await {
            Ok(()) | Err(StoreError::Fenced { .. }) => Ok(()),
            Err(source) => Err(EngineError::store("give the cluster's lease back")(source)),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.supervisor.token().cancel();
    }
}

impl Shared {
    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn error(&self, reason: &str) -> EngineError {
        EngineError::LeaseLost { cluster: self.cluster.clone(), reason: reason.to_owned() }
    }

    async fn renew_until_lost(&self) -> Result<(), EngineError> {
        loop {
            tokio::time::sleep(self.limits.lease_ttl / 3).await;
            let asked = self.clock.since_boot().unwrap_or_default();
            let held = self.held();
            match self.store.renew(&held.lease, milliseconds(&self.limits)).await {
                Ok(lease) => {
                    let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                    *held = Held { lease, until: asked + self.limits.lease_ttl };
                }
                Err(StoreError::Fenced { .. }) => {
                    self.lost.cancel();
                    return Err(self.error("somebody else holds it now"));
                }
                Err(error) => {
                    tracing::warn!(cluster = %self.cluster, error = chain(&error), "the lease was not renewed");
                    if asked + self.limits.lease_margin >= held.until {
                        self.lost.cancel();
                        return Err(self.error("it could not be renewed in time"));
                    }
                }
            }
        }
    }
}

fn milliseconds(limits: &Limits) -> u64 {
    u64::try_from(limits.lease_ttl.as_millis()).unwrap_or(u64::MAX)
}
