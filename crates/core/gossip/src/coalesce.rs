//! Events that come close together are told together: handlers are programs, and starting them costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Time;
use crate::config::Coalescing;
use crate::members::Member;
use crate::output::{Event, MemberEvent};

#[derive(Debug)]
pub(crate) struct Coalescer {
    settings: Option<Coalescing>,
    members: Window,
    latest: BTreeMap<Arc<str>, (MemberEvent, Member)>,
    /// What was told last of each member: the same is not told again.
    told: BTreeMap<Arc<str>, MemberEvent>,
    users: Window,
    /// By name, the newest Lamport time and all events of it.
    newest: BTreeMap<String, (u64, Vec<Event>)>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the first event came that waits, and the last.
    waiting: Option<(Time, Time)>,
}

impl Window {
    fn touch(&mut self, now: Time) {
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
    }

    fn end(&self, settings: Coalescing) -> Option<Time> {
        self.waiting.map(|(first, last)| (first + settings.period).min(last + settings.quiet))
    }
}

impl Coalescer {
    pub(crate) fn new(settings: Option<Coalescing>) -> Self {
        Self {
            settings,
            members: Window::default(),
            latest: BTreeMap::new(),
            told: BTreeMap::new(),
            users: Window::default(),
            newest: BTreeMap::new(),
        }
    }

    /// Gives an event back that is not held.
    pub(crate) fn take(&mut self, event: Event, now: Time) -> Option<Event> {
        if self.settings.is_none() {
            return Some(event);
        }
        match event {
            Event::Members { kind, members } => {
                self.members.touch(now);
                self.latest.extend(members.into_iter().map(|member| (member.name.clone(), (kind, member))));
                None
            }
            Event::User { coalesce: true, time, ref name, .. } => {
                self.users.touch(now);
                let (newest, events) = self.newest.entry(name.clone()).or_default();
                if time > *newest {
                    *newest = time;
                    events.clear();
                }
                if time == *newest {
                    events.push(event);
                }
                None
            }
            other => Some(other),
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let settings = self.settings?;
        self.members.end(settings).into_iter().chain(self.users.end(settings)).min()
    }

    pub(crate) fn due(&mut self, now: Time) -> Vec<Event> {
        let Some(settings) = self.settings else { return Vec::new() };
        let mut events = Vec::new();
        if self.members.end(settings).is_some_and(|end| end <= now) {
            self.members.waiting = None;
            events.append(&mut self.member_events());
        }
        if self.users.end(settings).is_some_and(|end| end <= now) {
            self.users.waiting = None;
            events.extend(std::mem::take(&mut self.newest).into_values().flat_map(|(_, events)| events));
        }
        events
    }

    fn member_events(&mut self) -> Vec<Event> {
        let mut by_kind: BTreeMap<MemberEvent, Vec<Member>> = BTreeMap::new();
        for (name, (kind, member)) in std::mem::take(&mut self.latest) {
            if kind == MemberEvent::Reap {
                self.told.remove(&name);
            } else if self.told.insert(name, kind) == Some(kind) && kind != MemberEvent::Update {
                continue;
            }
            by_kind.entry(kind).or_default().push(member);
        }
        by_kind.into_iter().map(|(kind, members)| Event::Members { kind, members }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(time: u64, payload: &str) -> Event {
        Event::User { time, name: "deploy".to_owned(), payload: payload.into(), coalesce: true }
    }

    fn at(millis: u64) -> Time {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_newest_user_events_are_told_when_it_is_quiet() {
        let mut coalescer = Coalescer::new(Some(Coalescing::default()));
        for (time, payload) in [(1, "a"), (3, "b"), (2, "c"), (3, "d")] {
            assert_eq!(coalescer.take(user(time, payload), at(0)), None);
        }
        assert_eq!(coalescer.next(), Some(at(1000)));
        assert_eq!(coalescer.due(at(999)), []);
        assert_eq!(coalescer.due(at(1000)), [user(3, "b"), user(3, "d")]);
        assert_eq!(coalescer.next(), None);
    }

    #[test]
    fn without_quiet_they_are_told_at_the_end_of_the_period() {
        let mut coalescer = Coalescer::new(Some(Coalescing::default()));
        for step in 0..8 {
            coalescer.take(user(step, "x"), at(step * 500));
        }
        assert_eq!(coalescer.next(), Some(at(3000)));
    }

    #[test]
    fn without_settings_nothing_is_held() {
        assert_eq!(Coalescer::new(None).take(user(1, "a"), at(0)), Some(user(1, "a")));
    }
}
