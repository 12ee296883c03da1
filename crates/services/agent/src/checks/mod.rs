//! Health checks on the node: tried at once, then again with growing pauses until they pass or their time is up.

mod attempt;
mod command;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use muster_api::{Check, CheckEvent, CheckState};
use muster_stdx::{Backoff, OnError, Supervisor};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use attempt::Miss;

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// A try that starts when the time is up gets this long nevertheless: each check has a last look.
const ATTEMPT_SHORTEST: Duration = Duration::from_secs(1);
/// Tries at once; a node has few processors, and each command is a process.
const ATTEMPTS_MAX: usize = 32;
/// Longest time that a check may have: longer ones would only overflow a clock.
const TIMEOUT_LONGEST: Duration = Duration::from_hours(24 * 365);
const EVENTS_MAX: usize = 64;

/// Runs all checks at once against a node's own address, and tells every change of what keeps one from passing.
///
/// The stream ends when every check has passed or one has failed for good; the others are then given up. A check fails
/// when its time is up, with the last reason, or at once when it can never pass. A reason does not repeat what is
/// checked: that is in the event. Dropping the receiver ends the checks and their processes.
///
/// `Ping` and `Agent` pass as soon as they get here: the owner checks those from outside, and that the question arrived
/// is half of the answer.
pub fn run(checks: Vec<Check>, address: IpAddr, supervisor: &Supervisor) -> mpsc::Receiver<CheckEvent> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    supervisor.spawn("checks", OnError::Log, async move {
        watch(&checks, address, &events).await;
        Ok::<(), Infallible>(())
    });
    receiver
}

async fn watch(checks: &[Check], address: IpAddr, events: &mpsc::Sender<CheckEvent>) {
    let attempts = Semaphore::new(ATTEMPTS_MAX);
    let mut running: FuturesUnordered<_> = checks
        .iter()
        .enumerate()
        .map(|(index, check)| Watched { index, check, address, events, attempts: &attempts }.until_decided())
        .collect();
    let decided = async {
        while let Some(passed) = running.next().await {
            if !passed {
                return;
            }
        }
    };
    tokio::select! {
        // Either way all that is left of the checks is dropped, and with it what they started.
        () = decided => {}
        () = events.closed() => {}
    }
}

struct Watched<'a> {
    index: usize,
    check: &'a Check,
    address: IpAddr,
    events: &'a mpsc::Sender<CheckEvent>,
    attempts: &'a Semaphore,
}

impl Watched<'_> {
    /// True when it has passed.
    async fn until_decided(self) -> bool {
        let until = Instant::now() + Duration::from_millis(self.check.timeout_ms).min(TIMEOUT_LONGEST);
        let mut pauses = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        let mut told = None;
        loop {
            let missed = self.attempt(until, told.as_deref()).await;
            let left = until.saturating_duration_since(Instant::now());
            let (reason, never) = match missed {
                Ok(()) => {
                    self.tell(CheckState::Passed, None).await;
                    return true;
                }
                Err(Miss::NotYet(reason)) => (reason, false),
                Err(Miss::Never(reason)) => (reason, true),
            };
            if never || left.is_zero() {
                self.tell(CheckState::Failed, Some(reason)).await;
                return false;
            }
            if told.as_ref() != Some(&reason) {
                self.tell(CheckState::Waiting, Some(reason.clone())).await;
                told = Some(reason);
            }
            sleep(pauses.pause().min(left)).await;
        }
    }

    /// `told` is what an earlier try found; it says more than that the time ran out in the middle of a try.
    async fn attempt(&self, until: Instant, told: Option<&str>) -> Result<(), Miss> {
        // The semaphore is never closed, so this can only wait, and what it waits for is limited in time.
        let _permit = self.attempts.acquire().await;
        let left = until.saturating_duration_since(Instant::now());
        let longest = attempt::longest(&self.check.kind);
        let limit = left.clamp(ATTEMPT_SHORTEST, longest);
        match timeout(limit, Box::pin(attempt::attempt(&self.check.kind, self.address))).await {
            Ok(result) => result,
            Err(_) if limit < longest && told.is_some() => Err(Miss::NotYet(told.unwrap_or_default().to_owned())),
            Err(_) => Err(Miss::NotYet(format!("no answer within {}", seconds(limit)))),
        }
    }

    /// Nobody listening any more is seen by `watch`.
    async fn tell(&self, state: CheckState, reason: Option<String>) {
        let check = attempt::describe(&self.check.kind);
        self.events.send(CheckEvent { index: self.index, check, state, reason }).await.ok();
    }
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
