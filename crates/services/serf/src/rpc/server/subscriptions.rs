//! What goes on while other requests are answered: events, lines of the log, answers to a query.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use muster_gossip::{Event, QueryId};
use muster_gossip_net::{Answer, Answers};
use muster_stdx::OnError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Outbox, Queries};
use super::convert;
use crate::agent::{EventFilter, Level};
use crate::rpc::codec::encode_response;
use crate::rpc::types;

/// Queries that a client was told of and has not answered.
const PENDING_MAX: usize = 4096;
/// For those that come without a sensible deadline.
const PENDING_LIMIT: Duration = Duration::from_hours(1);

impl Connection {
    /// Runs until the token is cancelled or the client is gone.
    fn spawn(&self, name: &'static str, token: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn(name, OnError::Log, async move {
            // Losing the task is what stopping it means.
            tokio::select! {
                () = token.cancelled() => {}
                () = task => {}
            }
            Ok::<_, Infallible>(())
        });
    }

    pub(super) fn tell_events(&self, seq: u64, filters: Vec<EventFilter>, token: CancellationToken) {
        let mut events = self.agent.0.fanout.listen(filters);
        let (out, queries) = (self.out.clone(), self.queries.clone());
        let gossip = self.agent.0.gossip.clone();
        self.spawn("rpc stream", token, async move {
            while let Some(event) = events.recv().await {
                let record = match &*event {
                    Event::Query { query, deadline, .. } => {
                        let now = gossip.with(|_, now| now).await.unwrap_or(*deadline);
                        let left = deadline.saturating_sub(now).min(PENDING_LIMIT);
                        query_record(seq, &event, queries.add(*query, left))
                    }
                    other => convert::event_record(seq, other),
                };
                if let Some(record) = record
                    && !out.send(record).await
                {
                    return;
                }
            }
        });
    }

    pub(super) fn tell_lines(&self, seq: u64, level: Level, token: CancellationToken) {
        let (mut lines, out) = (self.agent.log().monitor(level), self.out.clone());
        self.spawn("rpc monitor", token, async move {
            while let Some(line) = lines.recv().await {
                let record = types::LogLine { log: line.to_string() };
                if !out.send(encode_response(seq, "", Some(&record))).await {
                    return;
                }
            }
        });
    }

    /// With a time, the end is not told before.
    pub(super) fn tell_answers(&self, seq: u64, mut answers: Answers, until: Option<Instant>) {
        let (out, log): (Outbox, _) = (self.out.clone(), self.agent.log().clone());
        self.spawn("rpc query", self.token.child_token(), async move {
            loop {
                let (kind, from, payload) = match answers.next().await {
                    Some(Answer::Ack { from }) => ("ack", from, Bytes::new()),
                    Some(Answer::Response { from, payload }) => ("response", from, payload.into()),
                    Some(Answer::Done(outcome)) => {
                        if !outcome.silent.is_empty() {
                            let silent = outcome.silent.join(", ");
                            log.line(Level::Info, format!("agent: Query ended without all answers: {silent}"));
                        }
                        ("done", String::new(), Bytes::new())
                    }
                    None => ("done", String::new(), Bytes::new()),
                };
                if let Some(until) = until.filter(|_| kind == "done") {
                    tokio::time::sleep_until(until).await;
                }
                let record = types::QueryRecord { from, payload, kind: kind.to_owned() };
                if !out.send(encode_response(seq, "", Some(&record))).await || kind == "done" {
                    return;
                }
            }
        });
    }
}

impl Queries {
    /// The number by which the client answers.
    fn add(&self, query: QueryId, left: Duration) -> u64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        inner.pending.retain(|_, (_, deadline)| *deadline > now);
        if inner.pending.len() >= PENDING_MAX {
            inner.pending.pop_first();
        }
        let id = inner.last;
        inner.last += 1;
        inner.pending.insert(id, (query, now + left));
        id
    }
}

fn query_record(seq: u64, event: &Arc<Event>, id: u64) -> Option<Vec<u8>> {
    let Event::Query { query, name, payload, .. } = &**event else { return None };
    let record = types::QueryEvent {
        event: "query".to_owned(),
        id,
        ltime: query.time,
        name: name.clone(),
        payload: Bytes::copy_from_slice(payload),
    };
    Some(encode_response(seq, "", Some(&record)))
}
