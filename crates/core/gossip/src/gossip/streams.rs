//! Streams: push/pulls, with which members tell each other all they know, and pings when packets get lost.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Gossip, Phase, Timer};
use crate::Time;
use crate::output::{Event, JoinFailure, Operation, Output, StreamId, Warning};
use crate::peers::PeerState;
use crate::wire::message::{Ack, Ping};
use crate::wire::stream::{Decoder, PushPull, StreamError, StreamMessage};

/// Streams that others opened at once, as in memberlist.
const ACCEPTED_MAX: usize = 128;
/// Push/pulls of one join at once.
const JOINS_AT_ONCE: usize = 8;
/// Addresses of one join.
const JOIN_ADDRESSES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Stream {
    peer: SocketAddr,
    purpose: Purpose,
    decoder: Decoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Accepted,
    Join(Operation),
    Sync,
    /// As a join, of a member that failed and may be back.
    Reconnect,
    Ping,
}

#[derive(Debug)]
pub(super) struct JoinRun {
    options: JoinOptions,
    waiting: Vec<SocketAddr>,
    under_way: usize,
    contacted: usize,
    failures: Vec<JoinFailure>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinOptions {
    /// Tell user events too that happened before this member came.
    pub replay: bool,
}

impl Gossip {
    /// Exchanges all with these addresses; `Event::JoinDone` tells how it went.
    pub fn join(&mut self, now: Time, addresses: &[SocketAddr], options: JoinOptions) -> Operation {
        self.advance(now);
        let operation = self.operation();
        let mut waiting: Vec<SocketAddr> = addresses.iter().copied().take(JOIN_ADDRESSES_MAX).collect();
        waiting.reverse();
        let run = JoinRun { options, waiting, under_way: 0, contacted: 0, failures: Vec::new() };
        self.joins.insert(operation, run);
        self.join_on(operation);
        operation
    }

    fn join_on(&mut self, operation: Operation) {
        while let Some(run) = self.joins.get_mut(&operation)
            && run.under_way < JOINS_AT_ONCE
            && let Some(address) = run.waiting.pop()
        {
            run.under_way += 1;
            self.push_pull_with(address, Purpose::Join(operation));
        }
        if self.joins.get(&operation).is_some_and(|run| run.under_way == 0)
            && let Some(run) = self.joins.remove(&operation)
        {
            self.join_done(operation, run);
        }
    }

    fn join_done(&mut self, operation: Operation, run: JoinRun) {
        if run.contacted > 0 {
            self.announce_join();
            if let Some(pause) = self.config.tuning.second_sync {
                let at = self.now + pause.mul_f64(0.5) + self.random_share(pause);
                self.timers.arm(at, Timer::SecondSync);
            }
        }
        self.tell(Event::JoinDone { operation, contacted: run.contacted, failures: run.failures });
    }

    fn join_step(&mut self, operation: Operation, address: SocketAddr, result: Result<(), String>) {
        if let Some(run) = self.joins.get_mut(&operation) {
            run.under_way -= 1;
            match result {
                Ok(()) => run.contacted += 1,
                Err(reason) => run.failures.push(JoinFailure { address, reason }),
            }
        }
        self.join_on(operation);
    }

    pub(super) fn push_pull_tick(&mut self) {
        let interval = push_pull_interval(self.config.timing.push_pull_interval, self.peers.len());
        self.timers.arm(self.now + interval, Timer::PushPull);
        self.sync_with_somebody();
    }

    pub(super) fn second_sync(&mut self) {
        self.sync_with_somebody();
    }

    fn sync_with_somebody(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let own = self.own.clone();
        let picked = self.peers.pick(1, &mut *self.rng, |peer| peer.state == PeerState::Alive && peer.name != own);
        if let Some(address) = picked.first().and_then(|name| self.peers.get(name)).map(|peer| peer.address) {
            self.push_pull_with(address, Purpose::Sync);
        }
    }

