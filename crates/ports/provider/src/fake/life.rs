//! The life of a handle, which can be made to end at a chosen call.

use std::future::pending;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// On which side of a call's effect a handle dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// The call was about to be made.
    Before,
    /// It happened, and nobody heard the answer.
    After,
}

#[derive(Debug, Default)]
pub(super) struct Life {
    plan: Mutex<Plan>,
    dead: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    death: Option<(u64, Edge)>,
}

impl Life {
    pub(super) fn die_at(&self, call: u64, edge: Edge) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).death = Some((call, edge));
    }

    pub(super) fn calls(&self) -> u64 {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    pub(super) async fn died(&self) {
        // The sender lives in `self`, so the channel cannot close.
        drop(self.dead.subscribe().wait_for(|dead| *dead).await);
    }

    /// Numbers a call; does not return if the handle is dead or dies here.
    pub(super) async fn enter(&self) -> u64 {
        self.hang_if_dead().await;
        let (number, dies) = {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.calls += 1;
            (plan.calls, plan.death == Some((plan.calls, Edge::Before)))
        };
        if dies {
            self.dead.send_replace(true);
        }
        self.hang_if_dead().await;
        number
    }

    /// Ends a call whose effect has happened; does not return if the handle is dead or dies here.
    pub(super) async fn leave(&self, number: u64) {
        let dies = self.plan.lock().unwrap_or_else(PoisonError::into_inner).death == Some((number, Edge::After));
        if dies {
            self.dead.send_replace(true);
        }
        self.hang_if_dead().await;
    }

    pub(super) async fn hang_if_dead(&self) {
        if *self.dead.borrow() {
            pending::<()>().await;
        }
    }
}
