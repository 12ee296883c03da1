//! Programs that events start. Each handler has its queue, so that its events come in order and no other waits for it.

mod run;
mod spec;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_gossip::Event;
use muster_stdx::{OnError, Supervisor};
use tokio::sync::mpsc;

pub(crate) use run::Own;
pub use spec::{EventFilter, EventScript, SpecError, member_event_name};

use super::log::{Level, Log};

/// Events that wait for one handler; what is more is lost, with a line in the log.
const WAITING_MAX: usize = 1024;
/// A handler that runs longer is worth a line.
const SLOW: Duration = Duration::from_secs(1);
/// Of a payload or an output in the log.
const LOGGED_MAX: usize = 8 * 1024;

type Job = (Arc<Event>, Own);

/// The handlers as they are set now. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handlers {
    current: Arc<Mutex<Vec<Handler>>>,
    worker: Worker,
}

#[derive(Debug)]
struct Handler {
    entry: EventScript,
    queue: mpsc::Sender<Job>,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) gossip: GossipAnswer,
    pub(crate) log: Log,
    pub(crate) limit: Duration,
    pub(crate) supervisor: Supervisor,
}

/// Where answers to queries go.
#[derive(Clone)]
pub(crate) struct GossipAnswer(pub(crate) muster_gossip_net::Handle);

impl std::fmt::Debug for GossipAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("GossipAnswer")
    }
}

impl Handlers {
    pub(crate) fn new(worker: Worker, entries: Vec<EventScript>) -> Self {
        let handlers = Self { current: Arc::default(), worker };
        handlers.replace(entries);
        handlers
    }

    /// Those of before finish what they have begun and what waits for them.
    pub(crate) fn replace(&self, entries: Vec<EventScript>) {
        let start = |entry: EventScript| {
            let (queue, jobs) = mpsc::channel(WAITING_MAX);
            let (worker, script) = (self.worker.clone(), entry.script.clone());
            self.worker.supervisor.spawn("event handler", OnError::Log, async move {
                worker.run(&script, jobs).await;
                Ok::<_, std::convert::Infallible>(())
            });
            Handler { entry, queue }
        };
        let handlers = entries.into_iter().map(start).collect();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = handlers;
    }

    pub(crate) fn dispatch(&self, event: &Arc<Event>, own: &Own) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for handler in current.iter().filter(|handler| handler.entry.filter.takes(event)) {
            if handler.queue.try_send((event.clone(), own.clone())).is_err() {
                let script = &handler.entry.script;
                self.worker.log.line(Level::Warn, format!("agent: Event dropped: script '{script}' is too slow"));
            }
        }
    }

    /// For statistics: what starts which script.
    pub(crate) fn shown(&self) -> Vec<(String, String)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter().map(|handler| (handler.entry.filter.to_string(), handler.entry.script.clone())).collect()
    }
}

impl Worker {
    async fn run(&self, script: &str, mut jobs: mpsc::Receiver<Job>) {
        while let Some((event, own)) = jobs.recv().await {
            let start = Instant::now();
            let ran = run::run(script, &event, &own, self.limit).await;
            let took = start.elapsed();
            if took > SLOW {
                self.log.line(Level::Warn, format!("agent: Script '{script}' slow, execution took {took:.1?}"));
            }
            let kind = kind_of(&event);
            let shown = String::from_utf8_lossy(&ran.output[..ran.output.len().min(LOGGED_MAX)]);
            self.log.line(Level::Debug, format!("agent: Event '{kind}' script output: {shown}"));
            match ran.error {
                Some(error) => self.log.line(Level::Err, format!("agent: Error invoking script '{script}': {error}")),
                None => self.answer(&event, ran.output).await,
            }
        }
    }

    /// The output of a handler that did well is the answer to a query.
    async fn answer(&self, event: &Event, output: Vec<u8>) {
        let Event::Query { query, name, .. } = event else { return };
        if output.is_empty() {
            return;
        }
        let query = *query;
        let answered = self.gossip.0.with(move |gossip, now| gossip.respond(now, query, output)).await;
        if let Ok(Err(error)) = answered {
            self.log.line(Level::Warn, format!("agent: Failed to respond to query '{name}': {error}"));
        }
    }
}

fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Members { kind, .. } => member_event_name(*kind),
        Event::Query { .. } => "query",
        _ => "user",
    }
}
