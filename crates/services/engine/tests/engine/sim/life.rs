//! A process that dies, is stopped for a while, or is interrupted, at any of its calls.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use muster_provider::fake::Edge;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What happens to a process at one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    Dies(Edge),
    /// It stands still, as one that got SIGSTOP or whose machine was suspended.
    Sleeps(Duration),
    Interrupted,
}

/// One process's life, counted in calls. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) pid: u32,
    pub(crate) token: CancellationToken,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    dead: watch::Sender<bool>,
    /// Until then it stands still.
    asleep: watch::Sender<Option<Instant>>,
}

struct Plan {
    calls: Vec<&'static str>,
    /// At which call, counted from 1.
    mishap: Option<(usize, Mishap)>,
}

impl Life {
    pub(crate) fn new(pid: u32, mishap: Option<(usize, Mishap)>) -> Self {
        let plan = Mutex::new(Plan { calls: Vec::new(), mishap });
        let shared = Shared { plan, dead: watch::Sender::new(false), asleep: watch::Sender::new(None) };
        Self { pid, token: CancellationToken::new(), shared: Arc::new(shared) }
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.plan().calls.clone()
    }

    pub(crate) async fn died(&self) {
        self.shared.dead.subscribe().wait_for(|dead| *dead).await.unwrap();
    }

    /// Returns when it has been put to sleep.
    pub(crate) async fn slept(&self) {
        self.shared.asleep.subscribe().wait_for(Option::is_some).await.unwrap();
    }

    pub(crate) fn was_asleep(&self) -> bool {
        self.shared.asleep.borrow().is_some()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn call<T>(&self, what: &'static str, call: impl Future<Output = T> + Send) -> T {
        self.hang_if_dead().await;
        let mishap = {
            let mut plan = self.plan();
            plan.calls.push(what);
            let number = plan.calls.len();
            plan.mishap.filter(|(at, _)| *at == number).map(|(_, mishap)| mishap)
        };
        if mishap == Some(Mishap::Dies(Edge::Before)) {
            self.shared.dead.send_replace(true);
            pending::<()>().await;
        }
        let result = call.await;
        match mishap {
            Some(Mishap::Dies(_)) => drop(self.shared.dead.send_replace(true)),
            Some(Mishap::Sleeps(time)) => drop(self.shared.asleep.send_replace(Some(Instant::now() + time))),
            Some(Mishap::Interrupted) => self.token.cancel(),
            None => {}
        }
        self.hang_if_dead().await;
        result
    }

    pub(crate) async fn hang_if_dead(&self) {
        if *self.shared.dead.borrow() {
            pending::<()>().await;
        }
    }

    fn asleep(&self) -> Option<Instant> {
        (*self.shared.asleep.borrow()).filter(|until| Instant::now() < *until)
    }

    /// For what runs beside the process's own course.
    pub(crate) async fn be_awake(&self) {
        self.hang_if_dead().await;
        if let Some(until) = self.asleep() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Runs the process's own course: nothing of it moves while it sleeps.
    pub(crate) async fn run<T>(&self, course: impl Future<Output = T>) -> T {
        let mut course = pin!(course);
        loop {
            let step = poll_fn(|context| match course.as_mut().poll(context) {
                Poll::Ready(end) => Poll::Ready(Some(end)),
                Poll::Pending if self.asleep().is_some() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match step.await {
                Some(end) => return end,
                None => self.be_awake().await,
            }
        }
    }
}
