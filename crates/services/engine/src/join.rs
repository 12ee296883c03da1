//! Reaching a node's agent, and enrolling it where it is not yet.

use std::sync::Arc;

use muster_api::StatusReply;
use muster_stdx::Backoff;
use muster_types::Phase;
use tokio::time::Instant;

use crate::fault::{Fault, Stop};
use crate::link::{AgentLink, LinkError};
use crate::node::NodeRun;

/// What is asked of the agent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Status,
    Enrol,
    Renew,
}

impl NodeRun<'_> {
    pub(crate) fn link(&self) -> Result<Arc<dyn AgentLink>, Stop> {
        let Some(address) = self.record.addresses.first() else {
            return Err(Fault::new("it has no address", "check the network settings of the provider").into());
        };
        Ok(self.run.config.links.node(self.name(), *address))
    }

    /// Returns once the agent answers with its own certificate and has said what the node is.
    pub(crate) async fn join(&mut self) -> Result<(), Stop> {
        let _slot = self.run.agent_slots.acquire().await;
        self.enter(Phase::Joining, "").await;
        let link = self.link()?;
        let limits = &self.run.config.limits;
        let deadline = Instant::now() + limits.reach;
        let mut backoff = Backoff::new(limits.pause_first.min(FIRST_PAUSE), limits.pause_longest);
        let mut ask = if self.fresh { Ask::Enrol } else { Ask::Status };
        let mut refusal: Option<LinkError> = None;
        let mut told = String::new();
        loop {
            self.run.hold.check()?;
            let asked = tokio::time::timeout_at(deadline, self.ask_agent(&*link, ask)).await;
            let error = match asked {
                Ok(Ok(Some(status))) => return self.joined(status).await,
                // What it says of itself is asked for next; that needs no pause.
                Ok(Ok(None)) => {
                    ask = Ask::Status;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => LinkError::Unreachable { reason: "no answer".to_owned() },
            };
            match (ask, &error) {
                (Ask::Status, LinkError::NotEnrolled) => {
                    if let Some(refusal) = refusal.take() {
                        return Err(self.not_enrolled(&refusal).into());
                    }
                    ask = Ask::Enrol;
                    continue;
                }
                (Ask::Status, LinkError::Expired) => {
                    ask = Ask::Renew;
                    continue;
                }
                (Ask::Status | Ask::Renew, error) if !error.is_temporary() => return Err(unwelcome(error).into()),
                (Ask::Renew, _) => ask = Ask::Status,
                // It may be enrolled all the same: its status tells.
                (Ask::Enrol, error) if !error.is_temporary() => {
                    refusal = Some(error.clone());
                    ask = Ask::Status;
                    continue;
                }
                // Enrolling again is safe, also when only the reply was lost.
                (Ask::Enrol | Ask::Status, _) => {}
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                let words = format!("its agent did not answer within {} s: {error}", limits.reach.as_secs());
                let hint = "see the machine's console; `muster up` tries again";
                return Err(Fault::timeout(words, hint).into());
            }
            if told != error.to_string() {
                told = error.to_string();
                self.enter(Phase::Joining, &format!("its agent: {told}")).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_agent(&self, link: &dyn AgentLink, ask: Ask) -> Result<Option<StatusReply>, LinkError> {
        match (ask, &self.record.enrol_token) {
            (Ask::Status, _) => link.status().await.map(Some),
            (Ask::Renew, _) => {
                link.renew().await?;
                link.status().await.map(Some)
            }
            (Ask::Enrol, Some(token)) => link.enrol(token).await.map(|()| None),
            (Ask::Enrol, None) => {
                Err(LinkError::Untrusted { reason: "it had joined before, and has lost its certificate".to_owned() })
            }
        }
    }

    async fn joined(&mut self, status: StatusReply) -> Result<(), Stop> {
        if status.token_reuses > 0 {
            let words = format!("its enrolment token was used again {} times by somebody else", status.token_reuses);
            self.run.emitter.warn(Some(self.name()), words).await;
        }
        self.run.board.set_facts(self.name(), &status.facts);
        self.run.board.arrived(self.name());
        self.record.facts = Some(status.facts);
        Ok(())
    }

    fn not_enrolled(&self, refusal: &LinkError) -> Fault {
        let hint = match refusal {
            LinkError::Refused { hint, .. } if !hint.is_empty() => hint.clone(),
            _ => format!("give it a new machine: `muster up --replace {}`", self.name()),
        };
        Fault::new(format!("it cannot be enrolled: {refusal}"), hint)
    }
}

/// Agents of small machines are there within milliseconds.
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

fn unwelcome(error: &LinkError) -> Fault {
    let hint = match error {
        LinkError::Refused { hint, .. } if !hint.is_empty() => hint.clone(),
        _ => "another machine may have taken its address; look at it with the provider's own tools".to_owned(),
    };
    Fault::new(format!("its agent cannot be used: {error}"), hint)
}
