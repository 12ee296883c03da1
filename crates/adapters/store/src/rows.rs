//! Reading and writing the rows of clusters, nodes, intents and events. Runs inside whatever transaction is open.

use muster_api::Event;
use muster_store::{ClusterRecord, Intent, IntentId, NodeRecord, Revision, StoreError};
use muster_types::{ClusterName, NodeName};
use rusqlite::{Connection, OptionalExtension as _, Params, params};
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// Events kept of a cluster; older ones go when newer ones come.
pub(crate) const EVENTS_KEPT: u64 = 100_000;

pub(crate) fn clusters(connection: &Connection) -> Result<Vec<ClusterRecord>, Fault> {
    let rows = revised(connection, "SELECT record, revision FROM cluster ORDER BY name", ())?;
    Ok(rows.into_iter().map(|(record, revision)| ClusterRecord { revision, ..record }).collect())
}

pub(crate) fn cluster(connection: &Connection, name: &ClusterName) -> Result<Option<ClusterRecord>, Fault> {
    let rows = revised(connection, "SELECT record, revision FROM cluster WHERE name = ?1", [name.as_str()])?;
    Ok(rows.into_iter().map(|(record, revision)| ClusterRecord { revision, ..record }).next())
}

pub(crate) fn put_cluster(connection: &Connection, record: &ClusterRecord) -> Result<Revision, Fault> {
    let name = record.name.as_str();
    let found = revision(connection, "SELECT revision FROM cluster WHERE name = ?1", [name])?;
    let next = compare(found, record.revision, || format!("cluster {name}"))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO cluster (name, revision, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, record = excluded.record",
    )?;
    statement.execute(params![name, integer(next)?, serde_json::to_string(record)?])?;
    Ok(next)
}

pub(crate) fn remove_cluster(connection: &Connection, name: &ClusterName) -> Result<(), Fault> {
    for statement in [
        "DELETE FROM intent WHERE cluster = ?1",
        "DELETE FROM node WHERE cluster = ?1",
        "DELETE FROM cluster WHERE name = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([name.as_str()])?;
    }
    Ok(())
}

pub(crate) fn nodes(connection: &Connection, cluster: &ClusterName) -> Result<Vec<NodeRecord>, Fault> {
    let query = "SELECT record, revision FROM node WHERE cluster = ?1 ORDER BY name";
    let rows = revised(connection, query, [cluster.as_str()])?;
    Ok(rows.into_iter().map(|(record, revision)| NodeRecord { revision, ..record }).collect())
}

pub(crate) fn put_node(connection: &Connection, record: &NodeRecord) -> Result<Revision, Fault> {
    let key = [record.cluster.as_str(), record.name.as_str()];
    let found = revision(connection, "SELECT revision FROM node WHERE cluster = ?1 AND name = ?2", key)?;
    let next = compare(found, record.revision, || format!("node {} of cluster {}", record.name, record.cluster))?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO node (cluster, name, revision, record) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (cluster, name) DO UPDATE SET revision = excluded.revision, record = excluded.record",
    )?;
    statement.execute(params![key[0], key[1], integer(next)?, serde_json::to_string(record)?])?;
    Ok(next)
}

pub(crate) fn remove_node(connection: &Connection, cluster: &ClusterName, node: &NodeName) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("DELETE FROM node WHERE cluster = ?1 AND name = ?2")?;
    statement.execute([cluster.as_str(), node.as_str()])?;
    Ok(())
}

