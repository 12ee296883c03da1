//! What the nodes of one run share, and the one way in which a provider is asked to do something.

use std::future::Future;
use std::time::Duration;

use muster_provider::{ProviderError, Status};
use muster_stdx::Backoff;
use muster_types::Generation;
use tokio::sync::Semaphore;

use crate::EngineConfig;
use crate::bake::Kitchen;
use crate::blueprint::Blueprint;
use crate::board::Board;
use crate::events::Emitter;
use crate::fault::{Fault, Stop};
use crate::lease::Hold;

pub(crate) struct Run<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) hold: &'a Hold,
    pub(crate) emitter: &'a Emitter,
    pub(crate) owner_tag: &'a str,
    pub(crate) blueprint: &'a dyn Blueprint,
    pub(crate) board: Board,
    pub(crate) kitchen: Kitchen,
    /// Machines at work at the provider.
    pub(crate) provider_slots: Semaphore,
    /// Agents at work.
    pub(crate) agent_slots: Semaphore,
}

/// Machines at work at once: what the provider takes, and what the caller wants.
pub(crate) fn concurrency(config: &EngineConfig) -> usize {
    config.concurrency_max.min(config.provider.capabilities().concurrency_max).max(1)
}

impl Run<'_> {
    pub(crate) fn generation(&self) -> Generation {
        self.hold.generation()
    }

    pub(crate) async fn ask<T, F>(&self, operation: &'static str, call: impl Fn() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        ask(self.config, self.hold, (operation, self.config.limits.provider_call), call).await
    }
}

/// Asks the provider, again while its errors are temporary and tries are left. The lease is checked before each try.
pub(crate) async fn ask<T, F>(
    config: &EngineConfig,
    hold: &Hold,
    (operation, limit): (&'static str, Duration),
    call: impl Fn() -> F,
) -> Result<T, Stop>
where
    F: Future<Output = Result<T, ProviderError>>,
{
    let limits = &config.limits;
    let mut backoff = Backoff::new(limits.pause_first, limits.pause_longest);
    let mut uncertain = false;
    let mut attempt = 0;
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        attempt += 1;
        hold.check()?;
        let error = match tokio::time::timeout(limit, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                let words = format!("the provider gave no answer to {operation} within {} s", limit.as_secs());
                let hint = "run the same command again; what was begun is found again";
                return Err(Fault { uncertain: true, ..Fault::timeout(words, hint) }.into());
            }
        };
        let pause = backoff.pause();
        if error.status == Status::Throttled && tokio::time::Instant::now() + pause < deadline {
            // Nothing was done, and it is no failure: whoever asks less often gets through.
            attempt -= 1;
        } else {
            uncertain |= error.status == Status::Temporary;
            if !error.is_temporary() || attempt >= limits.provider_tries_max {
                return Err(Fault { uncertain, ..Fault::provider(&error) }.into());
            }
        }
        tokio::time::sleep(pause).await;
    }
}
