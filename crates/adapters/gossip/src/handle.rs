//! What others ask of a member that runs. Cheap to clone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_gossip::{
    ConfigError, Event, Gossip, JoinFailure, JoinOptions, KeyOperation, KeyReport, Operation, QueryError, QueryId,
    QueryOutcome, QueryRequest, RemoveError, Time,
};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// Answers to one query that were not taken yet; what is more is lost and counted as silent by nobody.
const ANSWERS_MAX: usize = 16 * 1024;
/// Members wait for a leave: the command, a signal, the RPC.
const LEAVERS_MAX: usize = 64;

/// The member has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the member has ended")]
pub struct Stopped;

#[derive(Debug, Clone, Default)]
pub struct Joined {
    pub contacted: usize,
    pub failures: Vec<JoinFailure>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Ack { from: String },
    Response { from: String, payload: Vec<u8> },
    Done(QueryOutcome),
}

/// What comes back to a query, to its end.
#[derive(Debug)]
pub struct Answers {
    pub query: QueryId,
    /// Until then answers are taken; it may end before.
    pub timeout: Duration,
    queue: mpsc::Receiver<Answer>,
}

impl Answers {
    /// `None` after `Answer::Done`.
    pub async fn next(&mut self) -> Option<Answer> {
        self.queue.recv().await
    }
}

/// The state machine, and who waits for what of it.
pub(crate) struct Member {
    pub(crate) gossip: Gossip,
    waiting: BTreeMap<Operation, oneshot::Sender<Event>>,
    asking: BTreeMap<QueryId, mpsc::Sender<Answer>>,
    leaving: Vec<oneshot::Sender<()>>,
}

pub(crate) type Order = Box<dyn FnOnce(&mut Member, Time) + Send>;

impl Member {
    pub(crate) fn new(gossip: Gossip) -> Self {
        Self { gossip, waiting: BTreeMap::new(), asking: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Gives an event to those who wait for it; back comes what is for everybody.
    pub(crate) fn tell(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::QueryAck { query, from } => self.answer(query, Answer::Ack { from }),
            Event::QueryResponse { query, from, payload } => self.answer(query, Answer::Response { from, payload }),
            Event::QueryDone { query, outcome } => {
                self.answer(query, Answer::Done(outcome));
                self.asking.remove(&query);
            }
            Event::JoinDone { operation, .. } | Event::Told { operation, .. } | Event::KeysDone { operation, .. } => {
                if let Some(waiting) = self.waiting.remove(&operation) {
                    // Whoever asked may have gone.
                    waiting.send(event).ok();
                }
            }
            Event::Left => {
                self.leaving.drain(..).for_each(|waiting| {
                    waiting.send(()).ok();
                });
                return Some(event);
            }
            Event::Members { .. }
            | Event::User { .. }
            | Event::Query { .. }
            | Event::KeysChanged
            | Event::NameTaken { .. } => return Some(event),
        }
        None
    }

    fn answer(&mut self, query: QueryId, answer: Answer) {
        if let Some(asking) = self.asking.get(&query) {
            asking.try_send(answer).ok();
        }
    }
}

#[derive(Clone)]
pub struct Handle {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Handle {
    /// Figures, and why members are suspected.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Does something with the state machine, and gives back what it says.
    pub async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Gossip, Time) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.order(move |member, now| act(&mut member.gossip, now)).await
    }

    async fn order<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Member, Time) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let order: Order = Box::new(move |member, now| {
            // Whoever asked may have gone.
            answer.send(act(member, now)).ok();
        });
        self.orders.send(order).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// An operation, and its end.
    async fn operate<E: Send + 'static>(
        &self,
        begin: impl FnOnce(&mut Gossip, Time) -> Result<Operation, E> + Send + 'static,
    ) -> Result<Result<Event, E>, Stopped> {
        let begun = self.order(move |member, now| {
            let (ends, end) = oneshot::channel();
            begin(&mut member.gossip, now).map(|operation| {
                member.waiting.insert(operation, ends);
                end
            })
        });
        match begun.await? {
            Ok(end) => Ok(Ok(end.await.map_err(|_| Stopped)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Exchanges all with these addresses.
    pub async fn join(&self, addresses: Vec<SocketAddr>, options: JoinOptions) -> Result<Joined, Stopped> {
        let done = self.operate(move |gossip, now| Ok::<_, Stopped>(gossip.join(now, &addresses, options))).await??;
        match done {
            Event::JoinDone { contacted, failures, .. } => Ok(Joined { contacted, failures }),
            _ => Err(Stopped),
        }
    }

    /// Replaces all tags. `false` if not all members were told in time.
    pub async fn set_tags(&self, tags: BTreeMap<String, String>) -> Result<Result<bool, ConfigError>, Stopped> {
        let done = self.operate(move |gossip, now| gossip.set_tags(now, tags)).await?;
        Ok(done.map(|event| was_in_time(&event)))
    }

    /// Says of a failed member that it left. `false` if not all members were told in time.
    pub async fn remove(&self, name: String, prune: bool) -> Result<Result<bool, RemoveError>, Stopped> {
        let done = self.operate(move |gossip, now| gossip.remove(now, &name, prune)).await?;
        Ok(done.map(|event| was_in_time(&event)))
    }

    pub async fn change_keys(&self, operation: KeyOperation) -> Result<Result<KeyReport, QueryError>, Stopped> {
        let done = self.operate(move |gossip, now| gossip.change_keys(now, &operation)).await?;
        Ok(done.map(|event| match event {
            Event::KeysDone { report, .. } => report,
            _ => KeyReport::default(),
        }))
    }

    pub async fn query(&self, request: QueryRequest) -> Result<Result<Answers, QueryError>, Stopped> {
        self.order(move |member, now| {
            let timeout = request.timeout.unwrap_or_else(|| member.gossip.default_query_timeout());
            let query = member.gossip.query(now, request)?;
            let (asking, queue) = mpsc::channel(ANSWERS_MAX);
            member.asking.insert(query, asking);
            Ok(Answers { query, timeout, queue })
        })
        .await
    }

    /// Tells others that this member goes, and waits until that is done.
    pub async fn leave(&self) -> Result<(), Stopped> {
        let left = self.order(|member, now| {
            let (leaves, left) = oneshot::channel();
            if member.gossip.phase() == muster_gossip::Phase::Left || member.leaving.len() >= LEAVERS_MAX {
                leaves.send(()).ok();
            } else {
                member.leaving.push(leaves);
                member.gossip.leave(now);
            }
            left
        });
        left.await?.await.map_err(|_| Stopped)
    }
}

fn was_in_time(event: &Event) -> bool {
    matches!(event, Event::Told { in_time: true, .. })
}
