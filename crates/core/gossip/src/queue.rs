//! Broadcasts that wait to be sent along with packets, each several times to members picked at random.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wire::packet::COMPOUND_PARTS_MAX;

/// Least often sent first, then the longest, then the newest.
type Place = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug)]
struct Broadcast<T> {
    message: Vec<u8>,
    name: Option<Arc<str>>,
    /// Told when the broadcast has been sent often enough, or is replaced.
    token: Option<T>,
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: BTreeMap<Place, Broadcast<T>>,
    /// A broadcast about a member replaces an older one about it.
    named: BTreeMap<Arc<str>, Place>,
    count: u64,
}

/// How much fits, and how often a message is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub(crate) room: usize,
    /// What each message costs beside itself.
    pub(crate) overhead: usize,
    /// How often each message is sent in all.
    pub(crate) transmits_max: u32,
    /// Only messages that were sent less often than this.
    pub(crate) below: u32,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), named: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a message waits that was sent less often than so.
    pub(crate) fn has_below(&self, transmits: u32) -> bool {
        self.waiting.first_key_value().is_some_and(|((sent, ..), _)| *sent < transmits)
    }

    /// The token of a broadcast that this one replaces is given back.
    pub(crate) fn push(&mut self, message: Vec<u8>, name: Option<Arc<str>>, token: Option<T>) -> Option<T> {
        let place = (0, Reverse(message.len()), Reverse(self.count));
        self.count += 1;
        let mut replaced = None;
        if let Some(name) = &name
            && let Some(old) = self.named.insert(name.clone(), place)
        {
            replaced = self.waiting.remove(&old).and_then(|broadcast| broadcast.token);
        }
        self.waiting.insert(place, Broadcast { message, name, token });
        replaced
    }

    /// Takes what fits, and puts back what is to be sent again. Tokens of those sent for the last time go to `finished`.
    pub(crate) fn draw(&mut self, draw: Draw, drawn: &mut Vec<Vec<u8>>, finished: &mut Vec<T>) -> usize {
        let mut used = 0;
        let mut again = Vec::new();
        let mut tier = 0;
        while drawn.len() < COMPOUND_PARTS_MAX - 1
            && let Some(free) = draw.room.checked_sub(used + draw.overhead)
        {
            let fits = (tier, Reverse(free), Reverse(u64::MAX))..=(tier, Reverse(0), Reverse(0));
            let Some(place) = self.waiting.range(fits).next().map(|(place, _)| *place) else {
                let next = self.waiting.range((tier + 1, Reverse(usize::MAX), Reverse(u64::MAX))..).next();
                match next {
                    Some(((next, ..), _)) if *next < draw.below => tier = *next,
                    _ => break,
                }
                continue;
            };
            let Some(broadcast) = self.waiting.remove(&place) else { break };
            used += draw.overhead + broadcast.message.len();
            drawn.push(broadcast.message.clone());
            again.push(((place.0 + 1, place.1, place.2), broadcast));
        }
        for (place, broadcast) in again {
            if place.0 < draw.transmits_max {
                if let Some(name) = &broadcast.name {
                    self.named.insert(name.clone(), place);
                }
                self.waiting.insert(place, broadcast);
            } else {
                if let Some(name) = &broadcast.name {
                    self.named.remove(name);
                }
                finished.extend(broadcast.token);
            }
        }
        used
    }

    /// Drops what was sent most often, until no more than so many are left.
    pub(crate) fn prune(&mut self, max: usize) -> Vec<T> {
        let mut dropped = Vec::new();
        while self.waiting.len() > max
            && let Some((_, broadcast)) = self.waiting.pop_last()
        {
            if let Some(name) = &broadcast.name {
                self.named.remove(name);
            }
            dropped.extend(broadcast.token);
        }
        dropped
    }
}

/// How often a broadcast is sent in a cluster of `members`: `mult * ceil(log10(members + 1))`.
pub(crate) fn transmits_max(mult: u32, members: usize) -> u32 {
    // ceil(log10(m)) is the number of digits of m - 1.
    let digits = members.checked_ilog10().map_or(0, |log| log + 1);
    mult * digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(queue: &mut Queue<u8>, room: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut drawn, mut finished) = (Vec::new(), Vec::new());
        let draw = Draw { room, overhead: 2, transmits_max: 2, below: u32::MAX };
        queue.draw(draw, &mut drawn, &mut finished);
        (drawn, finished)
    }

    #[test]
    fn the_longest_that_fits_goes_first_and_each_goes_so_often() {
        let mut queue = Queue::new();
        queue.push(vec![1; 10], None, Some(1));
        queue.push(vec![2; 30], None, Some(2));
        queue.push(vec![3; 5], None, Some(3));
        let (drawn, finished) = draw(&mut queue, 20);
        assert_eq!((drawn, finished), (vec![vec![1; 10], vec![3; 5]], vec![]));
        // What was not sent yet comes before what was.
        let (drawn, finished) = draw(&mut queue, 100);
        assert_eq!(drawn, [vec![2; 30], vec![1; 10], vec![3; 5]]);
        assert_eq!(finished, [1, 3]);
        assert_eq!(draw(&mut queue, 100), (vec![vec![2; 30]], vec![2]));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn news_of_a_member_replace_older_ones() {
        let mut queue = Queue::new();
        assert_eq!(queue.push(vec![1; 10], Some("a".into()), Some(1)), None);
        draw(&mut queue, 100);
        assert_eq!(queue.push(vec![2; 10], Some("a".into()), Some(2)), Some(1));
        assert_eq!(draw(&mut queue, 100).0, [vec![2; 10]]);
        assert_eq!(draw(&mut queue, 100).1, [2]);
        assert_eq!(queue.push(vec![3; 10], Some("a".into()), Some(3)), None);
        assert_eq!(queue.prune(0), [3]);
    }

    #[test]
    fn transmits_grow_with_the_logarithm() {
        let counts = [1, 9, 10, 99, 100, 999, 1000].map(|members| transmits_max(4, members));
        assert_eq!(counts, [4, 4, 8, 8, 12, 12, 16]);
    }
}
