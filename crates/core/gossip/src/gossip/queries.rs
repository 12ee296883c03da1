//! Queries: a question to all members or some, with their answers until a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;

use super::broadcast::Kind;
use super::keys::{KeyTally, internal};
use super::{Gossip, Phase, Timer};
use crate::Time;
use crate::filter::{Filter, FilterError};
use crate::members::Status;
use crate::output::{Event, Operation, QueryId, QueryOutcome};
use crate::peers::{Peer, PeerState};
use crate::queue::transmits_max;
use crate::wire::limits;
use crate::wire::message::{address_bytes, socket_address};
use crate::wire::serf::{FLAG_ACK, FLAG_NO_BROADCAST, Query, QueryResponse, RelayAddress, RelayHeader, SerfMessage};

/// Queries of others that wait for an answer of this member.
const ANSWERING_MAX: usize = 1024;
/// Queries of one Lamport time.
const IDS_IN_SLOT_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    #[error("query exceeds limit of {0} bytes")]
    Size(usize),
    #[error("Queries cannot contain the '_serf_' prefix")]
    Internal,
    #[error("the filter of the query cannot be used")]
    Filter(#[source] FilterError),
    #[error("this member is leaving")]
    Leaving,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    #[error("No pending queries matching ID")]
    Unknown,
    #[error("response already sent")]
    Twice,
    #[error("response exceeds limit of {0} bytes")]
    Size(usize),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryRequest {
    pub name: String,
    pub payload: Vec<u8>,
    /// Without any, it is for all members.
    pub filters: Vec<Filter>,
    pub ack: bool,
    /// Through how many others each answer comes too.
    pub relay_factor: u8,
    /// `None`: by the size of the cluster.
    pub timeout: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Queries {
    /// By Lamport time: the queries that were seen.
    seen: Vec<(u64, Vec<u32>)>,
    floor: u64,
    own: BTreeMap<QueryId, OwnQuery>,
    answering: BTreeMap<QueryId, Answering>,
}

#[derive(Debug)]
struct OwnQuery {
    purpose: Purpose,
    /// Who is to answer; it ends early when they have.
    awaited: BTreeSet<String>,
    ack: bool,
    only_acks: bool,
    acks: BTreeSet<String>,
    responses: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) enum Purpose {
    User,
    Keys(Operation, KeyTally),
    /// How many answered that the name is at our address.
    Conflict {
        matching: usize,
    },
}

#[derive(Debug)]
struct Answering {
    to: SocketAddr,
    source_node: String,
    relay_factor: u8,
    answered: bool,
}

impl Queries {
    pub(super) fn new(size: u64, told_up_to: u64) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX).clamp(1, limits::EVENT_SLOTS_MAX);
        let floor = if told_up_to > 0 { told_up_to + 1 } else { 0 };
        let seen = vec![(0, Vec::new()); size];
        Self { seen, floor, own: BTreeMap::new(), answering: BTreeMap::new() }
    }

    /// Whether it is new.
    fn remember(&mut self, query: &Query, now: u64) -> bool {
        let size = self.seen.len() as u64;
        if query.time < self.floor || (now > size && query.time < now - size) {
            return false;
        }
        let (time, ids) = &mut self.seen[usize::try_from(query.time % size).unwrap_or_default()];
        if *time != query.time {
            *time = query.time;
            ids.clear();
        }
        if ids.contains(&query.id) || ids.len() >= IDS_IN_SLOT_MAX {
            return false;
        }
        ids.push(query.id);
        true
    }
}

impl Gossip {
    /// Asks; answers come as events until `Event::QueryDone`.
    pub fn query(&mut self, now: Time, request: QueryRequest) -> Result<QueryId, QueryError> {
        self.advance(now);
        if request.name.starts_with(internal::PREFIX) && (request.name != internal::PING || !request.payload.is_empty())
        {
            return Err(QueryError::Internal);
        }
        self.ask(request, Purpose::User)
    }

