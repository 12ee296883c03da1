//! User events: a name and a few bytes that every member hears of once.

use super::broadcast::Kind;
use super::{Gossip, Phase};
use crate::Time;
use crate::output::Event;
use crate::wire::limits;
use crate::wire::serf::{EventInSlot, EventSlot, SerfMessage, UserEvent};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("user event exceeds configured limit of {0} bytes before encoding")]
    Size(usize),
    #[error("encoded user event exceeds configured limit of {0} bytes after encoding")]
    EncodedSize(usize),
    #[error("this member is leaving")]
    Leaving,
}

/// Events that are remembered at once; all of them stand in each push/pull.
const EVENTS_MAX: usize = 4096;

/// The events of the last Lamport times, by which one that comes again is known.
#[derive(Debug)]
pub(super) struct EventRing {
    slots: Vec<Option<EventSlot>>,
    /// How many events are in it.
    len: usize,
    floor: u64,
}

impl EventRing {
    pub(super) fn new(size: u64, told_up_to: u64) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX).clamp(1, limits::EVENT_SLOTS_MAX);
        let floor = if told_up_to > 0 { told_up_to + 1 } else { 0 };
        Self { slots: vec![None; size], len: 0, floor }
    }

    /// As it goes into a push/pull.
    pub(super) fn slots(&self) -> Vec<Option<EventSlot>> {
        self.slots.clone()
    }

    pub(super) fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    /// Whether it is new.
    fn remember(&mut self, event: &UserEvent, now: u64) -> bool {
        let size = self.slots.len() as u64;
        if event.time < self.floor || (now > size && event.time < now - size) {
            return false;
        }
        if !self.make_room(event.time) {
            return false;
        }
        let index = usize::try_from(event.time % size).unwrap_or_default();
        let entry = EventInSlot { name: event.name.clone(), payload: event.payload.clone() };
        match &mut self.slots[index] {
            Some(slot) if slot.time == event.time => {
                if slot.events.contains(&entry) {
                    return false;
                }
                slot.events.push(entry);
            }
            slot => {
                self.len -= slot.as_ref().map_or(0, |slot| slot.events.len());
                *slot = Some(EventSlot { events: vec![entry], time: event.time });
            }
        }
        self.len += 1;
        true
    }

    /// Forgets the oldest times, and whatever else may come of them. A single time never gets it all.
    fn make_room(&mut self, time: u64) -> bool {
        while self.len >= EVENTS_MAX {
            let others = self.slots.iter_mut().filter(|slot| slot.as_ref().is_some_and(|slot| slot.time != time));
            let Some(oldest) = others.min_by_key(|slot| slot.as_ref().map(|slot| slot.time)) else { return false };
            let Some(forgotten) = oldest.take() else { return false };
            self.len -= forgotten.events.len();
            self.floor = self.floor.max(forgotten.time + 1);
        }
        time >= self.floor
    }
}

impl Gossip {
    /// Tells all members; its Lamport time.
    pub fn user_event(&mut self, now: Time, name: &str, payload: &[u8], coalesce: bool) -> Result<u64, EventError> {
        self.advance(now);
        if self.phase != Phase::Running {
            return Err(EventError::Leaving);
        }
        let max = self.config.serf.event_size_max;
        if name.len() + payload.len() > max {
            return Err(EventError::Size(max));
        }
        let time = self.event_clock.now();
        let event = UserEvent { coalesce, time, name: name.to_owned(), payload: payload.to_vec() };
        if SerfMessage::UserEvent(event.clone()).encode().len() > max {
            return Err(EventError::EncodedSize(max));
        }
        self.event_clock.stamp();
        self.user_event_heard(event);
        Ok(time)
    }

    pub(super) fn user_event_heard(&mut self, event: UserEvent) {
        if self.accept_user_event(&event) {
            self.broadcast_serf(Kind::Event, &SerfMessage::UserEvent(event), None);
        }
    }

    /// Tells of it, if it is new.
    pub(super) fn accept_user_event(&mut self, event: &UserEvent) -> bool {
        self.event_clock.witness(event.time);
        let new = self.event_ring.remember(event, self.event_clock.now());
        if new {
            let UserEvent { coalesce, time, name, payload } = event.clone();
            self.emit(Event::User { time, name, payload, coalesce });
        }
        new
    }
}
