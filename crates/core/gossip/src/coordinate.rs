//! Network coordinates, as Serf keeps them: Vivaldi with heights, adjustments and a pull towards the origin.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::wire::msgpack::{DecodeError, Reader};
use crate::wire::record::{Record as _, record};

const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
/// How much one observation moves the error, and the place.
const ERROR_SHARE: f64 = 0.25;
const PLACE_SHARE: f64 = 0.25;
const ADJUSTMENTS: u32 = 20;
const HEIGHT_MIN: f64 = 1e-5;
const LATENCIES: usize = 3;
const GRAVITY_RHO: f64 = 150.0;
const ZERO: f64 = 1e-6;
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// Of the payload of an acknowledgement.
const VERSION: u8 = 1;
/// Peers whose coordinates and last latencies are kept.
const PEERS_MAX: usize = 64 * 1024;

record! {
    /// A place in a space of delays; all in seconds.
    Coordinate {
        "Adjustment" => adjustment: f64,
        "Error" => error: f64,
        "Height" => height: f64,
        "Vec" => place: Vec<f64>,
    }
}

impl Coordinate {
    fn origin() -> Self {
        Self { place: vec![0.0; DIMENSIONS], error: ERROR_MAX, adjustment: 0.0, height: HEIGHT_MIN }
    }

    fn is_valid(&self) -> bool {
        let numbers = [self.adjustment, self.error, self.height];
        self.place.len() == DIMENSIONS && self.place.iter().chain(&numbers).all(|number| number.is_finite())
    }

    /// Estimated time for a packet there and back.
    pub fn distance(&self, other: &Self) -> Duration {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        Duration::try_from_secs_f64(if adjusted > 0.0 { adjusted } else { raw }).unwrap_or_default()
    }

    fn raw_distance(&self, other: &Self) -> f64 {
        magnitude(&difference(&self.place, &other.place)) + self.height + other.height
    }

    /// As the payload of an acknowledgement.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.encode(&mut out);
        out
    }

    pub(crate) fn decoded(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        match reader.byte()? {
            VERSION => Self::decode(&mut reader),
            other => Err(DecodeError::UnknownType(other)),
        }
    }
}

/// Where this member is, and where it saw others.
#[derive(Debug)]
pub(crate) struct Coordinates {
    own: Coordinate,
    adjustments: VecDeque<f64>,
    peers: BTreeMap<String, PeerCoordinate>,
    resets: u64,
}

#[derive(Debug)]
struct PeerCoordinate {
    coordinate: Coordinate,
    latencies: VecDeque<f64>,
}

impl Coordinates {
    pub(crate) fn new() -> Self {
        Self { own: Coordinate::origin(), adjustments: VecDeque::new(), peers: BTreeMap::new(), resets: 0 }
    }

    pub(crate) fn own(&self) -> &Coordinate {
        &self.own
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Coordinate> {
        self.peers.get(name).map(|peer| &peer.coordinate)
    }

    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.peers.remove(name);
    }

    /// Takes in that a packet to `name` and back took so long. What makes no sense is refused.
    pub(crate) fn observe(
        &mut self,
        name: &str,
        other: &Coordinate,
        round_trip: Duration,
        rng: &mut (impl Rng + ?Sized),
    ) -> bool {
        if !other.is_valid() || round_trip > ROUND_TRIP_MAX {
            return false;
        }
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(name) {
            return false;
        }
        let fresh = || PeerCoordinate { coordinate: Coordinate::origin(), latencies: VecDeque::new() };
        let peer = self.peers.entry(name.to_owned()).or_insert_with(fresh);
        peer.latencies.push_back(round_trip.as_secs_f64());
        if peer.latencies.len() > LATENCIES {
            peer.latencies.pop_front();
        }
        let mut sorted: Vec<f64> = peer.latencies.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let latency = sorted[sorted.len() / 2].max(ZERO);
        peer.coordinate = other.clone();

        self.vivaldi(other, latency, rng);
        self.adjust(other, latency);
        self.gravity();
        if !self.own.is_valid() {
            self.own = Coordinate::origin();
            self.adjustments.clear();
            self.resets += 1;
        }
        true
    }