    pub(super) fn ask(&mut self, request: QueryRequest, purpose: Purpose) -> Result<QueryId, QueryError> {
        if self.phase == Phase::Left {
            return Err(QueryError::Leaving);
        }
        request.filters.iter().try_for_each(Filter::check).map_err(QueryError::Filter)?;
        let timeout = request.timeout.unwrap_or_else(|| self.default_query_timeout());
        let only_acks = request.name == internal::PING;
        let awaited = self.addressed(&request.filters);
        let address = self.config.address;
        let query = Query {
            address: address_bytes(address.ip()),
            filters: request.filters.iter().map(Filter::encode).collect(),
            flags: if request.ack { FLAG_ACK } else { 0 },
            id: self.rng.random_range(0..1 << 31),
            time: self.query_clock.now(),
            name: request.name,
            payload: request.payload,
            port: address.port(),
            relay_factor: request.relay_factor,
            source_node: self.own.to_string(),
            timeout_ns: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        };
        let max = self.config.serf.query_size_max;
        if SerfMessage::Query(query.clone()).encode().len() > max {
            return Err(QueryError::Size(max));
        }
        let id = QueryId { time: query.time, id: query.id };
        let (acks, responses) = (BTreeSet::new(), BTreeSet::new());
        let own = OwnQuery { purpose, awaited, ack: request.ack, only_acks, acks, responses };
        self.asked.own.insert(id, own);
        self.timers.arm(self.now + timeout, Timer::Query(id));
        self.query_heard(query);
        Ok(id)
    }

    /// By Serf's formula: 3.2 s for up to nine members on a LAN, 6.4 s for up to 99.
    pub fn default_query_timeout(&self) -> Duration {
        let alive = self.members.count(Status::Alive);
        self.config.timing.gossip_interval * transmits_max(self.config.serf.query_timeout_mult, alive)
    }

    fn addressed(&self, filters: &[Filter]) -> BTreeSet<String> {
        let alive = self.members.iter().filter(|member| member.status == Status::Alive);
        let asked = alive.filter(|member| filters.iter().all(|filter| filter.passes(&member.name, &member.tags)));
        asked.map(|member| member.name.to_string()).collect()
    }

    pub(super) fn query_heard(&mut self, query: Query) {
        self.query_clock.witness(query.time);
        if !self.asked.remember(&query, self.query_clock.now()) {
            return;
        }
        if query.flags & FLAG_NO_BROADCAST == 0 {
            self.broadcast_serf(Kind::Query, &SerfMessage::Query(query.clone()), None);
        }
        if !self.is_for_us(&query) {
            return;
        }
        let Some(to) = socket_address(&query.address, query.port) else { return };
        if query.flags & FLAG_ACK != 0 {
            let ack = QueryResponse {
                flags: FLAG_ACK,
                from: self.own.to_string(),
                id: query.id,
                time: query.time,
                payload: Vec::new(),
            };
            self.answer(to, &query.source_node, query.relay_factor, ack);
        }
        self.await_answer(query, to);
    }

    fn await_answer(&mut self, query: Query, to: SocketAddr) {
        if self.asked.answering.len() >= ANSWERING_MAX {
            return;
        }
        let id = QueryId { time: query.time, id: query.id };
        let timeout = Duration::from_nanos(u64::try_from(query.timeout_ns).unwrap_or_default());
        // A deadline that never comes would keep the entry for ever.
        let deadline = self.now + timeout.min(Duration::from_hours(24));
        let Query { source_node, relay_factor, name, payload, .. } = query;
        let answering = Answering { to, source_node: source_node.clone(), relay_factor, answered: false };
        self.asked.answering.insert(id, answering);
        self.timers.arm(deadline, Timer::Answering(id));
        if name.starts_with(internal::PREFIX) {
            self.answer_internal(id, &name, &payload);
        } else {
            self.tell(Event::Query { query: id, name, payload, from: source_node, deadline });
        }
    }

    fn is_for_us(&self, query: &Query) -> bool {
        let Some(own) = self.members.get(&self.own) else { return false };
        let passes =
            |filter: &Vec<u8>| Filter::decode(filter).is_some_and(|filter| filter.passes(&self.own, &own.tags));
        query.filters.iter().all(passes)
    }

    /// Answers a query of somebody, once.
    pub fn respond(&mut self, now: Time, query: QueryId, payload: Vec<u8>) -> Result<(), RespondError> {
        self.advance(now);
        let max = self.config.serf.response_size_max;
        let answering = self.asked.answering.get_mut(&query).ok_or(RespondError::Unknown)?;
        if answering.answered {
            return Err(RespondError::Twice);
        }
        let response = QueryResponse { flags: 0, from: self.own.to_string(), id: query.id, time: query.time, payload };
        if SerfMessage::QueryResponse(response.clone()).encode().len() > max {
            return Err(RespondError::Size(max));
        }
        answering.answered = true;
        let (to, source, relay) = (answering.to, answering.source_node.clone(), answering.relay_factor);
        self.answer(to, &source, relay, response);
        Ok(())
    }