/// Beginning the same intent again leaves the first one as it is; another one under its id is a conflict.
pub(crate) fn begin(connection: &Connection, intent: &Intent) -> Result<(), Fault> {
    if let Some(open) = open_intent(connection, &intent.cluster, &intent.id)? {
        let same = Intent { begun_at: open.begun_at, ..intent.clone() } == open;
        return if same { Ok(()) } else { Err(intent_conflict(&intent.cluster, &intent.id, 0, 1)) };
    }
    let mut statement = connection.prepare_cached("INSERT INTO intent (cluster, id, record) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![intent.cluster.as_str(), intent.id.as_str(), serde_json::to_string(intent)?])?;
    Ok(())
}

/// Closes the intent and leaves the node as it is now.
pub(crate) fn finish(
    connection: &Connection,
    cluster: &ClusterName,
    id: &IntentId,
    node: Option<&NodeRecord>,
) -> Result<Revision, Fault> {
    let Some(intent) = open_intent(connection, cluster, id)? else {
        return Err(intent_conflict(cluster, id, 1, 0));
    };
    connection
        .prepare_cached("DELETE FROM intent WHERE cluster = ?1 AND id = ?2")?
        .execute([cluster.as_str(), id.as_str()])?;
    match node {
        Some(record) => put_node(connection, record),
        None => remove_node(connection, cluster, &intent.node).map(|()| 0),
    }
}

pub(crate) fn open_intents(connection: &Connection, cluster: &ClusterName) -> Result<Vec<Intent>, Fault> {
    texts(connection, "SELECT record FROM intent WHERE cluster = ?1 ORDER BY number", [cluster.as_str()])
}

pub(crate) fn append_events(connection: &Connection, cluster: &ClusterName, events: &[Event]) -> Result<(), Fault> {
    let mut newest: i64 = connection
        .prepare_cached("SELECT coalesce(max(number), 0) FROM event WHERE cluster = ?1")?
        .query_row([cluster.as_str()], |row| row.get(0))?;
    let mut insert = connection.prepare_cached("INSERT INTO event (cluster, number, event) VALUES (?1, ?2, ?3)")?;
    for event in events {
        newest += 1;
        insert.execute(params![cluster.as_str(), newest, serde_json::to_string(event)?])?;
    }
    let mut prune = connection.prepare_cached("DELETE FROM event WHERE cluster = ?1 AND number <= ?2")?;
    prune.execute(params![cluster.as_str(), newest - integer(EVENTS_KEPT)?])?;
    Ok(())
}

pub(crate) fn events(connection: &Connection, cluster: &ClusterName, limit: usize) -> Result<Vec<Event>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = "SELECT event FROM (SELECT number, event FROM event WHERE cluster = ?1 ORDER BY number DESC LIMIT ?2)
                 ORDER BY number";
    texts(connection, query, params![cluster.as_str(), limit])
}

fn open_intent(connection: &Connection, cluster: &ClusterName, id: &IntentId) -> Result<Option<Intent>, Fault> {
    let query = "SELECT record FROM intent WHERE cluster = ?1 AND id = ?2";
    Ok(texts(connection, query, [cluster.as_str(), id.as_str()])?.pop())
}

fn intent_conflict(cluster: &ClusterName, id: &IntentId, expected: Revision, found: Revision) -> Fault {
    StoreError::Conflict { what: format!("intent {id} of cluster {cluster}"), expected, found }.into()
}

/// The revision that the record gets, if nobody wrote it since the caller read it.
fn compare(found: Revision, expected: Revision, what: impl FnOnce() -> String) -> Result<Revision, Fault> {
    if found == expected { Ok(found + 1) } else { Err(StoreError::Conflict { what: what(), expected, found }.into()) }
}

fn revision(connection: &Connection, query: &str, key: impl Params) -> Result<Revision, Fault> {
    let found: Option<i64> = connection.prepare_cached(query)?.query_row(key, |row| row.get(0)).optional()?;
    natural(found.unwrap_or(0))
}

fn texts<T: DeserializeOwned>(connection: &Connection, query: &str, key: impl Params) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(key)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(found)
}

/// Records with the revision that stands beside them; the one inside is what the writer had read.
fn revised<T: DeserializeOwned>(
    connection: &Connection,
    query: &str,
    key: impl Params,
) -> Result<Vec<(T, Revision)>, Fault> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(key)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let record = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        found.push((record, natural(row.get(1)?)?));
    }
    Ok(found)
}

/// `SQLite`'s integers have a sign.
pub(crate) fn integer(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Number(number.into()))
}

pub(crate) fn natural(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| Fault::Number(number.into()))
}
