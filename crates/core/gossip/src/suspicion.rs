//! Lifeguard: how long a member is suspected before it counts as dead, and how much we trust our own view.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Time;

/// A member under suspicion. Others who suspect it too shorten the wait.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    /// How many confirmations bring the wait down to its minimum.
    needed: usize,
    min: Duration,
    max: Duration,
    since: Time,
    accusers: BTreeSet<String>,
}

impl Suspicion {
    pub(crate) fn new(from: String, since: Time, wait: SuspicionWait) -> Self {
        Self { needed: wait.needed, min: wait.min, max: wait.max, since, accusers: BTreeSet::from([from]) }
    }

    /// Whether this accuser is new and counts.
    pub(crate) fn confirm(&mut self, from: &str) -> bool {
        self.confirmations() < self.needed && self.accusers.insert(from.to_owned())
    }

    pub(crate) fn confirmations(&self) -> usize {
        self.accusers.len() - 1
    }

    pub(crate) fn accusers(&self) -> &BTreeSet<String> {
        &self.accusers
    }

    /// When the member counts as dead, by what is known now.
    pub(crate) fn deadline(&self) -> Time {
        if self.needed == 0 {
            return self.since + self.min;
        }
        let share = (count(self.confirmations()) + 1.0).ln() / (count(self.needed) + 1.0).ln();
        let seconds = self.max.as_secs_f64() - (self.max.as_secs_f64() - self.min.as_secs_f64()) * share;
        let millis = Duration::try_from_secs_f64((seconds * 1000.0).floor() / 1000.0).unwrap_or(self.min);
        self.since + millis.max(self.min)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SuspicionWait {
    needed: usize,
    min: Duration,
    max: Duration,
}

impl SuspicionWait {
    /// `members` counts this one and the suspected.
    pub(crate) fn new(mult: u32, max_mult: u32, probe_interval: Duration, members: usize) -> Self {
        let needed = usize::try_from(mult.saturating_sub(2)).unwrap_or(usize::MAX);
        let needed = if members.saturating_sub(2) < needed { 0 } else { needed };
        let scale = (count(members.max(1)).log10().max(1.0) * 1000.0).floor() / 1000.0;
        let min = (probe_interval * mult).mul_f64(scale);
        Self { needed, min, max: min * max_mult }
    }
}

/// From 0, all is well, to a maximum: we are probably the ones who are slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awareness {
    score: u32,
    max: u32,
}

impl Awareness {
    pub(crate) fn new(max: u32) -> Self {
        Self { score: 0, max }
    }

    pub(crate) fn worse(&mut self, by: u32) {
        self.score = self.score.saturating_add(by).min(self.max.saturating_sub(1));
    }

    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    pub(crate) fn score(self) -> u32 {
        self.score
    }

    pub(crate) fn scale(self, time: Duration) -> Duration {
        time * (self.score + 1)
    }
}

/// Numbers of members are far below 2^32.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(members: usize) -> SuspicionWait {
        SuspicionWait::new(4, 6, Duration::from_secs(1), members)
    }

    #[test]
    fn the_wait_is_that_of_the_real_agent() {
        let min_max = |members| (wait(members).min.as_millis(), wait(members).max.as_millis());
        assert_eq!(min_max(10), (4000, 24_000));
        assert_eq!(min_max(30), (5908, 35_448));
        assert_eq!(min_max(100), (8000, 48_000));
        assert_eq!(wait(3).needed, 0);
        assert_eq!(wait(4).needed, 2);
    }

    #[test]
    fn confirmations_shorten_the_wait_down_to_the_minimum() {
        let mut suspicion = Suspicion::new("a".to_owned(), Duration::from_secs(100), wait(10));
        assert_eq!(suspicion.deadline(), Duration::from_secs(124));
        assert!(!suspicion.confirm("a"));
        assert!(suspicion.confirm("b"));
        assert!(!suspicion.confirm("b"));
        assert_eq!(suspicion.deadline(), Duration::from_millis(111_381));
        assert!(suspicion.confirm("c"));
        assert!(!suspicion.confirm("d"), "only as many count as are needed");
        assert_eq!(suspicion.deadline(), Duration::from_secs(104));
    }

    #[test]
    fn the_score_stays_between_its_bounds() {
        let mut awareness = Awareness::new(8);
        awareness.better();
        assert_eq!(awareness.score(), 0);
        awareness.worse(20);
        assert_eq!(awareness.scale(Duration::from_secs(1)), Duration::from_secs(8));
    }
}
