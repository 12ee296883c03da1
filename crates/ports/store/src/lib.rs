//! What is remembered about clusters, and the lease that gives a cluster one writer. The trait holds what is used today.

mod types;

pub use types::{
    ClusterRecord, Drained, Intent, IntentAction, IntentId, Lease, LeaseHolder, NodeRecord, Reading, Revision,
    StoreError,
};

use async_trait::async_trait;
use muster_api::Event;
use muster_types::{ClusterName, Generation, NodeName};

/// Every write names the generation of the lease it is made under; a write under a lease that was lost fails with
/// `StoreError::Fenced`. Records carry a revision, and a write that names an old one fails with `StoreError::Conflict`.
/// A write has reached the disk when it returns.
#[async_trait]
pub trait Store: Send + Sync {
    async fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError>;

    async fn cluster(&self, name: &ClusterName) -> Result<Option<ClusterRecord>, StoreError>;

    /// Writes a cluster whose stored revision is `record.revision` (0: there is none yet); returns the new revision.
    async fn put_cluster(&self, record: &ClusterRecord, under: Generation) -> Result<Revision, StoreError>;

    /// Forgets the cluster, its nodes and intents. Events and the lease's number stay.
    async fn remove_cluster(&self, name: &ClusterName, under: Generation) -> Result<(), StoreError>;

    async fn nodes(&self, cluster: &ClusterName) -> Result<Vec<NodeRecord>, StoreError>;

    async fn put_node(&self, record: &NodeRecord, under: Generation) -> Result<Revision, StoreError>;

    async fn remove_node(&self, cluster: &ClusterName, node: &NodeName, under: Generation) -> Result<(), StoreError>;

    /// Writes an intent down, before the provider is asked.
    async fn begin(&self, intent: &Intent, under: Generation) -> Result<(), StoreError>;

    /// Marks an intent as done and writes the node's new state in the same transaction; `None` removes the node.
    async fn finish(
        &self,
        cluster: &ClusterName,
        id: &IntentId,
        node: Option<&NodeRecord>,
        under: Generation,
    ) -> Result<Revision, StoreError>;

    /// Intents that were begun and not finished, oldest first.
    async fn open_intents(&self, cluster: &ClusterName) -> Result<Vec<Intent>, StoreError>;

    /// Adds to the log of what happened. Not fenced: it is a log.
    async fn append_events(&self, cluster: &ClusterName, events: &[Event]) -> Result<(), StoreError>;

    /// The last `limit` events of a cluster, oldest first.
    async fn events(&self, cluster: &ClusterName, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// Takes the lease of a cluster for `ttl_ms`, or says who holds it (`StoreError::Leased`). A lease whose time is
    /// up, or whose holder is a process of this boot of this host that is no more, is free. The generation grows by one.
    async fn acquire(&self, cluster: &ClusterName, holder: &LeaseHolder, ttl_ms: u64) -> Result<Lease, StoreError>;

    /// Prolongs a lease; `StoreError::Fenced` when it was lost.
    async fn renew(&self, lease: &Lease, ttl_ms: u64) -> Result<Lease, StoreError>;

    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;
}
