//! One task for each cluster that is looked after: pass after pass, with a pause, or at once when somebody nudges it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_stdx::{OnError, Supervisor};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Clusters that one process looks after.
const CLUSTERS_MAX: usize = 1000;

/// What a pass tells the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look again after the pause.
    Again,
    /// There is nothing to look after any more.
    Gone,
}

/// One pass over a cluster. Cancelled, it ends where a later one can go on.
pub type Pass = dyn Fn(String, CancellationToken) -> Pin<Box<dyn Future<Output = Next> + Send>> + Send + Sync;

/// Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    pass: Box<Pass>,
    pause: Duration,
    supervisor: Supervisor,
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Clone)]
struct Kept {
    nudge: Arc<Notify>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Keeper {
    /// `pause` is the time from the end of one pass to the next.
    pub fn new(pause: Duration, pass: Box<Pass>) -> Self {
        Self { inner: Arc::new(Inner { pass, pause, supervisor: Supervisor::new(), kept: Mutex::default() }) }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keeps(&self, id: &str) -> bool {
        self.kept().contains_key(id)
    }

    /// Begins with a pass at once. False: it is looked after already, or there are too many.
    pub fn attach(&self, id: &str) -> bool {
        let kept = Kept { nudge: Arc::default(), stop: CancellationToken::new(), ended: CancellationToken::new() };
        {
            let mut all = self.kept();
            if all.contains_key(id) || all.len() >= CLUSTERS_MAX {
                return false;
            }
            all.insert(id.to_owned(), kept.clone());
        }
        let (keeper, id) = (self.clone(), id.to_owned());
        self.inner.supervisor.spawn("keeper of a cluster", OnError::Log, async move {
            // However the task ends, whoever waits for it is told.
            let _ended = kept.ended.clone().drop_guard();
            keeper.keep(&id, &kept).await;
            keeper.kept().remove(&id);
            Ok::<(), std::convert::Infallible>(())
        });
        true
    }

    async fn keep(&self, id: &str, kept: &Kept) {
        loop {
            if (self.inner.pass)(id.to_owned(), kept.stop.clone()).await == Next::Gone {
                return;
            }
            tokio::select! {
                biased;
                () = kept.stop.cancelled() => return,
                // A nudge that comes during a pass is kept by `Notify` until here.
                () = kept.nudge.notified() => {}
                // The time that has passed does not matter.
                () = tokio::time::sleep(self.inner.pause) => {}
            }
        }
    }

    /// The next pass comes at once.
    pub fn nudge(&self, id: &str) {
        if let Some(kept) = self.kept().get(id) {
            kept.nudge.notify_one();
        }
    }

    /// Ends the pass that goes on, and waits until it has ended. False: nobody looked after it.
    pub async fn detach(&self, id: &str) -> bool {
        let Some(kept) = self.kept().get(id).cloned() else { return false };
        kept.stop.cancel();
        kept.ended.cancelled().await;
        true
    }

    /// Ends all passes where later ones can go on. True when all have ended in time.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let all: Vec<Kept> = self.kept().values().cloned().collect();
        for kept in &all {
            kept.stop.cancel();
        }
        let waiting = async {
            for kept in &all {
                kept.ended.cancelled().await;
            }
        };
        let in_time = tokio::time::timeout(deadline, waiting).await.is_ok();
        self.inner.supervisor.shutdown(Duration::ZERO).await;
        in_time
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn keeper(pause: Duration, next: Next) -> (Keeper, mpsc::Receiver<String>) {
        let (sender, passes) = mpsc::channel(16);
        let pass = move |id: String, _| {
            let sender = sender.clone();
            let pass: Pin<Box<dyn Future<Output = Next> + Send>> = Box::pin(async move {
                sender.send(id).await.ok();
                next
            });
            pass
        };
        (Keeper::new(pause, Box::new(pass)), passes)
    }

    #[tokio::test]
    async fn a_nudge_makes_a_pass_and_the_pause_does_too() {
        let (keeper, mut passes) = keeper(Duration::from_hours(1), Next::Again);
        assert!(keeper.attach("a") && !keeper.attach("a"));
        assert_eq!(passes.recv().await.as_deref(), Some("a"));
        keeper.nudge("a");
        assert_eq!(passes.recv().await.as_deref(), Some("a"));
        assert!(keeper.detach("a").await && !keeper.keeps("a") && !keeper.detach("a").await);
        assert!(keeper.attach("a"));
        assert_eq!(passes.recv().await.as_deref(), Some("a"));
        assert!(keeper.shutdown(Duration::from_mins(1)).await);
        let (keeper, mut passes) = self::keeper(Duration::ZERO, Next::Again);
        keeper.attach("b");
        assert_eq!((passes.recv().await, passes.recv().await), (Some("b".into()), Some("b".into())));
        assert!(keeper.shutdown(Duration::from_mins(1)).await);
    }

    #[tokio::test]
    async fn what_is_gone_is_not_looked_after() {
        let (keeper, mut passes) = keeper(Duration::from_hours(1), Next::Gone);
        keeper.attach("a");
        assert_eq!(passes.recv().await.as_deref(), Some("a"));
        // The task ends by itself; detaching waits for that or finds it gone.
        keeper.detach("a").await;
        assert!(!keeper.keeps("a"));
    }
}