    fn push_pull_with(&mut self, address: SocketAddr, purpose: Purpose) {
        let state = StreamMessage::PushPull(self.local_state(matches!(purpose, Purpose::Join(_) | Purpose::Reconnect)));
        let bytes = self.sealed(&state);
        let deadline = self.now + self.config.timing.stream_timeout;
        self.open_stream(address, purpose, bytes, deadline);
    }

    pub(super) fn ping_by_stream(&mut self, address: SocketAddr, ping: Ping, deadline: Time) -> Option<StreamId> {
        let bytes = self.sealed(&StreamMessage::Ping(ping));
        (deadline > self.now).then(|| self.open_stream(address, Purpose::Ping, bytes, deadline))
    }

    fn sealed(&mut self, message: &StreamMessage) -> Vec<u8> {
        message.seal(self.config.compress, self.keyring.as_ref(), &mut *self.rng)
    }

    fn open_stream(&mut self, to: SocketAddr, purpose: Purpose, bytes: Vec<u8>, deadline: Time) -> StreamId {
        let stream = self.add_stream(to, purpose, deadline);
        self.outputs.push_back(Output::Connect { stream, to, bytes });
        stream
    }

    fn add_stream(&mut self, peer: SocketAddr, purpose: Purpose, deadline: Time) -> StreamId {
        self.streams_opened += 1;
        let stream = StreamId(self.streams_opened);
        self.streams.insert(stream, Stream { peer, purpose, decoder: Decoder::default() });
        self.timers.arm(deadline, Timer::Stream(stream));
        stream
    }

    /// Somebody connected. `None` if there are too many already: close it.
    pub fn stream_accepted(&mut self, now: Time, peer: SocketAddr) -> Option<StreamId> {
        self.advance(now);
        let accepted = self.streams.values().filter(|stream| stream.purpose == Purpose::Accepted).count();
        if self.phase == Phase::Left {
            return None;
        }
        if accepted >= ACCEPTED_MAX {
            self.warn(Warning::Busy { peer, max: ACCEPTED_MAX });
            return None;
        }
        Some(self.add_stream(peer, Purpose::Accepted, self.now + self.config.timing.stream_timeout))
    }

    /// Bytes came on a stream.
    pub fn stream_data(&mut self, now: Time, id: StreamId, bytes: &[u8]) {
        self.advance(now);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match stream.decoder.push(bytes, self.keyring.as_ref()) {
            Ok(None) => {}
            Ok(Some(message)) => self.stream_message(id, message),
            Err(error) => self.stream_damaged(id, error),
        }
    }

    /// The other end closed the stream, or it could not be connected, or it broke.
    pub fn stream_ended(&mut self, now: Time, id: StreamId, reason: &str) {
        self.advance(now);
        if let Some(stream) = self.streams.remove(&id) {
            self.stream_failed(id, &stream, reason);
        }
    }

    pub(super) fn stream_late(&mut self, id: StreamId) {
        if let Some(stream) = self.drop_stream(id) {
            self.stream_failed(id, &stream, "i/o timeout");
        }
    }

    pub(super) fn drop_stream(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.outputs.push_back(Output::Close { stream: id });
        Some(stream)
    }

    fn stream_failed(&mut self, id: StreamId, stream: &Stream, reason: &str) {
        match stream.purpose {
            Purpose::Join(operation) => self.join_step(operation, stream.peer, Err(reason.to_owned())),
            Purpose::Ping => self.stream_ping_ended(id, Err(reason)),
            Purpose::Accepted | Purpose::Sync | Purpose::Reconnect => {}
        }
    }

    fn stream_damaged(&mut self, id: StreamId, error: StreamError) {
        let Some(stream) = self.streams.get(&id) else { return };
        let peer = stream.peer;
        if stream.purpose == Purpose::Accepted {
            // As the real agent does, so that the other end can say what is wrong.
            let reason = reason_of(&error);
            let bytes = self.sealed(&StreamMessage::Error(reason));
            self.outputs.push_back(Output::Write { stream: id, bytes });
        }
        if let Some(stream) = self.drop_stream(id) {
            self.stream_failed(id, &stream, &reason_of(&error));
        }
        self.warn(Warning::Stream { peer, error });
    }

