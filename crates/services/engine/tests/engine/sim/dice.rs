//! Chance that can be had again: the same seed gives the same story.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_provider::fake::Edge;

/// Shared by everything that is left to chance in one story.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// 0 to `sides` - 1.
    pub(crate) fn roll(&self, sides: usize) -> usize {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // splitmix64.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    pub(crate) fn once_in(&self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    pub(crate) fn edge(&self) -> Edge {
        if self.once_in(2) { Edge::Before } else { Edge::After }
    }

    /// At least one, less than `limit`.
    pub(crate) fn milliseconds(&self, limit: usize) -> Duration {
        Duration::from_millis(1 + self.roll(limit - 1) as u64)
    }

    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}
