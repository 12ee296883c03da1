//! The handle that everybody holds, and the trait it fulfils.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use muster_api::Event;
use muster_store::{ClusterRecord, Intent, IntentId, Lease, LeaseHolder, NodeRecord, Revision, Store, StoreError};
use muster_types::{ClusterName, Generation, NodeName, Timestamp};
use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::worker::{Kind, Request, Typed, WAITING_MAX};
use crate::{lease, open, rows, worker};

/// Tells the time by which leases end.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The state in one file. Cheap to clone; the file is closed when the last clone goes.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    clock: Clock,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens the file at `path` and makes it, with its folder, where there is none. Blocks for as long as another
    /// process has the file locked, ten seconds at most.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with_clock(path, Arc::new(Timestamp::now))
    }

    /// The same with a clock of the caller's.
    pub fn open_with_clock(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let connection = open::open(path)?;
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let transactions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&transactions);
        let thread = std::thread::Builder::new()
            .name("muster-store".to_owned())
            .spawn(move || worker::work(connection, waiting, &counter))
            .map_err(|source| StoreError::Open { path: path.display().to_string(), source: Box::new(source) })?;
        let shared =
            Shared { path: path.to_owned(), clock, requests: Some(requests), thread: Some(thread), transactions };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Transactions so far; writes that waited at the same time share one.
    pub fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.requests.as_ref().map_or(0, |requests| requests.max_capacity() - requests.capacity())
    }

    pub(crate) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.ask(Kind::Read, operation, work).await
    }

    pub(crate) async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.ask(Kind::Write, operation, work).await
    }

    /// Once the request is in the queue it is done, even if the one who asked goes away.
    async fn ask<T, F>(&self, kind: Kind, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let requests = self.shared.requests.as_ref().ok_or(StoreError::Closed)?;
        let (job, answer) = Typed::boxed(operation, work);
        requests.send(Request { kind, job }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Shared {
    /// Waits until all that was queued is on disk, so that whoever opens the file next finds it settled.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed when it happened, and every caller saw `Closed`.
            drop(thread.join());
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError> {
        self.read("list the clusters", rows::clusters).await
    }

    async fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRecord>, StoreError> {
        let name = name.clone();
        self.read("look up a cluster", move |connection| rows::cluster(connection, &name)).await
    }

    async fn put_cluster(&self, record: &ClusterRecord, under: Generation) -> Result<Revision, StoreError> {
        let record = record.clone();
        self.write("write a cluster", move |connection| {
            lease::check(connection, &record.name, under)?;
            rows::put_cluster(connection, &record)
        })
        .await
    }

    async fn remove_cluster(&self, name: &ClusterName, under: Generation) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("remove a cluster", move |connection| {
            lease::check(connection, &name, under)?;
            rows::remove_cluster(connection, &name)
        })
        .await
    }

    async fn nodes(&self, cluster: &ClusterName) -> Result<Vec<NodeRecord>, StoreError> {
        let cluster = cluster.clone();
        self.read("list the nodes", move |connection| rows::nodes(connection, &cluster)).await
    }

    async fn put_node(&self, record: &NodeRecord, under: Generation) -> Result<Revision, StoreError> {
        let record = record.clone();
        self.write("write a node", move |connection| {
            lease::check(connection, &record.cluster, under)?;
            rows::put_node(connection, &record)
        })
        .await
    }

    async fn remove_node(&self, cluster: &ClusterName, node: &NodeName, under: Generation) -> Result<(), StoreError> {
        let (cluster, node) = (cluster.clone(), node.clone());
        self.write("remove a node", move |connection| {
            lease::check(connection, &cluster, under)?;
            rows::remove_node(connection, &cluster, &node)
        })
        .await
    }

    async fn begin(&self, intent: &Intent, under: Generation) -> Result<(), StoreError> {
        let intent = intent.clone();
        self.write("write an intent", move |connection| {
            lease::check(connection, &intent.cluster, under)?;
            rows::begin(connection, &intent)
        })
        .await
    }

    async fn finish(
        &self,
        cluster: &ClusterName,
        id: &IntentId,
        node: Option<&NodeRecord>,
        under: Generation,
    ) -> Result<Revision, StoreError> {
        assert!(node.is_none_or(|node| node.cluster == *cluster), "the node is of another cluster than its intent");
        let (cluster, id, node) = (cluster.clone(), id.clone(), node.cloned());
        self.write("finish an intent", move |connection| {
            lease::check(connection, &cluster, under)?;
            rows::finish(connection, &cluster, &id, node.as_ref())
        })
        .await
    }

    async fn open_intents(&self, cluster: &ClusterName) -> Result<Vec<Intent>, StoreError> {
        let cluster = cluster.clone();
        self.read("list the intents", move |connection| rows::open_intents(connection, &cluster)).await
    }

    async fn append_events(&self, cluster: &ClusterName, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let (cluster, events) = (cluster.clone(), events.to_vec());
        self.write("write events", move |connection| rows::append_events(connection, &cluster, &events)).await
    }

    async fn events(&self, cluster: &ClusterName, limit: usize) -> Result<Vec<Event>, StoreError> {
        let cluster = cluster.clone();
        self.read("read events", move |connection| rows::events(connection, &cluster, limit)).await
    }

    async fn acquire(&self, cluster: &ClusterName, holder: &LeaseHolder, ttl_ms: u64) -> Result<Lease, StoreError> {
        let (cluster, holder, clock) = (cluster.clone(), holder.clone(), Arc::clone(&self.shared.clock));
        self.write("take a lease", move |connection| lease::acquire(connection, &cluster, holder, ttl_ms, clock()))
            .await
    }

    async fn renew(&self, lease: &Lease, ttl_ms: u64) -> Result<Lease, StoreError> {
        let (lease, clock) = (lease.clone(), Arc::clone(&self.shared.clock));
        self.write("renew a lease", move |connection| lease::renew(connection, &lease, ttl_ms, clock())).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.write("release a lease", move |connection| lease::release(connection, &lease)).await
    }
}
