//! Finding others again and again: those of the snapshot, and those that `retry_join` names.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use muster_gossip::{JoinOptions, Status};
use muster_stdx::{Backoff, OnError, Supervisor};
use rand::seq::SliceRandom as _;

use super::handle::Handle;
use super::log::Level;
use super::settings::Settings;

/// Addresses of a snapshot that are tried at once.
const REJOIN_AT_ONCE: usize = 16;
/// Between rounds through the snapshot, growing.
const REJOIN_PAUSE: Duration = Duration::from_secs(1);
const REJOIN_PAUSE_MAX: Duration = Duration::from_mins(1);
/// Rounds through the snapshot; with the longest pauses this is two days.
const REJOIN_ROUNDS: u32 = 3000;

pub(crate) fn start(supervisor: &Supervisor, handle: &Handle, settings: &Settings, known: Vec<SocketAddr>) {
    if !known.is_empty() {
        supervisor.spawn("rejoin", OnError::Log, rejoin(handle.clone(), known));
    }
    if !settings.config.retry_join.is_empty() {
        let retry = Retry {
            addresses: settings.config.retry_join.clone(),
            replay: settings.config.replay_on_join,
            interval: settings.retry_interval,
            max: settings.config.retry_max_attempts.filter(|max| *max > 0),
        };
        supervisor.spawn("retry join", OnError::Log, retry.run(handle.clone()));
    }
}

/// Goes through all, in any order, until one is there; and again, as long as this member is alone.
async fn rejoin(handle: Handle, mut known: Vec<SocketAddr>) -> Result<(), Infallible> {
    known.shuffle(&mut rand::rng());
    let mut backoff = Backoff::new(REJOIN_PAUSE, REJOIN_PAUSE_MAX);
    for _ in 0..REJOIN_ROUNDS {
        for some in known.chunks(REJOIN_AT_ONCE) {
            let joined = handle.0.gossip.join(some.to_vec(), JoinOptions { replay: true }).await;
            let Ok(joined) = joined else { return Ok(()) };
            if joined.contacted > 0 {
                handle.log().line(Level::Info, "serf: Re-joined to previously known nodes");
                return Ok(());
            }
        }
        handle.log().line(Level::Warn, "serf: Failed to re-join any previously known node; trying again");
        tokio::time::sleep(backoff.pause()).await;
        if !is_alone(&handle).await {
            return Ok(());
        }
    }
    Ok(())
}

async fn is_alone(handle: &Handle) -> bool {
    let alive = |gossip: &mut muster_gossip::Gossip, _| {
        gossip.members().filter(|member| member.status == Status::Alive).count()
    };
    handle.0.gossip.with(alive).await.is_ok_and(|alive| alive < 2)
}

struct Retry {
    addresses: Vec<String>,
    replay: bool,
    interval: Duration,
    max: Option<u32>,
}

impl Retry {
    async fn run(self, handle: Handle) -> Result<(), Infallible> {
        let mut attempts = 0;
        loop {
            handle.log().line(Level::Info, format!("agent: Joining cluster...(replay: {})", self.replay));
            match handle.join(&self.addresses, self.replay).await {
                Ok(joined) => {
                    let line = format!("agent: Join completed. Synced with {joined} initial agents");
                    handle.log().line(Level::Info, line);
                    return Ok(());
                }
                Err(error) => {
                    attempts += 1;
                    let seconds = self.interval.as_secs();
                    let line = format!("agent: Join failed: {error}, retrying in {seconds}s");
                    handle.log().line(Level::Warn, line);
                }
            }
            if self.max.is_some_and(|max| attempts > max) {
                handle.log().line(Level::Err, "agent: maximum retry join attempts made, exiting");
                handle.fail();
                return Ok(());
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}
