//! The state as the real store keeps it, in memory: a write takes time, and one that nobody was told of when its process
//! died is there or not, whatever others are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_api::Event;
use muster_store::{ClusterRecord, Intent, IntentId, Lease, LeaseHolder, NodeRecord, Revision, Store, StoreError};
use muster_types::{ClusterName, Generation, NodeName, SignedDuration, Timestamp};

use super::dice::Dice;
use super::life::Life;

/// Tells the wall clock's time.
pub(crate) type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What has reached the disk. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    clusters: BTreeMap<ClusterName, ClusterRecord>,
    nodes: BTreeMap<(ClusterName, NodeName), NodeRecord>,
    /// Oldest first.
    intents: Vec<Intent>,
    leases: BTreeMap<ClusterName, (Generation, Option<Lease>)>,
    /// Processes that run: a dead one holds nothing.
    alive: BTreeSet<u32>,
}

impl Disk {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn born(&self, pid: u32) {
        self.rows().alive.insert(pid);
    }

    pub(crate) fn buried(&self, pid: u32) {
        self.rows().alive.remove(&pid);
    }

    /// The process that holds a cluster's lease, be it still in time or not.
    pub(crate) fn holder(&self, cluster: &ClusterName) -> Option<u32> {
        let rows = self.rows();
        rows.leases.get(cluster)?.1.as_ref().map(|lease| lease.holder.pid)
    }
}

impl Rows {
    fn check(&self, cluster: &ClusterName, under: Generation) -> Result<Lease, StoreError> {
        let row = self.leases.get(cluster).filter(|(generation, _)| *generation == under);
        let held = row.and_then(|(_, held)| held.clone());
        held.ok_or_else(|| StoreError::Fenced { cluster: cluster.clone(), held: under })
    }

    fn put_node(&mut self, record: &NodeRecord) -> Result<Revision, StoreError> {
        let key = (record.cluster.clone(), record.name.clone());
        let found = self.nodes.get(&key).map_or(0, |known| known.revision);
        let next = compare(found, record.revision, || format!("node {} of cluster {}", record.name, record.cluster))?;
        self.nodes.insert(key, NodeRecord { revision: next, ..record.clone() });
        Ok(next)
    }

    fn begin(&mut self, intent: &Intent) -> Result<(), StoreError> {
        let known = self.intents.iter().find(|open| open.cluster == intent.cluster && open.id == intent.id);
        match known {
            None => self.intents.push(intent.clone()),
            Some(open) if (Intent { begun_at: open.begun_at, ..intent.clone() }) == *open => {}
            Some(_) => return Err(intent_conflict(&intent.cluster, &intent.id, 0, 1)),
        }
        Ok(())
    }

    fn finish(
        &mut self,
        cluster: &ClusterName,
        id: &IntentId,
        node: Option<&NodeRecord>,
    ) -> Result<Revision, StoreError> {
        let at = self.intents.iter().position(|open| open.cluster == *cluster && open.id == *id);
        let at = at.ok_or_else(|| intent_conflict(cluster, id, 1, 0))?;
        // A refused record leaves the intent open, as a transaction would.
        let revision = node.map(|record| self.put_node(record)).transpose()?;
        let intent = self.intents.remove(at);
        if revision.is_none() {
            self.nodes.remove(&(cluster.clone(), intent.node));
        }
        Ok(revision.unwrap_or(0))
    }

    fn acquire(
        &mut self,
        cluster: &ClusterName,
        holder: LeaseHolder,
        (now, ttl_ms): (Timestamp, u64),
    ) -> Result<Lease, StoreError> {
        let (last, held) = self.leases.get(cluster).cloned().unwrap_or((Generation(0), None));
        if let Some(lease) = held
            && now < lease.expires_at
            && self.alive.contains(&lease.holder.pid)
        {
            return Err(StoreError::Leased { lease: Box::new(lease) });
        }
        let generation = Generation(last.0 + 1);
        let expires_at = now + SignedDuration::from_millis(i64::try_from(ttl_ms).unwrap());
        let lease = Lease { cluster: cluster.clone(), generation, holder, acquired_at: now, expires_at };
        self.leases.insert(cluster.clone(), (generation, Some(lease.clone())));
        Ok(lease)
    }
}

fn compare(found: Revision, expected: Revision, what: impl FnOnce() -> String) -> Result<Revision, StoreError> {
    if found == expected { Ok(found + 1) } else { Err(StoreError::Conflict { what: what(), expected, found }) }
}

fn intent_conflict(cluster: &ClusterName, id: &IntentId, expected: Revision, found: Revision) -> StoreError {
    StoreError::Conflict { what: format!("intent {id} of cluster {cluster}"), expected, found }
}

/// One process's way to the disk.
#[derive(Clone)]
pub(crate) struct SimStore {
    pub(crate) disk: Disk,
    pub(crate) life: Life,
    pub(crate) dice: Dice,
    pub(crate) wall: Wall,
}

/// A write that was handed over. It happens when its time comes, or perhaps when its process dies before.
struct Write<T, F: FnOnce(&mut Rows) -> T> {
    disk: Disk,
    dice: Dice,
    work: Option<F>,
}

