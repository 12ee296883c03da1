//! Lamport's clock: time as the order of what was heard of each other.

#[derive(Debug, Clone, Copy)]
pub(crate) struct LamportClock(u64);

/// A peer must not be able to wind the clock up until it stops.
const MAX: u64 = 1 << 62;

impl LamportClock {
    /// The first time is 1.
    pub(crate) fn after(time: u64) -> Self {
        Self(time.min(MAX) + 1)
    }

    pub(crate) fn now(self) -> u64 {
        self.0
    }

    /// The time for something of our own, which nothing else of ours has.
    pub(crate) fn stamp(&mut self) -> u64 {
        let stamp = self.0;
        self.witness(stamp);
        stamp
    }

    pub(crate) fn witness(&mut self, time: u64) {
        if time >= self.0 && time < MAX {
            self.0 = time + 1;
        }
    }
}
