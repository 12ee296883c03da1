//! Tasks with names, one token that ends them, and a wait that has a deadline.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the error of a task means to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The component cannot go on: everything is cancelled.
    Shutdown,
    /// One connection or one request less.
    Log,
}

/// Spawns, names, cancels and awaits the tasks of one component. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Supervisor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the component ends.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task until it ends or the component does. A task is dropped at an await when the component ends.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F, E>(&self, name: &'static str, on_error: OnError, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        let token = self.token.clone();
        let tracked = self.tracker.track_future(async move {
            let result = tokio::select! {
                // Losing the task is what cancelling means.
                () = token.cancelled() => return,
                result = task => result,
            };
            if let Err(error) = result {
                match on_error {
                    OnError::Log => tracing::debug!(task = name, %error, "task ended"),
                    OnError::Shutdown => {
                        tracing::error!(task = name, %error, "task failed, shutting down");
                        token.cancel();
                    }
                }
            }
        });
        drop(tokio::spawn(tracked));
    }

    /// Cancels every task and waits for them, at most `deadline`. True when all have ended.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_that_matters_ends_the_others() {
        let supervisor = Supervisor::new();
        supervisor.spawn("waits", OnError::Log, std::future::pending::<Result<(), String>>());
        supervisor.spawn("fails", OnError::Shutdown, async { Err("broken".to_owned()) });
        supervisor.token().cancelled().await;
        assert!(supervisor.shutdown(Duration::from_secs(5)).await);
    }
}
