//! Clusters, nodes and intents: what was written is read, and nobody overwrites what he has not seen.

use futures_util::future::join_all;
use muster_store::{ClusterRecord, NodeRecord, Store as _, StoreError};
use muster_types::{ClusterName, MachineId, Phase};

use super::{Place, assert_conflict, cluster, demo, intent, lease, node, node_name};

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let other = ClusterRecord { name: ClusterName::new("another").unwrap(), ..cluster() };
    let other_lease = store.acquire(&other.name, &super::here(), super::LONG_MS).await.unwrap();
    assert_eq!(store.put_cluster(&cluster(), under).await.unwrap(), 1);
    assert_eq!(store.put_cluster(&other, other_lease.generation).await.unwrap(), 1);
    assert_eq!(store.put_node(&node(2), under).await.unwrap(), 1);
    let first = NodeRecord {
        machine: Some(MachineId::new("m-1")),
        document: Some(muster_types::Redacted::new("{}".to_owned())),
        ..node(1)
    };
    assert_eq!(store.put_node(&first, under).await.unwrap(), 1);
    store.begin(&intent("one", 1), under).await.unwrap();
    drop(store);

    let store = place.open();
    let clusters = store.clusters().await.unwrap();
    assert_eq!(clusters, [ClusterRecord { revision: 1, ..other }, ClusterRecord { revision: 1, ..cluster() }]);
    assert_eq!(store.cluster(&demo()).await.unwrap(), Some(clusters[1].clone()));
    let nodes = store.nodes(&demo()).await.unwrap();
    assert_eq!(nodes, [NodeRecord { revision: 1, ..first }, NodeRecord { revision: 1, ..node(2) }]);
    assert_eq!(nodes[0].enrol_token.as_ref().unwrap().expose(), "secret");
    assert_eq!(store.open_intents(&demo()).await.unwrap(), [intent("one", 1)]);
    assert_eq!(store.nodes(&clusters[0].name).await.unwrap(), []);
    assert_eq!(store.cluster(&ClusterName::new("none").unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn an_old_revision_is_a_conflict_and_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    assert_conflict(&store.put_cluster(&ClusterRecord { revision: 3, ..cluster() }, under).await, 3, 0);
    assert_eq!(store.put_cluster(&cluster(), under).await.unwrap(), 1);
    assert_conflict(&store.put_cluster(&cluster(), under).await, 0, 1);
    let seen = ClusterRecord { revision: 1, removing: true, ..cluster() };
    assert_eq!(store.put_cluster(&seen, under).await.unwrap(), 2);
    assert_conflict(&store.put_cluster(&ClusterRecord { removing: false, ..seen.clone() }, under).await, 1, 2);
    assert!(store.cluster(&demo()).await.unwrap().unwrap().removing);

    assert_eq!(store.put_node(&node(1), under).await.unwrap(), 1);
    let error = store.put_node(&node(1), under).await.unwrap_err();
    assert_eq!(error.to_string(), "node web-1 of cluster demo was changed by somebody else (revision 1, not 0)");
}

#[tokio::test]
async fn of_many_writers_of_one_revision_one_wins() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let records: Vec<_> = (0..20).map(|writer| NodeRecord { reason: format!("writer {writer}"), ..node(1) }).collect();
    let results = join_all(records.iter().map(|record| store.put_node(record, under))).await;
    let winners: Vec<_> = (0..20).filter(|&writer| results[writer].is_ok()).collect();
    assert_eq!(winners.len(), 1);
    let stored = store.nodes(&demo()).await.unwrap().remove(0);
    assert_eq!((stored.reason, stored.revision), (format!("writer {}", winners[0]), 1));
}

#[tokio::test]
async fn an_intent_is_open_until_its_result_is_recorded_with_it() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    for (id, index) in [("b", 2), ("a", 1), ("c", 3)] {
        store.begin(&intent(id, index), under).await.unwrap();
    }
    let ids = async || {
        let open = store.open_intents(&demo()).await.unwrap();
        open.iter().map(|intent| intent.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["b", "a", "c"], "oldest first");
    let made = NodeRecord { phase: Phase::Booting, machine: Some(MachineId::new("m-1")), ..node(1) };
    assert_eq!(store.finish(&demo(), &intent("a", 1).id, Some(&made), under).await.unwrap(), 1);
    assert_eq!(ids().await, ["b", "c"]);
    assert_eq!(store.nodes(&demo()).await.unwrap(), [NodeRecord { revision: 1, ..made }]);

    // A node that somebody wrote in between undoes the whole of it: the intent stays open.
    assert_eq!(store.put_node(&node(2), under).await.unwrap(), 1);
    assert_conflict(&store.finish(&demo(), &intent("b", 2).id, Some(&node(2)), under).await, 0, 1);
    assert_eq!(ids().await, ["b", "c"]);

    store.finish(&demo(), &intent("b", 2).id, None, under).await.unwrap();
    assert_eq!(store.nodes(&demo()).await.unwrap().len(), 1);
    assert_conflict(&store.finish(&demo(), &intent("b", 2).id, None, under).await, 1, 0);
}

#[tokio::test]
async fn beginning_twice_is_one_intent_and_another_under_its_id_is_refused() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.begin(&intent("one", 1), under).await.unwrap();
    let later = muster_store::Intent { begun_at: muster_types::Timestamp::now(), ..intent("one", 1) };
    store.begin(&later, under).await.unwrap();
    assert_eq!(store.open_intents(&demo()).await.unwrap(), [intent("one", 1)]);
    assert_conflict(&store.begin(&intent("one", 2), under).await, 0, 1);
}

#[tokio::test]
async fn a_removed_cluster_leaves_events_and_the_others() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    let other = ClusterName::new("other").unwrap();
    let other_under = store.acquire(&other, &super::here(), super::LONG_MS).await.unwrap().generation;
    let theirs = NodeRecord { cluster: other.clone(), ..node(1) };
    store.put_node(&theirs, other_under).await.unwrap();
    store.put_cluster(&cluster(), under).await.unwrap();
    store.put_node(&node(1), under).await.unwrap();
    store.put_node(&node(2), under).await.unwrap();
    store.begin(&intent("one", 1), under).await.unwrap();
    store.append_events(&demo(), &[super::events::event(1)]).await.unwrap();

    store.remove_node(&demo(), &node_name(2), under).await.unwrap();
    store.remove_node(&demo(), &node_name(2), under).await.unwrap();
    assert_eq!(store.nodes(&demo()).await.unwrap().len(), 1);
    store.remove_cluster(&demo(), under).await.unwrap();
    store.remove_cluster(&demo(), under).await.unwrap();
    assert_eq!(store.clusters().await.unwrap(), []);
    assert_eq!(store.nodes(&demo()).await.unwrap(), []);
    assert_eq!(store.open_intents(&demo()).await.unwrap(), []);
    assert_eq!(store.events(&demo(), 10).await.unwrap().len(), 1);
    assert_eq!(store.nodes(&other).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_record_is_told_with_what_was_done() {
    let place = Place::new();
    let store = place.open();
    let under = lease(&store).await.generation;
    store.put_cluster(&cluster(), under).await.unwrap();
    let raw = rusqlite::Connection::open(place.path()).unwrap();
    raw.execute("UPDATE cluster SET record = '{'", ()).unwrap();
    let error = store.clusters().await.unwrap_err();
    assert!(matches!(error, StoreError::Io { operation: "list the clusters", .. }), "{error:?}");
    let told = muster_stdx::chain(&error);
    assert!(told.starts_with("cannot list the clusters in the state: the file is damaged"), "{told}");
}
