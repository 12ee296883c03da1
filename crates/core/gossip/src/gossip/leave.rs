//! Going away on purpose, and saying so of others who cannot any more; changing tags.

use std::collections::BTreeMap;

use super::broadcast::{Kind, Token};
use super::timers::LeaveStep;
use super::{ConfigError, Gossip, Phase, Timer};
use crate::Time;
use crate::output::{Event, Operation};
use crate::wire::limits;
use crate::wire::message::Dead;
use crate::wire::serf::{LeaveIntent, SerfMessage, encode_tags};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error("this member is leaving")]
    Leaving,
    #[error("a member leaves by itself, it is not removed")]
    Own,
}

impl Gossip {
    /// Tells others, then ends with `Event::Left`.
    pub fn leave(&mut self, now: Time) {
        self.advance(now);
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Leaving;
        let leave = LeaveIntent { time: self.clock.stamp(), node: self.own.to_string(), prune: false };
        self.leave_intent(&leave);
        if self.is_alone() {
            return self.leave_step(LeaveStep::Intended);
        }
        self.broadcast_serf(Kind::Intent, &SerfMessage::Leave(leave), Some(Token::LeaveIntent));
        self.timers.arm(self.now + self.config.serf.broadcast_timeout, Timer::Leave(LeaveStep::Intended));
    }

    fn is_alone(&self) -> bool {
        !self.members.has_alive_besides(&self.own)
    }

    /// A step is over, by success or because its time is.
    pub(super) fn leave_step(&mut self, over: LeaveStep) {
        // A late timer of a step that is long over changes nothing.
        if self.phase != Phase::Leaving || self.left_step.is_some_and(|last| over <= last) {
            return;
        }
        self.left_step = Some(over);
        match over {
            LeaveStep::Intended => {
                let own = self.own.to_string();
                self.dead(Dead { from: own.clone(), incarnation: self.incarnation, node: own });
                if self.is_alone() {
                    return self.leave_step(LeaveStep::Announced);
                }
                self.timers.arm(self.now + self.config.serf.broadcast_timeout, Timer::Leave(LeaveStep::Announced));
            }
            LeaveStep::Announced => {
                let at = if self.is_alone() { self.now } else { self.now + self.config.serf.leave_propagate_delay };
                self.timers.arm(at, Timer::Leave(LeaveStep::Done));
            }
            LeaveStep::Done => {
                self.flush_all();
                self.phase = Phase::Left;
                self.timers.clear();
                self.streams.clear();
                self.tell(Event::Left);
            }
        }
    }

    /// Events that were held back are told before the end.
    fn flush_all(&mut self) {
        for event in self.coalescer.due(Time::MAX) {
            self.tell(event);
        }
    }

    /// Says of a failed member that it left; `Event::Told` follows. With `prune` it is forgotten at once.
    pub fn remove(&mut self, now: Time, name: &str, prune: bool) -> Result<Operation, RemoveError> {
        self.advance(now);
        if self.phase != Phase::Running {
            return Err(RemoveError::Leaving);
        }
        if name == &*self.own {
            return Err(RemoveError::Own);
        }
        let leave = LeaveIntent { time: self.clock.stamp(), node: name.to_owned(), prune };
        self.leave_intent(&leave);
        let operation = self.telling();
        if self.is_alone() {
            self.told(operation, true);
        } else {
            self.broadcast_serf(Kind::Intent, &SerfMessage::Leave(leave), Some(Token::Operation(operation)));
        }
        Ok(operation)
    }

    /// Replaces all tags; `Event::Told` follows.
    pub fn set_tags(&mut self, now: Time, tags: BTreeMap<String, String>) -> Result<Operation, ConfigError> {
        self.advance(now);
        let meta = encode_tags(&tags);
        if meta.len() > limits::META_MAX {
            return Err(ConfigError::Tags);
        }
        self.config.tags = tags;
        let operation = self.telling();
        let Some(own) = self.peers.get_mut(&self.own) else { return Ok(operation) };
        own.meta = meta;
        let own = own.clone();
        if self.phase == Phase::Running {
            self.incarnation = self.incarnation.saturating_add(1);
            self.announce_own(Some(Token::Operation(operation)));
            self.member_updated(&own);
        }
        if self.is_alone() {
            self.told(operation, true);
        }
        Ok(operation)
    }
}
