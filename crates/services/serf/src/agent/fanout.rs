//! Events for those who listen over the RPC.

use std::sync::{Arc, Mutex, PoisonError};

use muster_gossip::Event;
use tokio::sync::mpsc;

use super::handlers::EventFilter;

/// Events that wait for one listener; what is more is lost.
const WAITING_MAX: usize = 512;

type Listener = (Vec<EventFilter>, mpsc::Sender<Arc<Event>>);

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fanout {
    listeners: Arc<Mutex<Vec<Listener>>>,
}

impl Fanout {
    /// Ends when the receiver is dropped.
    pub(crate) fn listen(&self, filters: Vec<EventFilter>) -> mpsc::Receiver<Arc<Event>> {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((filters, sender));
        events
    }

    /// How many were too slow for it.
    pub(crate) fn tell(&self, event: &Arc<Event>) -> usize {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = 0;
        listeners.retain(|(filters, sender)| {
            if filters.iter().any(|filter| filter.takes(event)) {
                match sender.try_send(event.clone()) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => lost += 1,
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                }
            }
            !sender.is_closed()
        });
        lost
    }
}
