//! The last step before ready: every health check passes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use muster_api::{Check, CheckEvent, CheckKind, CheckState};
use muster_stdx::Backoff;
use muster_types::Phase;
use tokio::time::Instant;

use crate::compile::Outside;
use crate::fault::{Fault, Stop};
use crate::link::{AgentLink, LinkError};
use crate::node::NodeRun;

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// How long one echo may take.
const PING_LIMIT: Duration = Duration::from_secs(1);

impl NodeRun<'_> {
    /// Pings are sent from here, the rest of the checks is done by the agent. That the agent answers needs no asking: it has just
    /// told the end of the configuration.
    pub(crate) async fn check(
        &mut self,
        link: &Arc<dyn AgentLink>,
        (checks, outside): (&[Check], Option<&Outside>),
    ) -> Result<(), Stop> {
        let pings = checks.iter().filter(|check| check.kind == CheckKind::Ping).map(|check| check.timeout_ms).min();
        let asked = |check: &&Check| !matches!(check.kind, CheckKind::Ping | CheckKind::Agent);
        let asked: Vec<Check> = checks.iter().filter(asked).cloned().collect();
        if pings.is_none() && asked.is_empty() && outside.is_none() {
            return Ok(());
        }
        self.enter(Phase::Checking, "").await;
        if let Some(timeout_ms) = pings {
            self.ping(link, Duration::from_millis(timeout_ms)).await?;
        }
        if !asked.is_empty() {
            self.ask_checks(link, &asked).await?;
        }
        if let Some(outside) = outside {
            Box::pin(self.check_outside(link, outside)).await?;
        }
        Ok(())
    }

    async fn ping(&mut self, link: &Arc<dyn AgentLink>, limit: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + limit;
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        let mut told = String::new();
        loop {
            let reason = match tokio::time::timeout_at(deadline.min(Instant::now() + PING_LIMIT), link.ping()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(failed("ping", &reason, limit).into());
            }
            self.tell_waiting(&mut told, format!("ping: {reason}")).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks again when the connection breaks; the longest time limit of a check bounds it all.
    async fn ask_checks(&mut self, link: &Arc<dyn AgentLink>, checks: &[Check]) -> Result<(), Stop> {
        let longest = checks.iter().map(|check| check.timeout_ms).max().unwrap_or_default();
        let limit = Duration::from_millis(longest) + self.run.config.limits.ask;
        let deadline = Instant::now() + limit;
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        let mut told = String::new();
        loop {
            self.run.hold.check()?;
            let asked = tokio::time::timeout_at(deadline, self.ask_checks_once(link, checks, &mut told)).await;
            let error = match asked {
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(fault))) => return Err(fault.into()),
                Ok(Err(error)) if error.is_temporary() => error.to_string(),
                Ok(Err(error)) => return Err(failed("of the agent", &error.to_string(), limit).into()),
                Err(_) => "no answer".to_owned(),
            };
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(failed("of the agent", &error, limit).into());
            }
            self.tell_waiting(&mut told, format!("its agent: {error}")).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// `None` when all have passed.
    async fn ask_checks_once(
        &mut self,
        link: &Arc<dyn AgentLink>,
        checks: &[Check],
        told: &mut String,
    ) -> Result<Option<Fault>, LinkError> {
        let mut events = link.checks(checks).await?;
        let mut passed = BTreeSet::new();
        while let Some(event) = events.next().await {
            let CheckEvent { index, check, state, reason } = event?;
            let reason = reason.unwrap_or_default();
            match state {
                CheckState::Passed => drop(passed.insert(index)),
                CheckState::Waiting => self.tell_waiting(told, format!("{check}: {reason}")).await,
                CheckState::Failed => {
                    let limit = checks.get(index).map(|check| Duration::from_millis(check.timeout_ms));
                    return Ok(Some(failed(&check, &reason, limit.unwrap_or_default())));
                }
            }
        }
        if passed.len() == checks.len() {
            return Ok(None);
        }
        Err(LinkError::Unreachable { reason: "the connection ended in the middle of the checks".to_owned() })
    }

    async fn tell_waiting(&mut self, told: &mut String, words: String) {
        if *told != words {
            self.enter(Phase::Checking, &words).await;
            *told = words;
        }
    }
}

fn failed(check: &str, reason: &str, limit: Duration) -> Fault {
    let words = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let hint = "see what the node runs with `muster exec`, or give the check more time with its `timeout`";
    let reason = format!("check {check} did not pass within {} s{words}", limit.as_secs_f32());
    Fault { step: Some(format!("check {check}")), ..Fault::new(reason, hint) }
}
