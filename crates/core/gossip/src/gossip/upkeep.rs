//! What is looked after now and then: members long gone, members that may be back, queues that grow.

use rand::RngExt as _;

use super::{Gossip, Phase, Timer};
use crate::members::{Member, Status};
use crate::output::Warning;

impl Gossip {
    pub(super) fn reap(&mut self) {
        self.timers.arm(self.now + self.config.serf.reap_interval, Timer::Reap);
        let (now, settings) = (self.now, self.config.serf);
        let old = |member: &&Member| {
            let limit = match member.status {
                Status::Failed => settings.reconnect_timeout,
                Status::Left => settings.tombstone_timeout,
                Status::Alive | Status::Leaving => return false,
            };
            member.gone_since.is_some_and(|since| now.saturating_sub(since) > limit)
        };
        let names: Vec<_> = self.members.iter().filter(old).map(|member| member.name.clone()).collect();
        for name in names {
            self.prune(&name);
        }
        if let Some(before) = now.checked_sub(settings.recent_intent_timeout) {
            self.members.forget_intents(before);
        }
    }

    /// Tries a failed member now and then: the more have failed, the more often.
    pub(super) fn reconnect(&mut self) {
        self.timers.arm(self.now + self.config.serf.reconnect_interval, Timer::Reconnect);
        if self.phase != Phase::Running {
            return;
        }
        let failed = self.members.iter().filter(|member| member.status == Status::Failed);
        let failed: Vec<_> = failed.map(|member| member.name.clone()).collect();
        let others = self.members.len().saturating_sub(failed.len() + self.members.count(Status::Left));
        let draw = self.rng.random_range(0..others.max(1));
        if draw >= failed.len() {
            return;
        }
        let name = failed[self.rng.random_range(0..failed.len())].clone();
        self.reconnect_to(&name);
    }

    pub(super) fn check_queues(&mut self) {
        self.timers.arm(self.now + self.config.serf.queue_check_interval, Timer::QueueCheck);
        let settings = self.config.serf;
        let mut warnings = Vec::new();
        let mut dropped = Vec::new();
        let named = [("intents", &mut self.intents), ("queries", &mut self.queries), ("events", &mut self.events)];
        for (queue, waiting) in named {
            if waiting.len() >= settings.queue_warning {
                warnings.push(Warning::Queue { queue, waiting: waiting.len() });
            }
            dropped.append(&mut waiting.prune(settings.queue_max));
        }
        for warning in warnings {
            self.warn(warning);
        }
        for token in dropped {
            self.finished(token);
        }
    }
}
