//! One writer at a time, and the number that keeps late ones out.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use muster_store::{ClusterRecord, LeaseHolder, Store as _, StoreError};
use muster_types::{Generation, SignedDuration, Timestamp};

use super::{LONG_MS, Place, assert_fenced, cluster, demo, here, intent, lease, node, node_name};
use crate::SqliteStore;

/// A clock that tests set.
#[derive(Clone, Default)]
struct Hand {
    now: Arc<Mutex<Timestamp>>,
}

impl Hand {
    fn open(&self, place: &Place) -> SqliteStore {
        let hand = self.clone();
        SqliteStore::open_with_clock(&place.path(), Arc::new(move || *hand.now.lock().unwrap())).unwrap()
    }

    fn pass(&self, milliseconds: i64) {
        *self.now.lock().unwrap() += SignedDuration::from_millis(milliseconds);
    }
}

/// A process that has ended. Its id may be given again, but not with its start time.
fn dead() -> LeaseHolder {
    let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let holder = LeaseHolder { pid, start_ticks: muster_sys::process::start_ticks(pid).unwrap(), ..here() };
    child.kill().unwrap();
    child.wait().unwrap();
    holder
}

#[tokio::test]
async fn a_held_lease_is_refused_and_says_who_holds_it() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    let held = lease(&one).await;
    assert_eq!(held.generation, Generation(1));
    let error = two.acquire(&demo(), &here(), LONG_MS).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, StoreError::Leased { lease } if *lease == held));
    assert!(told.contains(&format!("process {} on here (test)", std::process::id())), "{told}");
    one.release(&held).await.unwrap();
    assert_eq!(two.acquire(&demo(), &here(), LONG_MS).await.unwrap().generation, Generation(2));
}

#[tokio::test]
async fn every_write_is_fenced() {
    let place = Place::new();
    let store = place.open();
    let old = lease(&store).await;
    store.begin(&intent("one", 1), old.generation).await.unwrap();
    store.release(&old).await.unwrap();
    let new = lease(&store).await;
    for under in [old.generation, Generation(0), Generation(new.generation.0 + 1), Generation(u64::MAX)] {
        assert_fenced(&store.put_cluster(&cluster(), under).await, under);
        assert_fenced(&store.remove_cluster(&demo(), under).await, under);
        assert_fenced(&store.put_node(&node(1), under).await, under);
        assert_fenced(&store.remove_node(&demo(), &node_name(1), under).await, under);
        assert_fenced(&store.begin(&intent("two", 1), under).await, under);
        assert_fenced(&store.finish(&demo(), &intent("one", 1).id, None, under).await, under);
    }
    assert_fenced(&store.renew(&old, LONG_MS).await, old.generation);
    assert_fenced(&store.release(&old).await, old.generation);
    assert_eq!(store.open_intents(&demo()).await.unwrap().len(), 1);
    store.put_cluster(&cluster(), new.generation).await.unwrap();
}

#[tokio::test]
async fn a_released_lease_writes_no_more() {
    let place = Place::new();
    let store = place.open();
    let held = lease(&store).await;
    store.release(&held).await.unwrap();
    store.release(&held).await.unwrap();
    assert_fenced(&store.put_cluster(&cluster(), held.generation).await, held.generation);
    assert_fenced(&store.renew(&held, LONG_MS).await, held.generation);
}

#[tokio::test]
async fn the_generation_only_grows_even_when_the_cluster_goes() {
    let place = Place::new();
    for expected in 1..=3 {
        let store = place.open();
        let held = lease(&store).await;
        assert_eq!(held.generation, Generation(expected));
        store.put_cluster(&cluster(), held.generation).await.unwrap();
        store.remove_cluster(&demo(), held.generation).await.unwrap();
        store.release(&held).await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_ends_with_its_time_and_renewing_prolongs_it() {
    let (place, hand) = (Place::new(), Hand::default());
    let store = hand.open(&place);
    let held = store.acquire(&demo(), &here(), 10_000).await.unwrap();
    hand.pass(9_000);
    let renewed = store.renew(&held, 10_000).await.unwrap();
    assert_eq!(renewed.expires_at.duration_since(held.expires_at), SignedDuration::from_secs(9));
    assert_eq!((renewed.acquired_at, renewed.generation), (held.acquired_at, held.generation));
    assert_eq!(store.renew(&held, 1).await.unwrap(), renewed, "a renewal never shortens");
    hand.pass(9_999);
    assert!(matches!(store.acquire(&demo(), &here(), 10_000).await, Err(StoreError::Leased { .. })));
    hand.pass(1);
    // Its time is up, but nobody took it: its holder may go on, and prolong it.
    store.put_cluster(&cluster(), held.generation).await.unwrap();
    let renewed = store.renew(&renewed, 10_000).await.unwrap();
    assert!(matches!(store.acquire(&demo(), &here(), 10_000).await, Err(StoreError::Leased { .. })));
    hand.pass(10_000);
    let next = store.acquire(&demo(), &here(), 10_000).await.unwrap();
    assert_eq!(next.generation, Generation(2));
    assert_fenced(&store.renew(&renewed, 10_000).await, renewed.generation);
    let late = ClusterRecord { revision: 1, ..cluster() };
    assert_fenced(&store.put_cluster(&late, renewed.generation).await, renewed.generation);
}

#[tokio::test]
async fn a_lease_cannot_be_taken_for_ever() {
    let (place, hand) = (Place::new(), Hand::default());
    let store = hand.open(&place);
    let held = store.acquire(&demo(), &here(), u64::MAX).await.unwrap();
    assert_eq!(held.expires_at.duration_since(held.acquired_at), SignedDuration::from_hours(24));
    hand.pass(24 * 3_600_000);
    store.acquire(&demo(), &here(), 1).await.unwrap();
}

#[tokio::test]
async fn a_dead_process_holds_nothing() {
    let place = Place::new();
    let store = place.open();
    let held = store.acquire(&demo(), &dead(), LONG_MS).await.unwrap();
    let next = lease(&store).await;
    assert_eq!(next.generation, Generation(held.generation.0 + 1));
    assert_fenced(&store.put_cluster(&cluster(), held.generation).await, held.generation);
}

#[tokio::test]
async fn who_cannot_be_looked_up_holds_on() {
    // Same boot id, another host name: a container, whose process ids are not ours.
    for holder in [
        LeaseHolder { host: "elsewhere".to_owned(), ..dead() },
        LeaseHolder { host: "elsewhere".to_owned(), boot_id: "another".to_owned(), ..dead() },
    ] {
        let place = Place::new();
        let store = place.open();
        store.acquire(&demo(), &holder, LONG_MS).await.unwrap();
        let refused = store.acquire(&demo(), &here(), LONG_MS).await;
        assert!(matches!(refused, Err(StoreError::Leased { .. })), "{holder:?}");
    }
}

#[tokio::test]
async fn a_reboot_of_the_host_frees_its_leases() {
    let place = Place::new();
    let store = place.open();
    let before = LeaseHolder { boot_id: "the boot before".to_owned(), ..here() };
    store.acquire(&demo(), &before, LONG_MS).await.unwrap();
    assert_eq!(lease(&store).await.generation, Generation(2));
}
