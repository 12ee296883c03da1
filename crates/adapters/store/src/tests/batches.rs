//! Writes that wait together share one transaction, and do not share their failures.

use std::sync::mpsc;

use futures_util::future::join_all;
use muster_store::{NodeRecord, Store as _, StoreError};
use muster_types::Generation;

use super::{Place, assert_conflict, assert_fenced, demo, intent, lease, node};
use crate::SqliteStore;

/// Keeps the store's thread busy until it is let go, so that what comes meanwhile has to wait.
struct Hold {
    go: mpsc::Sender<()>,
    held: tokio::task::JoinHandle<()>,
}

impl Hold {
    #[expect(clippy::disallowed_methods, reason = "a test waits for it")]
    async fn of(store: &SqliteStore) -> Self {
        let (go, gone) = mpsc::channel();
        let (arrived, arrival) = tokio::sync::oneshot::channel();
        let store = store.clone();
        let held = tokio::spawn(async move {
            let waited = store.read("wait", move |_| {
                arrived.send(()).expect("the test waits");
                Ok(gone.recv().is_ok())
            });
            assert!(waited.await.expect("the thread lives"));
        });
        arrival.await.expect("the thread lives");
        Self { go, held }
    }

    /// Lets the thread go once so many requests wait.
    async fn until(self, store: &SqliteStore, waiting: usize) {
        while store.waiting() < waiting {
            tokio::task::yield_now().await;
        }
        self.go.send(()).expect("the thread waits");
        self.held.await.expect("it did not panic");
    }
}

#[tokio::test]
async fn a_hundred_writes_that_wait_take_one_transaction() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let before = store.transactions();
    let hold = Hold::of(&store).await;
    let nodes: Vec<_> = (1..=100).map(node).collect();
    let writes = join_all(nodes.iter().map(|record| store.put_node(record, under)));
    let (written, ()) = tokio::join!(writes, hold.until(&store, 100));
    assert!(written.iter().all(|revision| matches!(revision, Ok(1))));
    assert_eq!(store.transactions() - before, 1);
    assert_eq!(store.nodes(&demo()).await.unwrap().len(), 100);
    assert_eq!(store.transactions() - before, 1, "reading takes none");
}

#[tokio::test]
async fn one_that_fails_does_not_spoil_the_others() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.begin(&intent("one", 5), under).await.unwrap();
    store.put_node(&node(5), under).await.unwrap();
    let before = store.transactions();
    let hold = Hold::of(&store).await;
    let (good, old, late) = (node(1), node(5), NodeRecord { reason: "late".to_owned(), ..node(3) });
    let (after, name, finished) = (node(2), demo(), intent("one", 5).id);
    let batch = async {
        tokio::join!(
            store.put_node(&good, under),
            // Deletes the intent and then meets the conflict: both must be undone.
            store.finish(&name, &finished, Some(&old), under),
            store.put_node(&late, Generation(99)),
            store.put_node(&after, under),
        )
    };
    let ((first, conflict, fenced, last), ()) = tokio::join!(batch, hold.until(&store, 4));
    assert!(matches!((first, last), (Ok(1), Ok(1))));
    assert_conflict(&conflict, 0, 1);
    assert_fenced(&fenced, Generation(99));
    assert_eq!(store.transactions() - before, 1);
    assert_eq!(store.open_intents(&demo()).await.unwrap().len(), 1);
    let names: Vec<_> = store.nodes(&demo()).await.unwrap().iter().map(|node| node.name.to_string()).collect();
    assert_eq!(names, ["web-1", "web-2", "web-5"]);
}

#[tokio::test]
async fn more_requests_than_places_wait_and_are_all_done() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let before = store.transactions();
    let nodes: Vec<_> = (1..=1000).map(node).collect();
    let hold = Hold::of(&store).await;
    let writes = join_all(nodes.iter().map(|record| store.put_node(record, under)));
    let (written, ()) = tokio::join!(writes, hold.until(&store, crate::worker::WAITING_MAX));
    assert!(written.iter().all(Result::is_ok));
    let transactions = store.transactions() - before;
    assert!(transactions < 500, "1000 writes took {transactions} transactions");
    assert_eq!(store.nodes(&demo()).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn what_was_queued_is_done_although_nobody_waits_and_the_store_closes() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let hold = Hold::of(&store).await;
    let record = node(1);
    let mut write = store.put_node(&record, under);
    assert!(futures_util::FutureExt::now_or_never(&mut write).is_none());
    drop(write);
    hold.until(&store, 1).await;
    drop(store);
    assert_eq!(place.open().nodes(&demo()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn when_the_transaction_fails_nobody_is_told_that_it_went_well() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.put_node(&node(7), under).await.unwrap();
    // No page more than there are: SQLite answers as it does on a full disk.
    store
        .read("shrink", |connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        })
        .await
        .unwrap();
    let hold = Hold::of(&store).await;
    let (small, large) = (node(1), NodeRecord { reason: "x".repeat(1 << 20), ..node(2) });
    let (after, old) = (node(3), node(7));
    let batch = async {
        tokio::join!(
            store.put_node(&small, under),
            store.put_node(&old, under),
            store.put_node(&large, under),
            store.put_node(&after, under)
        )
    };
    let ((small, old, large, after), ()) = tokio::join!(batch, hold.until(&store, 4));
    let told = muster_stdx::chain(&large.unwrap_err());
    assert!(told.contains("the disk is full; free some space"), "{told}");
    assert_conflict(&old, 0, 1);
    let names: Vec<_> = store.nodes(&demo()).await.unwrap().iter().map(|node| node.name.to_string()).collect();
    let expected: Vec<_> = [("web-1", &small), ("web-3", &after)]
        .iter()
        .filter(|(_, result)| result.is_ok())
        .map(|(name, _)| (*name).to_owned())
        .chain(["web-7".to_owned()])
        .collect();
    assert_eq!(names, expected);
    for result in [small, after] {
        assert!(matches!(result, Ok(1) | Err(StoreError::Io { .. })), "{result:?}");
    }
}
