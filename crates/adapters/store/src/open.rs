//! Opens the file: private, write-ahead, of a version that is known.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_stdx::Backoff;
use muster_store::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::fault::{Cause, DAMAGED};

/// How long one process waits for another's transaction. Transactions take milliseconds; only a stopped process holds one so long.
pub(crate) const BUSY_LONGEST: Duration = Duration::from_secs(10);

/// Marks the file as ours (`Must`), so that somebody else's database is never migrated.
const APPLICATION_ID: i32 = 0x4d75_7374;

/// `SQLite`'s default, which a new file gets whatever the library was built with.
const PAGE_BYTES: u32 = 4096;

/// Each entry brings the file from the version of its index to the next one. Entries are never changed once released.
const MIGRATIONS: &[&str] = &[include_str!("../schema/1.sql"), include_str!("../schema/2.sql")];

/// Statements that are kept prepared; there are fewer than that.
const STATEMENTS_KEPT: usize = 64;

/// Why a file that `SQLite` can read is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{DAMAGED}")]
    Torn,
    #[error("the file is a database of another program; move it away, or set XDG_STATE_HOME to another folder")]
    Foreign,
    #[error(
        "its file system does not let processes share memory (journal mode {mode}); set XDG_STATE_HOME to a folder on a local disk"
    )]
    Journal { mode: String },
}

pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    make_private(path).map_err(|source| open_error(path, source))?;
    if is_torn(path).map_err(|source| open_error(path, source))? {
        return Err(open_error(path, Refusal::Torn));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| open_error(path, Cause::of(source)))?;
    let mode = configure(&connection).map_err(|source| open_error(path, Cause::of(source)))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(open_error(path, Refusal::Journal { mode }));
    }
    migrate(connection, path)
}

/// `SQLite` gives its side files the mode of the main one, so the main one is there first, and closed to others.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        muster_stdx::create_private_dir(folder)?;
    }
    let file = fs_err::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        fs_err::set_permissions(path, permissions)?;
    }
    Ok(())
}

/// `SQLite` takes what is shorter than a page for an empty database, and would begin a new state over the remains of the
/// old one; and it fills a last page that was cut with zeros. While a journal is there, the file may well look like
/// that, and the journal makes it whole.
fn is_torn(path: &Path) -> io::Result<bool> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        Path::new(&name).try_exists()
    };
    let length = fs_err::metadata(path)?.len();
    let page = u64::from(PAGE_BYTES);
    let short = length > 0 && length < page;
    let ragged = !length.is_multiple_of(page) && !beside("-wal")?;
    Ok((short || ragged) && !beside("-journal")?)
}

fn configure(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY_LONGEST)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode = enter_wal(connection)?;
    // Without FULL a commit could be lost in a power failure after its caller was told that it is there.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(mode)
}

/// The change to write-ahead needs the file for itself, and `SQLite` does not wait for that: two processes that make the
/// file at the same time would see each other's locks as errors.
fn enter_wal(connection: &Connection) -> rusqlite::Result<String> {
    let until = Instant::now() + BUSY_LONGEST;
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        let busy = matches!(&mode, Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if !busy || Instant::now() >= until {
            return mode;
        }
        std::thread::sleep(backoff.pause());
    }
}

fn migrate(mut connection: Connection, path: &Path) -> Result<Connection, StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).expect("few migrations");
    let sql = |source| open_error(path, Cause::of(source));
    // The usual case reads only: a command that looks must not wait for one that writes.
    let (version, application) = version_of(&connection).map_err(sql)?;
    if version == known && application == APPLICATION_ID {
        return Ok(connection);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let (version, application) = version_of(&transaction).map_err(sql)?;
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(sql)?;
    if application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0) {
        return Err(open_error(path, Refusal::Foreign));
    }
    if version > known {
        return Err(StoreError::Newer { path: path.display().to_string(), found: version, known });
    }
    for migration in &MIGRATIONS[version as usize..] {
        transaction.execute_batch(migration).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction.pragma_update(None, "user_version", known).map_err(sql)?;
    transaction.commit().map_err(sql)?;
    Ok(connection)
}

fn version_of(connection: &Connection) -> rusqlite::Result<(u32, i32)> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok((version, application))
}

fn open_error(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Open { path: path.display().to_string(), source: Box::new(source) }
}
