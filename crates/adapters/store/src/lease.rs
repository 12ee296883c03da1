//! The lease of a cluster: one writer, and a fencing number that only grows.

use muster_store::{Lease, LeaseHolder, StoreError};
use muster_types::{ClusterName, Generation, SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::fault::Fault;
use crate::rows::{integer, natural};

/// A lease is prolonged while its holder lives, so a long one only means a long wait after a crash.
const TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;

struct Row {
    generation: Generation,
    /// Nobody holds a lease that was released; the row keeps its number.
    held: Option<Lease>,
}

/// Every write starts with this: a writer that lost its lease must not touch what its successor works on.
pub(crate) fn check(connection: &Connection, cluster: &ClusterName, under: Generation) -> Result<(), Fault> {
    held(connection, cluster, under).map(|_| ())
}

pub(crate) fn acquire(
    connection: &Connection,
    cluster: &ClusterName,
    holder: LeaseHolder,
    ttl_ms: u64,
    now: Timestamp,
) -> Result<Lease, Fault> {
    let row = find(connection, cluster)?;
    let last = row.as_ref().map_or(0, |row| row.generation.0);
    if let Some(lease) = row.and_then(|row| row.held)
        && !is_free(&lease, &holder, now)
    {
        return Err(StoreError::Leased { lease: Box::new(lease) }.into());
    }
    let lease = Lease {
        cluster: cluster.clone(),
        generation: Generation(last + 1),
        holder,
        acquired_at: now,
        expires_at: end(now, ttl_ms),
    };
    write(connection, &lease)?;
    Ok(lease)
}

pub(crate) fn renew(connection: &Connection, lease: &Lease, ttl_ms: u64, now: Timestamp) -> Result<Lease, Fault> {
    let found = held(connection, &lease.cluster, lease.generation)?;
    // A late answer to an early renewal must not shorten what a later one has prolonged.
    let renewed = Lease { expires_at: end(now, ttl_ms).max(found.expires_at), ..found };
    write(connection, &renewed)?;
    Ok(renewed)
}

/// Releasing twice is fine; releasing what somebody else holds by now is not.
pub(crate) fn release(connection: &Connection, lease: &Lease) -> Result<(), Fault> {
    let row = find(connection, &lease.cluster)?;
    if row.is_none_or(|row| row.generation != lease.generation) {
        return Err(fenced(&lease.cluster, lease.generation));
    }
    let mut statement = connection.prepare_cached("UPDATE lease SET held = NULL WHERE cluster = ?1")?;
    statement.execute([lease.cluster.as_str()])?;
    Ok(())
}

/// Free when its time is up, when its holder was a process of this boot of this host that is no more, or when this
/// host was booted again since.
fn is_free(lease: &Lease, wanted_by: &LeaseHolder, now: Timestamp) -> bool {
    if now >= lease.expires_at {
        return true;
    }
    let holder = &lease.holder;
    if holder.host != wanted_by.host {
        return false;
    }
    if holder.boot_id != wanted_by.boot_id {
        return true;
    }
    // Process ids can only be looked up in the boot that is running now.
    let here = muster_sys::process::boot_id().is_ok_and(|boot_id| boot_id == holder.boot_id);
    here && !muster_sys::process::is_alive(holder.pid, holder.start_ticks)
}

fn held(connection: &Connection, cluster: &ClusterName, under: Generation) -> Result<Lease, Fault> {
    let row = find(connection, cluster)?.filter(|row| row.generation == under);
    row.and_then(|row| row.held).ok_or_else(|| fenced(cluster, under))
}

fn find(connection: &Connection, cluster: &ClusterName) -> Result<Option<Row>, Fault> {
    let mut statement = connection.prepare_cached("SELECT generation, held FROM lease WHERE cluster = ?1")?;
    let row = statement
        .query_row([cluster.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    let Some((generation, held)) = row else { return Ok(None) };
    let held = held.map(|text| serde_json::from_str(&text)).transpose()?;
    Ok(Some(Row { generation: Generation(natural(generation)?), held }))
}

fn write(connection: &Connection, lease: &Lease) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO lease (cluster, generation, held) VALUES (?1, ?2, ?3)
         ON CONFLICT (cluster) DO UPDATE SET generation = excluded.generation, held = excluded.held",
    )?;
    let text = serde_json::to_string(lease)?;
    statement.execute(params![lease.cluster.as_str(), integer(lease.generation.0)?, text])?;
    Ok(())
}

fn end(now: Timestamp, ttl_ms: u64) -> Timestamp {
    let ttl = i64::try_from(ttl_ms.min(TTL_MS_MAX)).expect("a day in milliseconds");
    now.checked_add(SignedDuration::from_millis(ttl)).unwrap_or(Timestamp::MAX)
}

fn fenced(cluster: &ClusterName, held: Generation) -> Fault {
    StoreError::Fenced { cluster: cluster.clone(), held }.into()
}
