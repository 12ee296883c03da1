//! Several processes on one file, and processes that are killed while they write. A test that finds `CHILD` in its
//! environment is such a process: the binary runs itself again with only that test.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use muster_store::{ClusterRecord, NodeRecord, Store as _, StoreError};
use muster_types::ClientToken;
use rusqlite::Connection;

use super::{LONG_MS, Place, cluster, demo, here, intent, lease, node};
use crate::SqliteStore;

const CHILD: &str = "MUSTER_STORE_TEST_CHILD";

/// Where the parent's store is, in a child.
fn child_path() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

/// Runs one test of this binary as another process.
fn spawn(test: &str, path: &Path) -> Child {
    let name = format!("{}::{test}", module_path!().split_once("::").expect("in a crate").1);
    Command::new(env::current_exe().expect("this binary"))
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs")
}

/// Told to the parent, past the capture of the test harness.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may have stopped listening.
    drop(writeln!(out, "\n{line}").and_then(|()| out.flush()));
}

async fn acquire_in_turn(store: &SqliteStore) -> muster_store::Lease {
    loop {
        match store.acquire(&demo(), &here(), LONG_MS).await {
            Ok(lease) => return lease,
            Err(StoreError::Leased { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{}", muster_stdx::chain(&error)),
        }
    }
}

/// Takes the lease again and again, and counts in a record what must not be counted by two at once.
async fn take_turns(path: &Path, turns: usize) {
    let store = SqliteStore::open(path).unwrap();
    for _ in 0..turns {
        let lease = acquire_in_turn(&store).await;
        let seen = store.cluster(&demo()).await.unwrap();
        let record = seen.unwrap_or_else(|| ClusterRecord { file: "0".to_owned(), ..cluster() });
        let next = record.file.parse::<usize>().unwrap() + 1;
        let record = ClusterRecord { file: next.to_string(), ..record };
        store.put_cluster(&record, lease.generation).await.unwrap();
        store.release(&lease).await.unwrap();
    }
}

async fn assert_turns(place: &Place, turns: u64) {
    let store = place.open();
    let record = store.cluster(&demo()).await.unwrap().unwrap();
    assert_eq!((record.file, record.revision), (turns.to_string(), turns));
    assert_eq!(lease(&store).await.generation.0, turns + 1);
}

#[tokio::test]
async fn processes_take_turns_from_the_very_first_opening() {
    if let Some(path) = child_path() {
        return take_turns(&path, 10).await;
    }
    let place = Place::new();
    let children: Vec<_> =
        (0..4).map(|_| spawn("processes_take_turns_from_the_very_first_opening", &place.path())).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_turns(&place, 40).await;
}

#[test]
fn threads_with_stores_of_their_own_take_turns() {
    let place = Place::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| runtime().block_on(take_turns(&place.path(), 10)));
        }
    });
    runtime().block_on(assert_turns(&place, 30));
}

/// Writes five nodes for ever, each with an intent before, and tells of each write when it is told to be on disk.
async fn write_until_killed(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let under = lease(&store).await.generation;
    let known = store.nodes(&demo()).await.unwrap();
    let nodes = (1..=5).map(|index| {
        let seen = known.iter().find(|seen| seen.name == node(index).name).cloned();
        (index, seen.unwrap_or_else(|| node(index)))
    });
    join_all(nodes.map(async |(index, mut record)| {
        loop {
            let next = record.revision + 1;
            let id = format!("{index}-{next}");
            store.begin(&intent(&id, index), under).await.unwrap();
            tell(&format!("begun {index} {next}"));
            record.reason.clone_from(&id);
            record.document = Some(muster_types::Redacted::new("x".repeat(4000)));
            record.revision = store.finish(&demo(), &ClientToken::new(id), Some(&record), under).await.unwrap();
            tell(&format!("done {index} {next}"));
        }
    }))
    .await;
}

/// What a killed child had told: the last write of each node that was begun, and that was done.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    begun: u64,
    done: u64,
}

/// Lets a child write and kills it after that many lines; then hears it out.
fn listen_and_kill(path: &Path, lines_before: usize) -> BTreeMap<u32, Told> {
    let mut child = spawn("a_killed_writer_loses_nothing_that_it_was_told_is_there", path);
    let mut told = BTreeMap::<u32, Told>::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = 0;
    for line in lines {
        let line = line.unwrap();
        let Some((what, rest)) = line.split_once(' ').filter(|(what, _)| ["begun", "done"].contains(what)) else {
            continue;
        };
        let Some((index, number)) = rest.split_once(' ') else { continue };
        let entry = told.entry(index.parse().unwrap()).or_default();
        let last = if what == "begun" { &mut entry.begun } else { &mut entry.done };
        // The kill may have cut the very last line short; then it tells of a smaller number, or of none.
        *last = (*last).max(number.parse().unwrap_or(0));
        heard += 1;
        if heard == lines_before {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "the child ended by itself");
    told
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_that_it_was_told_is_there() {
    if let Some(path) = child_path() {
        return write_until_killed(&path).await;
    }
    let place = Place::new();
    for lines_before in [1, 7, 40, 41, 163, 500] {
        let told = listen_and_kill(&place.path(), lines_before);
        let healthy: String =
            Connection::open(place.path()).unwrap().query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        assert_eq!(healthy, "ok");
        let store = place.open();
        let nodes: BTreeMap<u32, NodeRecord> = store
            .nodes(&demo())
            .await
            .unwrap()
            .into_iter()
            .map(|record| (record.name.index().unwrap(), record))
            .collect();
        let open: Vec<String> =
            store.open_intents(&demo()).await.unwrap().iter().map(|intent| intent.id.as_str().to_owned()).collect();
        for (index, told) in told {
            let revision = nodes.get(&index).map_or(0, |record| record.revision);
            assert!(revision >= told.done, "node {index} was told to be at {told:?} and is at {revision}");
            // Between the intent and its result, just the intent is there; after it, just the result.
            let begun = open.contains(&format!("{index}-{}", told.begun));
            assert_eq!(begun, revision < told.begun, "node {index} at {revision}, told {told:?}, open {open:?}");
        }
        for record in nodes.values() {
            assert_eq!(record.reason, format!("{}-{}", record.name.index().unwrap(), record.revision));
        }
        // The lease of the killed one is free at once; the open intents are settled, as the engine would.
        let mine = lease(&store).await;
        for id in open {
            let index: u32 = id.split_once('-').unwrap().0.parse().unwrap();
            let seen = nodes.get(&index).cloned();
            let record = seen.unwrap_or_else(|| node(index));
            let record = NodeRecord { reason: format!("{index}-{}", record.revision + 1), ..record };
            store.finish(&demo(), &ClientToken::new(id), Some(&record), mine.generation).await.unwrap();
        }
        store.release(&mine).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_does_not_wait_for_another_process_that_writes() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.put_node(&node(1), under).await.unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM node;").unwrap();
    assert_eq!(store.nodes(&demo()).await.unwrap().len(), 1);
    assert_eq!(place.open().nodes(&demo()).await.unwrap().len(), 1, "nor does one that opens the file now");
    other.execute_batch("ROLLBACK").unwrap();
}
