//! The file itself: private, and refused with a reason when it is not what it should be.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use muster_stdx::chain;
use muster_store::{Store as _, StoreError};
use rusqlite::Connection;

use super::{Place, cluster, demo, lease, node};
use crate::SqliteStore;

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Opening must fail; returns what the user reads.
fn refusal(path: &Path) -> (StoreError, String) {
    match SqliteStore::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(error) => {
            let told = chain(&error);
            (error, told)
        }
    }
}

#[tokio::test]
async fn the_folder_and_all_files_are_private() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.put_cluster(&cluster(), under).await.unwrap();
    assert_eq!(store.path(), place.path());
    let folder = place.path().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in fs_err::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["muster.db", "muster.db-shm", "muster.db-wal"]);
    drop(store);
    assert_eq!(fs_err::read_dir(&folder).unwrap().count(), 1, "closing leaves the one file");
}

#[tokio::test]
async fn a_file_open_to_others_is_closed() {
    let place = Place::new();
    drop(place.open());
    fs_err::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.open());
    assert_eq!(mode(&place.path()), 0o600);
}

#[tokio::test]
async fn commits_are_flushed_to_the_disk() {
    let place = Place::new();
    let store = place.open();
    let (mode, synchronous) = store
        .read("look", |connection| {
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            let synchronous: u8 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            Ok((mode, synchronous))
        })
        .await
        .unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
}

#[test]
fn garbage_is_refused_with_advice_and_left_alone() {
    let place = Place::new();
    let garbage = b"cluster: demo\n".repeat(1000);
    fs_err::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs_err::write(place.path(), &garbage).unwrap();
    let (error, told) = refusal(&place.path());
    assert!(matches!(error, StoreError::Open { .. }));
    assert!(told.contains(&place.path().display().to_string()), "{told}");
    assert!(told.contains("damaged or is not a state file of muster; restore it from a copy"), "{told}");
    assert_eq!(fs_err::read(place.path()).unwrap(), garbage);
}

#[tokio::test]
async fn a_torn_file_is_refused_with_advice() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    for index in 1..=50 {
        store.put_node(&node(index), under).await.unwrap();
    }
    drop(store);
    let whole = fs_err::read(place.path()).unwrap();
    for part in [1, 99, 100, 4096, 5000, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs_err::write(place.path(), &whole[..part]).unwrap();
        // Some tears show at once; those inside of a page that nobody needs to open the file show when it is read.
        let told = match SqliteStore::open(&place.path()) {
            Err(error) => chain(&error),
            Ok(store) => chain(&store.nodes(&demo()).await.unwrap_err()),
        };
        assert!(told.contains("damaged or is not a state file"), "cut to {part} of {}: {told}", whole.len());
    }
    fs_err::write(place.path(), &whole).unwrap();
    assert_eq!(place.open().nodes(&demo()).await.unwrap().len(), 50);
}

#[test]
fn a_newer_version_is_refused() {
    let place = Place::new();
    drop(place.open());
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let (error, told) = refusal(&place.path());
    assert!(matches!(error, StoreError::Newer { found: 7, known: 2, .. }), "{error:?}");
    assert!(told.contains("newer version (7; this one knows 2)"), "{told}");
}

#[test]
fn what_happened_cannot_be_changed_by_anybody() {
    let place = Place::new();
    drop(place.open());
    let connection = Connection::open(place.path()).unwrap();
    connection.execute("INSERT INTO event (cluster, number, event) VALUES ('demo', 1, '{}')", ()).unwrap();
    let refused = connection.execute("UPDATE event SET event = '[]'", ()).unwrap_err();
    assert!(refused.to_string().contains("what happened cannot be changed"), "{refused}");
}

#[test]
fn the_database_of_another_program_is_refused() {
    let place = Place::new();
    fs_err::create_dir_all(place.path().parent().unwrap()).unwrap();
    Connection::open(place.path()).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let (_, told) = refusal(&place.path());
    assert!(told.contains("a database of another program; move it away"), "{told}");
    let tables: i64 = Connection::open(place.path())
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn an_empty_file_is_a_new_state() {
    // So it looks after a crash between the making of the file and its first transaction.
    let place = Place::new();
    fs_err::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs_err::write(place.path(), b"").unwrap();
    assert_eq!(place.open().clusters().await.unwrap(), []);
}

#[test]
fn a_path_that_cannot_be_is_told() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    fs_err::write(&file, b"").unwrap();
    let (_, told) = refusal(&file.join("muster.db"));
    assert!(told.starts_with("cannot open the state at") && told.contains("file"), "{told}");
    let (_, told) = refusal(place.folder.path());
    assert!(told.contains("Is a directory"), "{told}");
}
