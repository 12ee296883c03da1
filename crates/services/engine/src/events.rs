//! Telling what goes on: to whoever started the run, at once, and to the store's log, in batches.

use std::sync::{Arc, Mutex, PoisonError};

use muster_api::{EVENT_VERSION, Event, EventBody};
use muster_plan::{Plan, Verb};
use muster_stdx::chain;
use muster_store::Store;
use muster_types::{ClusterName, NodeName, Phase, RunId, Timestamp};
use tokio::sync::mpsc;

use crate::EngineConfig;
use crate::redact::Redactor;

/// Events that wait for the log; the emitter that fills it writes them out before it goes on.
const PENDING_MAX: usize = 1024;

/// One run's voice.
pub(crate) struct Emitter {
    run: RunId,
    cluster: ClusterName,
    store: Arc<dyn Store>,
    sender: mpsc::Sender<Event>,
    pub(crate) redactor: Redactor,
    pending: Mutex<Vec<Event>>,
}

impl Emitter {
    pub(crate) fn new(cluster: ClusterName, config: &EngineConfig) -> Self {
        let (store, sender) = (Arc::clone(&config.store), config.events.clone());
        let redactor = Redactor::new(config.redact.clone());
        Self { run: run_id(), cluster, store, sender, redactor, pending: Mutex::default() }
    }

    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// Waits while the listener is slow; a listener that has gone is no reason to stop.
    pub(crate) async fn emit(&self, mut body: EventBody) {
        self.redactor.clean_event(&mut body);
        let event = Event { v: EVENT_VERSION, at: Timestamp::now(), run: self.run.clone(), body };
        // The lines of the steps stay on the nodes, which keep them; the log tells what happened, not what was said.
        let logged = !matches!(event.body, EventBody::Output { .. });
        let full = logged && {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.push(event.clone());
            pending.len() >= PENDING_MAX
        };
        if full {
            self.flush().await;
        }
        if self.sender.send(event).await.is_err() {
            tracing::trace!("nobody listens to the events of this run");
        }
    }

    /// Who gives the orders of this run, and by which plan.
    pub(crate) async fn ordered(&self, config: &EngineConfig, plan: &str) {
        let holder = &config.holder;
        let by = format!("process {} on {} ({})", holder.pid, holder.host, holder.command);
        self.emit(EventBody::Ordered { by, plan: plan.to_owned() }).await;
    }

    /// What the plan has for each node that it does something to.
    pub(crate) async fn decided(&self, plan: &Plan) {
        for action in plan.actions().iter().filter(|action| action.verb != Verb::Keep) {
            let body = EventBody::Decided {
                node: action.node.clone(),
                verb: action.verb.as_str().to_owned(),
                reason: action.reason.clone(),
                machine: action.machine.clone(),
            };
            self.emit(body).await;
        }
    }

    pub(crate) async fn phase(&self, node: &NodeName, phase: Phase, waiting_for: &str, reason: &str) {
        let body = EventBody::Phase {
            node: node.clone(),
            phase,
            waiting_for: waiting_for.to_owned(),
            reason: reason.to_owned(),
        };
        self.emit(body).await;
    }

    pub(crate) async fn warn(&self, node: Option<&NodeName>, message: impl Into<String>) {
        self.emit(EventBody::Warning { node: node.cloned(), message: message.into() }).await;
    }

    /// Writes what is pending to the log. A log that cannot be written is told of and stops nothing.
    pub(crate) async fn flush(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if pending.is_empty() {
            return;
        }
        if let Err(error) = self.store.append_events(&self.cluster, &pending).await {
            tracing::warn!(cluster = %self.cluster, error = chain(&error), "events were not logged");
        }
    }
}

/// Sorts by time and is unique.
fn run_id() -> RunId {
    RunId::new(format!("{}-{:08x}", Timestamp::now().strftime("%Y%m%dT%H%M%S"), rand::random::<u32>()))
}