    fn vivaldi(&mut self, other: &Coordinate, latency: f64, rng: &mut (impl Rng + ?Sized)) {
        let distance = self.own.distance(other).as_secs_f64();
        let wrong = (distance - latency).abs() / latency;
        let weight = self.own.error / (self.own.error + other.error).max(ZERO);
        let share = ERROR_SHARE * weight;
        self.own.error = (share * wrong + self.own.error * (1.0 - share)).min(ERROR_MAX);
        let force = PLACE_SHARE * weight * (latency - distance);
        self.push(force, other, rng);
    }

    /// Moves away from the other, or towards it if the force is negative.
    fn push(&mut self, force: f64, other: &Coordinate, rng: &mut (impl Rng + ?Sized)) {
        let mut direction = difference(&self.own.place, &other.place);
        let apart = magnitude(&direction);
        if apart > ZERO {
            let height = (self.own.height + other.height) * force / apart + self.own.height;
            self.own.height = height.max(HEIGHT_MIN);
            for number in &mut direction {
                *number /= apart;
            }
        } else {
            for number in &mut direction {
                *number = rng.random_range(-0.5..0.5);
            }
            let length = magnitude(&direction).max(ZERO);
            for number in &mut direction {
                *number /= length;
            }
        }
        for (place, unit) in self.own.place.iter_mut().zip(direction) {
            *place += unit * force;
        }
    }

    fn adjust(&mut self, other: &Coordinate, latency: f64) {
        self.adjustments.push_back(latency - self.own.raw_distance(other));
        if self.adjustments.len() > ADJUSTMENTS as usize {
            self.adjustments.pop_front();
        }
        self.own.adjustment = self.adjustments.iter().sum::<f64>() / (2.0 * f64::from(ADJUSTMENTS));
    }

    fn gravity(&mut self) {
        let origin = Coordinate::origin();
        let distance = self.own.distance(&origin).as_secs_f64();
        let force = -(distance / GRAVITY_RHO).powi(2);
        let apart = magnitude(&self.own.place);
        if apart > ZERO {
            for number in &mut self.own.place {
                *number += *number / apart * force;
            }
        }
    }
}

fn difference(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| one - other).collect()
}

fn magnitude(vector: &[f64]) -> f64 {
    vector.iter().map(|number| number * number).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn members_find_their_places_from_the_delays_between_them() {
        // On a line, 10 ms apart.
        let mut rng = StdRng::seed_from_u64(4);
        let mut nodes: Vec<Coordinates> = (0..6).map(|_| Coordinates::new()).collect();
        let delay = |one: usize, other: usize| Duration::from_millis(10) * u32::try_from(one.abs_diff(other)).unwrap();
        for _ in 0..2000 {
            let (one, other) = (rng.random_range(0..6), rng.random_range(0..6));
            if one != other {
                let coordinate = nodes[other].own().clone();
                assert!(nodes[one].observe(&other.to_string(), &coordinate, delay(one, other), &mut rng));
            }
        }
        for (one, other) in [(0, 5), (1, 4), (2, 3), (0, 1)] {
            let estimate = nodes[one].own().distance(nodes[other].own()).as_secs_f64();
            let real = delay(one, other).as_secs_f64();
            assert!((estimate - real).abs() < 0.25 * real + 0.002, "{one} to {other}: {estimate} and not {real}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut own = Coordinates::new();
        let mut wrong = Coordinate::origin();
        wrong.place[3] = f64::NAN;
        assert!(!own.observe("x", &wrong, Duration::from_millis(1), &mut rng));
        assert!(!own.observe("x", &Coordinate::origin(), Duration::from_secs(11), &mut rng));
        assert!(!own.observe("x", &Coordinate::default(), Duration::from_millis(1), &mut rng), "no dimensions");
    }
}