    fn stream_message(&mut self, id: StreamId, message: StreamMessage) {
        let Some(Stream { peer, purpose, .. }) = self.streams.get(&id) else { return };
        let (peer, purpose) = (*peer, *purpose);
        match (purpose, message) {
            (Purpose::Accepted, StreamMessage::PushPull(remote)) => {
                let answer = self.local_state(remote.join);
                let bytes = self.sealed(&StreamMessage::PushPull(answer));
                self.outputs.push_back(Output::Write { stream: id, bytes });
                self.merge_from(peer, &remote, false);
                self.drop_stream(id);
            }
            (Purpose::Accepted, StreamMessage::Ping(ping)) => {
                if ping.node.is_empty() || ping.node == *self.own {
                    let ack = StreamMessage::Ack(Ack { payload: Vec::new(), sequence: ping.sequence });
                    let bytes = self.sealed(&ack);
                    self.outputs.push_back(Output::Write { stream: id, bytes });
                } else {
                    self.warn(Warning::ForeignPing { from: peer, name: ping.node });
                }
                self.drop_stream(id);
            }
            (Purpose::Accepted, StreamMessage::User(bytes)) => {
                self.drop_stream(id);
                self.serf_message(peer, &bytes);
            }
            (Purpose::Join(operation), StreamMessage::PushPull(remote)) => {
                self.drop_stream(id);
                let ignore_old = self.joins.get(&operation).is_some_and(|run| !run.options.replay);
                let merged = self.merge_from(peer, &remote, ignore_old);
                self.join_step(
                    operation,
                    peer,
                    if merged { Ok(()) } else { Err("protocol versions differ".to_owned()) },
                );
            }
            (Purpose::Sync | Purpose::Reconnect, StreamMessage::PushPull(remote)) => {
                self.drop_stream(id);
                self.merge_from(peer, &remote, false);
            }
            (Purpose::Ping, StreamMessage::Ack(ack)) => {
                self.drop_stream(id);
                self.stream_ping_ended(id, Ok(&ack));
            }
            (_, other) => {
                if let Some(stream) = self.drop_stream(id) {
                    self.stream_failed(id, &stream, &unexpected(other));
                }
            }
        }
    }

    fn merge_from(&mut self, peer: SocketAddr, remote: &PushPull, ignore_old: bool) -> bool {
        match self.peers.verify(&remote.nodes) {
            Ok(()) => {
                self.merge(peer, remote, ignore_old);
                true
            }
            Err(error) => {
                self.warn(Warning::Merge { peer, reason: error.to_string() });
                false
            }
        }
    }

    pub(super) fn reconnect_to(&mut self, name: &Arc<str>) {
        if let Some(address) = self.members.get(name).map(|member| member.address) {
            self.push_pull_with(address, Purpose::Reconnect);
        }
    }
}

/// In full, as the other end sees one line only.
fn reason_of(error: &StreamError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn unexpected(message: StreamMessage) -> String {
    match message {
        StreamMessage::Error(error) => format!("remote error: {error}"),
        StreamMessage::PushPull(_) => "a state was not expected here".to_owned(),
        StreamMessage::User(_) => "a user message was not expected here".to_owned(),
        StreamMessage::Ping(_) => "a ping was not expected here".to_owned(),
        StreamMessage::Ack(_) => "an acknowledgement was not expected here".to_owned(),
    }
}

/// Longer in large clusters: from 33 members twice, from 65 three times.
fn push_pull_interval(base: std::time::Duration, members: usize) -> std::time::Duration {
    let doubled = members.max(1).next_power_of_two().ilog2();
    base * (doubled.saturating_sub(5) + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn push_pulls_get_rarer_in_large_clusters() {
        let seconds =
            [1, 32, 33, 64, 65, 2000].map(|members| push_pull_interval(Duration::from_secs(30), members).as_secs());
        assert_eq!(seconds, [30, 30, 60, 60, 90, 210]);
    }
}
