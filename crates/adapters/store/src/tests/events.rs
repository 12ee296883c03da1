//! The log of what happened: in order, the last ones, and not without end.

use muster_api::{EVENT_VERSION, Event, EventBody};
use muster_store::Store as _;
use muster_types::{ClusterName, RunId, Timestamp};

use super::{Place, demo};
use crate::rows::EVENTS_KEPT;

pub(super) fn event(number: usize) -> Event {
    Event {
        v: EVENT_VERSION,
        at: Timestamp::UNIX_EPOCH,
        run: RunId::new("run"),
        body: EventBody::Warning { node: None, message: number.to_string() },
    }
}

fn numbers(events: &[Event]) -> Vec<usize> {
    events
        .iter()
        .map(|event| match &event.body {
            EventBody::Warning { message, .. } => message.parse().unwrap(),
            other => panic!("not one of ours: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn the_last_events_come_oldest_first() {
    let place = Place::new();
    let store = place.open();
    store.append_events(&demo(), &[]).await.unwrap();
    assert_eq!(store.events(&demo(), 10).await.unwrap(), []);
    for batch in [0..3, 3..4, 4..10] {
        let batch: Vec<_> = batch.map(event).collect();
        store.append_events(&demo(), &batch).await.unwrap();
    }
    let other = ClusterName::new("other").unwrap();
    store.append_events(&other, &[event(77)]).await.unwrap();
    for (limit, expected) in [(0, vec![]), (1, vec![9]), (4, vec![6, 7, 8, 9]), (100, (0..10).collect())] {
        assert_eq!(numbers(&store.events(&demo(), limit).await.unwrap()), expected, "limit {limit}");
    }
    assert_eq!(numbers(&store.events(&demo(), usize::MAX).await.unwrap()).len(), 10);
    assert_eq!(numbers(&store.events(&other, 10).await.unwrap()), [77]);
}

#[tokio::test]
async fn old_events_make_room_for_new_ones() {
    let place = Place::new();
    let store = place.open();
    let kept = usize::try_from(EVENTS_KEPT).unwrap();
    let other = ClusterName::new("other").unwrap();
    store.append_events(&other, &[event(77)]).await.unwrap();
    let many: Vec<_> = (0..kept).map(event).collect();
    store.append_events(&demo(), &many).await.unwrap();
    store.append_events(&demo(), &[event(kept), event(kept + 1)]).await.unwrap();
    let events = store.events(&demo(), usize::MAX).await.unwrap();
    assert_eq!(events.len(), kept);
    let numbers = numbers(&events);
    assert_eq!((numbers[0], numbers[kept - 1]), (2, kept + 1));
    assert_eq!(store.events(&other, 10).await.unwrap().len(), 1);
}
