//! Tests of the store through its trait, on real files, with other threads and other processes.

mod batches;
mod events;
mod files;
mod leases;
mod power;
mod processes;
mod records;

use std::path::PathBuf;

use muster_store::{
    ClusterRecord, Intent, IntentAction, Lease, LeaseHolder, NodeRecord, Reading, Store as _, StoreError,
};
use muster_types::{ClientToken, ClusterName, Generation, GroupName, NodeName, Phase, Redacted, Timestamp};
use tempfile::TempDir;

use crate::SqliteStore;

/// Long enough for no lease to end while a test runs.
const LONG_MS: u64 = 3_600_000;

/// A store in a folder of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("muster").join("muster.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).expect("the store opens")
    }
}

fn demo() -> ClusterName {
    ClusterName::new("demo").expect("a name")
}

fn node_name(index: u32) -> NodeName {
    NodeName::new(format!("web-{index}")).expect("a name")
}

/// This very process.
fn here() -> LeaseHolder {
    let pid = std::process::id();
    LeaseHolder {
        host: "here".to_owned(),
        boot_id: muster_sys::process::boot_id().expect("Linux"),
        pid,
        start_ticks: muster_sys::process::start_ticks(pid).expect("this process lives"),
        command: "test".to_owned(),
    }
}

async fn lease(store: &SqliteStore) -> Lease {
    store.acquire(&demo(), &here(), LONG_MS).await.expect("the lease is free")
}

fn cluster() -> ClusterRecord {
    ClusterRecord {
        name: demo(),
        revision: 0,
        provider: "fake".to_owned(),
        settings: Some("subnet: 10.77.0.0/16".to_owned()),
        owner_tag: "demo-1".to_owned(),
        reading: Reading::default(),
        file: "demo.yaml".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        removing: false,
        scaled: std::collections::BTreeMap::new(),
        leaving: std::collections::BTreeSet::new(),
    }
}

fn node(index: u32) -> NodeRecord {
    NodeRecord {
        cluster: demo(),
        name: node_name(index),
        group: GroupName::new("web").expect("a name"),
        revision: 0,
        machine: None,
        token: ClientToken::new(format!("token-{index}")),
        machine_hash: "abc".to_owned(),
        addresses: vec!["10.0.0.1".parse().expect("an address")],
        phase: Phase::Creating,
        since: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        enrol_token: Some(Redacted::new("secret".to_owned())),
        document: None,
        document_hash: None,
        facts: None,
        drained: None,
    }
}

fn intent(id: &str, index: u32) -> Intent {
    Intent {
        id: ClientToken::new(id),
        cluster: demo(),
        node: node_name(index),
        action: IntentAction::Create,
        machine: None,
        begun_at: Timestamp::UNIX_EPOCH,
    }
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(result: &Result<T, StoreError>, under: Generation) {
    let fenced = matches!(result, Err(StoreError::Fenced { held, .. }) if *held == under);
    assert!(fenced, "not fenced under generation {under}: {result:?}");
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: &Result<T, StoreError>, asked: u64, there: u64) {
    let conflict = matches!(result, Err(StoreError::Conflict { expected, found, .. })
        if *expected == asked && *found == there);
    assert!(conflict, "no conflict of {asked} with {there}: {result:?}");
}