    /// How many bytes a response with such a payload has too many.
    pub(super) fn response_excess(&self, query: QueryId, payload: &[u8]) -> usize {
        let (from, payload) = (self.own.to_string(), payload.to_vec());
        let response = QueryResponse { flags: 0, from, id: query.id, time: query.time, payload };
        SerfMessage::QueryResponse(response).encode().len().saturating_sub(self.config.serf.response_size_max)
    }

    fn answer(&mut self, to: SocketAddr, source: &str, relay_factor: u8, response: QueryResponse) {
        let message = SerfMessage::QueryResponse(response);
        self.send_encoded(to, message.wrapped());
        let factor = usize::from(relay_factor);
        if factor == 0 || self.members.len() < factor + 1 {
            return;
        }
        let header = RelayHeader {
            destination: RelayAddress { address: address_bytes(to.ip()), port: to.port(), zone: String::new() },
            name: source.to_owned(),
        };
        let relay = SerfMessage::Relay(header, message.encode());
        if relay.encode().len() > self.config.serf.response_size_max {
            return;
        }
        let own = self.own.clone();
        let relays = |peer: &Peer| peer.state == PeerState::Alive && peer.name != own && peer.takes_checksums();
        for name in self.peers.pick(factor, &mut *self.rng, relays) {
            if let Some(through) = self.address_of(&name) {
                self.send_encoded(through, relay.wrapped());
            }
        }
    }

    pub(super) fn answering_ended(&mut self, query: QueryId) {
        self.asked.answering.remove(&query);
    }

    pub(super) fn query_answered(&mut self, response: QueryResponse) {
        let query = QueryId { time: response.time, id: response.id };
        let Some(own) = self.asked.own.get_mut(&query) else { return };
        let QueryResponse { from, payload, .. } = response;
        if response.flags & FLAG_ACK != 0 {
            if own.ack && own.acks.insert(from.clone()) && matches!(own.purpose, Purpose::User) {
                self.tell(Event::QueryAck { query, from });
            }
        } else if own.responses.insert(from.clone()) {
            match &mut own.purpose {
                Purpose::User => self.tell(Event::QueryResponse { query, from, payload }),
                Purpose::Keys(_, tally) => tally.count(&from, &payload),
                Purpose::Conflict { matching } => {
                    *matching += usize::from(super::conflict::names_address(&payload, self.config.address));
                }
            }
        }
        self.query_perhaps_done(query);
    }

    /// A member is gone: queries no longer wait for it.
    pub(super) fn asked_member_gone(&mut self) {
        let running: Vec<QueryId> = self.asked.own.keys().copied().collect();
        for query in running {
            self.query_perhaps_done(query);
        }
    }

    fn query_perhaps_done(&mut self, query: QueryId) {
        if self.config.tuning.early_query_end && self.asked.own.contains_key(&query) && self.silent(query).is_empty() {
            self.query_ended(query, true);
        }
    }

    /// Alive members that the query is for, and who have not said all.
    fn silent(&self, query: QueryId) -> Vec<String> {
        let Some(own) = self.asked.own.get(&query) else { return Vec::new() };
        let alive = |name: &&String| self.members.get(name).is_some_and(|member| member.status == Status::Alive);
        let said = |name: &&String| {
            let acked = !own.ack || own.acks.contains(*name);
            acked && (own.only_acks || own.responses.contains(*name))
        };
        own.awaited.iter().filter(|name| alive(name) && !said(name)).cloned().collect()
    }

    pub(super) fn query_ended(&mut self, query: QueryId, early: bool) {
        let silent = self.silent(query);
        let Some(own) = self.asked.own.remove(&query) else { return };
        let (acks, responses) = (own.acks.len(), own.responses.len());
        match own.purpose {
            Purpose::User => {
                let outcome = QueryOutcome { acks, responses, silent, early };
                self.tell(Event::QueryDone { query, outcome });
            }
            Purpose::Keys(operation, tally) => self.keys_done(operation, tally),
            Purpose::Conflict { matching } => self.conflict_resolved(matching, responses),
        }
    }
}
