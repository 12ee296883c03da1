//! The thread that owns the connection, and the transactions that many writes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_store::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::fault::{Cause, Fault};

/// Requests that wait at most; whoever comes later waits for a place.
pub(crate) const WAITING_MAX: usize = 256;

/// Writes that share a transaction at most.
const BATCH_MAX: usize = WAITING_MAX;

/// Work to be done with the connection, and the one who waits for it.
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) job: Box<dyn Job>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

pub(crate) trait Job: Send {
    /// Does the work and keeps its result; true when it went well.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Hands the kept result over, or the error that met the transaction as a whole.
    fn reply(self: Box<Self>, transaction: Result<(), Arc<rusqlite::Error>>);
}

/// A job whose result has a type.
pub(crate) struct Typed<T, F> {
    operation: &'static str,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
{
    /// `operation` completes "cannot … in the state".
    pub(crate) fn boxed(operation: &'static str, work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { operation, work: Some(work), result: None, reply }), answer)
    }
}

impl<T, F> Job for Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let result = work(connection).map_err(|fault| fault.during(self.operation));
        let good = result.is_ok();
        self.result = Some(result);
        good
    }

    fn reply(self: Box<Self>, transaction: Result<(), Arc<rusqlite::Error>>) {
        let operation = self.operation;
        let result = match (transaction, self.result) {
            (Ok(()), Some(result)) => result,
            // A refusal stays the better answer: it would have been the same in any transaction.
            (Err(_), Some(Err(refusal))) => Err(refusal),
            (Err(error), _) => Err(StoreError::Io { operation, source: Box::new(SharedCause(error)) }),
            (Ok(()), None) => Err(StoreError::Closed),
        };
        // The one who asked may have gone; the work is done all the same.
        drop(self.reply.send(result));
    }
}

/// The error of a transaction, told to everybody who was in it.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was undone: {}", explain(.0))]
struct SharedCause(Arc<rusqlite::Error>);

/// `SQLite`'s error cannot be cloned, so the words are made here instead of through a source.
fn explain(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            muster_stdx::chain(&Cause::of(rusqlite::Error::SqliteFailure(*code, text.clone())))
        }
        other => other.to_string(),
    }
}

/// Works until nobody can ask any more, and then closes the file.
pub(crate) fn work(mut connection: Connection, mut requests: mpsc::Receiver<Request>, transactions: &AtomicU64) {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    while requests.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
        let (reads, writes): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|request| request.kind == Kind::Read);
        // Reads go first, so that they see committed state only, and never wait for the disk.
        for mut read in reads {
            read.job.run(&connection);
            read.job.reply(Ok(()));
        }
        if !writes.is_empty() {
            let mut jobs: Vec<_> = writes.into_iter().map(|request| request.job).collect();
            let result = commit(&mut connection, &mut jobs).map_err(Arc::new);
            transactions.fetch_add(1, Ordering::Relaxed);
            for job in jobs {
                job.reply(result.clone());
            }
        }
    }
}

fn commit(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in jobs {
        let settled = run_apart(&mut transaction, job.as_mut());
        // A full disk and the like undo the whole transaction at once. Going on would write outside of it.
        if transaction.is_autocommit() {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
            return Err(settled.err().unwrap_or(rusqlite::Error::SqliteFailure(code, None)));
        }
        settled?;
    }
    transaction.commit()
}

/// One job in a savepoint of its own: what it wrote before it failed is undone, and the others' work stays.
fn run_apart(transaction: &mut Transaction<'_>, job: &mut dyn Job) -> rusqlite::Result<()> {
    let savepoint = transaction.savepoint()?;
    if job.run(&savepoint) { savepoint.commit() } else { savepoint.finish() }
}
