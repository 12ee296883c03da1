//! Figures of a member for Prometheus, and why others are suspected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_gossip::{Evidence, MemberEvent, Stats, Time, Warning};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A member that comes back within this time has flapped.
const FLAP: Duration = Duration::from_mins(1);
/// Members whose reasons are kept.
const REASONS_MAX: usize = 16 * 1024;

type Labels = [(&'static str, &'static str); 1];

/// Why a member is, or was last, suspected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// When the suspicion began.
    pub since: Time,
    /// Others who said that it does not answer them.
    pub accusers: BTreeSet<String>,
    /// What this member found itself.
    pub evidence: Option<Evidence>,
    /// When it last answered by TCP and not by UDP.
    pub stream_only: Option<Time>,
    /// When it was taken for failed.
    pub failed: Option<Time>,
}

/// Shared by the driver, which counts, and whoever shows the figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    members: Family<Labels, Gauge>,
    queues: Family<Labels, Gauge>,
    health: Gauge,
    times: Family<Labels, Gauge>,
    packets: Family<Labels, Gauge>,
    changes: Family<Labels, Counter>,
    warnings: Family<Labels, Counter>,
    pub(crate) sent_bytes: Counter,
    pub(crate) events: Counter,
    pub(crate) queries: Counter,
    pub(crate) lost: Counter,
    flaps: Counter,
    detection: Histogram,
    reasons: Mutex<BTreeMap<String, Reason>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("serf"),
            members: Family::default(),
            queues: Family::default(),
            health: Gauge::default(),
            times: Family::default(),
            packets: Family::default(),
            changes: Family::default(),
            warnings: Family::default(),
            sent_bytes: Counter::default(),
            events: Counter::default(),
            queries: Counter::default(),
            lost: Counter::default(),
            flaps: Counter::default(),
            // From half a second, twice as long each time, to about four minutes.
            detection: Histogram::new(exponential_buckets(0.5, 2.0, 10)),
            reasons: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("members", "Members by status", self.members.clone());
        registry.register("queue_depth", "Messages that wait to be told", self.queues.clone());
        registry.register("health_score", "0 if all is well: how much this member doubts itself", self.health.clone());
        registry.register("lamport_time", "Lamport times", self.times.clone());
        registry.register("packets", "Packets since the start, by direction", self.packets.clone());
        registry.register("packets_bytes_sent", "Bytes sent in packets", self.sent_bytes.clone());
        registry.register("member_changes", "Changes of members by kind", self.changes.clone());
        registry.register("warnings", "What went wrong, by kind", self.warnings.clone());
        registry.register("user_events", "User events that came here", self.events.clone());
        registry.register("queries", "Queries that came here", self.queries.clone());
        registry.register("events_lost", "Events that were dropped as nobody took them", self.lost.clone());
        registry.register(
            "member_flaps",
            "Members that were back within a minute after they failed",
            self.flaps.clone(),
        );
        registry.register("detection_seconds", "From the first suspicion to failed", self.detection.clone());
    }

    /// In the text format of Prometheus.
    pub fn render(&self, stats: &Stats) -> String {
        let gauge = |family: &Family<Labels, Gauge>, key, label, value: usize| {
            family.get_or_create(&[(key, label)]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(&self.members, "status", "alive", stats.members - stats.failed - stats.left);
        gauge(&self.members, "status", "failed", stats.failed);
        gauge(&self.members, "status", "left", stats.left);
        gauge(&self.queues, "queue", "broadcasts", stats.broadcast_queue);
        gauge(&self.queues, "queue", "intents", stats.intent_queue);
        gauge(&self.queues, "queue", "events", stats.event_queue);
        gauge(&self.queues, "queue", "queries", stats.query_queue);
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        gauge(&self.times, "clock", "member", number(stats.member_time));
        gauge(&self.times, "clock", "event", number(stats.event_time));
        gauge(&self.times, "clock", "query", number(stats.query_time));
        gauge(&self.packets, "direction", "sent", number(stats.packets_sent));
        gauge(&self.packets, "direction", "received", number(stats.packets_received));
        self.health.set(stats.health_score.into());
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }

    /// Why a member is suspected or failed, or was last.
    pub fn reason(&self, name: &str) -> Option<Reason> {
        self.reasons().get(name).cloned()
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<String, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self, kind: MemberEvent, name: &str, now: Time) {
        self.changes.get_or_create(&[("kind", kind_name(kind))]).inc();
        let mut reasons = self.reasons();
        match kind {
            MemberEvent::Failed => {
                if let Some(reason) = reasons.get_mut(name) {
                    reason.failed = Some(now);
                    self.detection.observe(now.saturating_sub(reason.since).as_secs_f64());
                }
            }
            MemberEvent::Join => {
                let failed = reasons.remove(name).and_then(|reason| reason.failed);
                if failed.is_some_and(|failed| now.saturating_sub(failed) <= FLAP) {
                    self.flaps.inc();
                }
            }
            MemberEvent::Leave | MemberEvent::Reap => {
                reasons.remove(name);
            }
            MemberEvent::Update => {}
        }
    }

    pub(crate) fn warned(&self, warning: &Warning, now: Time) {
        self.warnings.get_or_create(&[("kind", warning_name(warning))]).inc();
        let mut reasons = self.reasons();
        let (Warning::Suspected { name, .. } | Warning::Accused { name, .. } | Warning::StreamOnly { name }) = warning
        else {
            return;
        };
        if reasons.len() >= REASONS_MAX && !reasons.contains_key(name) {
            return;
        }
        let reason = reasons.entry(name.clone()).or_insert_with(|| Reason { since: now, ..Reason::default() });
        match warning {
            Warning::Suspected { evidence, .. } => {
                let accusers = BTreeSet::new();
                *reason = Reason { since: now, accusers, evidence: Some(evidence.clone()), ..reason.clone() };
            }
            Warning::Accused { by, first, .. } => {
                if *first {
                    *reason = Reason { since: now, stream_only: reason.stream_only, ..Reason::default() };
                }
                reason.accusers.insert(by.clone());
            }
            _ => reason.stream_only = Some(now),
        }
    }
}

fn kind_name(kind: MemberEvent) -> &'static str {
    match kind {
        MemberEvent::Join => "join",
        MemberEvent::Leave => "leave",
        MemberEvent::Failed => "failed",
        MemberEvent::Update => "update",
        MemberEvent::Reap => "reap",
    }
}

fn warning_name(warning: &Warning) -> &'static str {
    match warning {
        Warning::Packet { .. } => "packet",
        Warning::Stream { .. } => "stream",
        Warning::Merge { .. } => "merge",
        Warning::ForeignPing { .. } => "foreign-ping",
        Warning::StreamOnly { .. } => "stream-only",
        Warning::Suspected { .. } => "suspected",
        Warning::Accused { .. } => "accused",
        Warning::Failed { .. } => "failed",
        Warning::Refuted { .. } => "refuted",
        Warning::Conflict { .. } => "conflict",
        Warning::Queue { .. } => "queue",
        Warning::Busy { .. } => "busy",
    }
}