impl<T, F: FnOnce(&mut Rows) -> T> Write<T, F> {
    fn done(mut self) -> T {
        let work = self.work.take().unwrap();
        work(&mut self.disk.rows())
    }
}

impl<T, F: FnOnce(&mut Rows) -> T> Drop for Write<T, F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take().filter(|_| self.dice.once_in(2)) {
            work(&mut self.disk.rows());
        }
    }
}

impl SimStore {
    async fn write<T: Send>(&self, what: &'static str, work: impl FnOnce(&mut Rows) -> T + Send) -> T {
        let write = async {
            let write = Write { disk: self.disk.clone(), dice: self.dice.clone(), work: Some(work) };
            tokio::time::sleep(self.dice.milliseconds(5)).await;
            write.done()
        };
        self.life.call(what, write).await
    }

    async fn read<T: Send>(&self, what: &'static str, work: impl FnOnce(&Rows) -> T + Send) -> T {
        let read = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            work(&self.disk.rows())
        };
        self.life.call(what, read).await
    }
}

#[async_trait]
impl Store for SimStore {
    async fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError> {
        self.read("clusters", |rows| Ok(rows.clusters.values().cloned().collect())).await
    }

    async fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRecord>, StoreError> {
        self.read("cluster", |rows| Ok(rows.clusters.get(name).cloned())).await
    }

    async fn put_cluster(&self, record: &ClusterRecord, under: Generation) -> Result<Revision, StoreError> {
        self.write("put cluster", |rows| {
            rows.check(&record.name, under)?;
            let found = rows.clusters.get(&record.name).map_or(0, |known| known.revision);
            let next = compare(found, record.revision, || format!("cluster {}", record.name))?;
            rows.clusters.insert(record.name.clone(), ClusterRecord { revision: next, ..record.clone() });
            Ok(next)
        })
        .await
    }

    async fn remove_cluster(&self, name: &ClusterName, under: Generation) -> Result<(), StoreError> {
        self.write("remove cluster", |rows| {
            rows.check(name, under)?;
            rows.intents.retain(|intent| intent.cluster != *name);
            rows.nodes.retain(|(cluster, _), _| cluster != name);
            rows.clusters.remove(name);
            Ok(())
        })
        .await
    }

    async fn nodes(&self, cluster: &ClusterName) -> Result<Vec<NodeRecord>, StoreError> {
        let of = |rows: &Rows| rows.nodes.values().filter(|node| node.cluster == *cluster).cloned().collect();
        self.read("nodes", |rows| Ok(of(rows))).await
    }

    async fn put_node(&self, record: &NodeRecord, under: Generation) -> Result<Revision, StoreError> {
        self.write("put node", |rows| {
            rows.check(&record.cluster, under)?;
            rows.put_node(record)
        })
        .await
    }

    async fn remove_node(&self, cluster: &ClusterName, node: &NodeName, under: Generation) -> Result<(), StoreError> {
        self.write("remove node", |rows| {
            rows.check(cluster, under)?;
            rows.nodes.remove(&(cluster.clone(), node.clone()));
            Ok(())
        })
        .await
    }

    async fn begin(&self, intent: &Intent, under: Generation) -> Result<(), StoreError> {
        self.write("begin", |rows| {
            rows.check(&intent.cluster, under)?;
            rows.begin(intent)
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
        self.write("finish", |rows| {
            rows.check(cluster, under)?;
            rows.finish(cluster, id, node)
        })
        .await
    }

    async fn open_intents(&self, cluster: &ClusterName) -> Result<Vec<Intent>, StoreError> {
        let of = |rows: &Rows| rows.intents.iter().filter(|intent| intent.cluster == *cluster).cloned().collect();
        self.read("open intents", |rows| Ok(of(rows))).await
    }

    /// A log that nothing depends on.
    async fn append_events(&self, _cluster: &ClusterName, _events: &[Event]) -> Result<(), StoreError> {
        self.write("append events", |_| Ok(())).await
    }

    async fn events(&self, _cluster: &ClusterName, _limit: usize) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }

    async fn acquire(&self, cluster: &ClusterName, holder: &LeaseHolder, ttl_ms: u64) -> Result<Lease, StoreError> {
        let work = |rows: &mut Rows| rows.acquire(cluster, holder.clone(), ((self.wall)(), ttl_ms));
        self.write("acquire", work).await
    }

    /// Not counted: it comes when it comes.
    async fn renew(&self, lease: &Lease, ttl_ms: u64) -> Result<Lease, StoreError> {
        self.life.be_awake().await;
        let mut rows = self.disk.rows();
        let held = rows.check(&lease.cluster, lease.generation)?;
        let end = (self.wall)() + SignedDuration::from_millis(i64::try_from(ttl_ms).unwrap());
        let renewed = Lease { expires_at: end.max(held.expires_at), ..held };
        rows.leases.insert(lease.cluster.clone(), (lease.generation, Some(renewed.clone())));
        Ok(renewed)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write("release lease", |rows| match rows.leases.get_mut(&lease.cluster) {
            Some((generation, held)) if *generation == lease.generation => {
                *held = None;
                Ok(())
            }
            _ => Err(StoreError::Fenced { cluster: lease.cluster.clone(), held: lease.generation }),
        })
        .await
    }
}
