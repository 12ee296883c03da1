//! A node whose files speak of others is given them anew when those come, go or change.

use muster_types::{NodeName, Phase, Redacted};

use crate::EngineError;
use crate::compile::Rendered;
use crate::configure::some;
use crate::drain::Drain;
use crate::fault::{Fault, Stop};
use crate::node::NodeRun;
use crate::outcome::NodeOutcome;
use crate::tide::Behind;

impl NodeRun<'_> {
    /// The node is as it should be, as long as the others stay as they are.
    pub(crate) async fn stay(&mut self) -> Result<NodeOutcome, EngineError> {
        self.run.board.end(self.name(), Ok(()));
        self.run.board.follow(self.name());
        self.run.board.settle(self.name());
        let mut followed = self.follow().await;
        loop {
            let fault = match followed {
                Ok(()) => return Ok(self.outcome(Phase::Ready, Fault::default())),
                Err(Stop::Run(error)) => return Err(*error),
                Err(Stop::Node(fault)) => *fault,
            };
            let Some(verb) = self.try_again(&fault).await else {
                self.write_end(Phase::Failed, &fault.reason).await?;
                self.tell_failure(&fault).await;
                self.run.board.end_late(self.name(), &fault.reason);
                return Ok(self.outcome(Phase::Failed, fault));
            };
            followed = match self.attempt(verb).await {
                Ok(()) => {
                    self.be_ready().await?;
                    self.follow().await
                }
                Err(stop) => Err(stop),
            };
        }
    }

    /// Ends when the members will not change any more and the node has taken the last of them in. One application takes
    /// in all that have changed by then.
    async fn follow(&mut self) -> Result<(), Stop> {
        let board = &self.run.board;
        let Some(mut version) = board.follows_at(self.name()) else { return Ok(()) };
        while board.news(version).await {
            board.gather(self.run.config.limits.gather).await;
            let seen;
            let rendered;
            (seen, rendered) = self.render().await?;
            let left_out = rendered.left_out.clone();
            if self.record.document_hash.as_ref() != Some(&rendered.hash) {
                self.take_in(rendered).await?;
            }
            version = seen;
            board.took_in(self.name(), version, left_out);
        }
        Ok(())
    }

    /// What was applied is recorded when its checks have passed; what a crash leaves, the agent tells the next run.
    async fn take_in(&mut self, rendered: Rendered) -> Result<(), Stop> {
        let _slot = self.run.agent_slots.acquire().await;
        self.enter(Phase::Configuring, "").await;
        let link = self.link()?;
        self.applied += 1;
        self.apply(&link, &rendered).await?;
        self.record.document = Some(Redacted::new(rendered.document));
        self.record.document_hash = Some(rendered.hash);
        self.check(&link, (&rendered.checks, rendered.outside.as_ref())).await?;
        self.record.phase = Phase::Ready;
        self.save().await?;
        self.enter(Phase::Ready, "").await;
        self.ready_after = self.begun.elapsed();
        Ok(())
    }

    /// Returns when those that the node needs know of it, as far as their files speak of it.
    pub(crate) async fn be_taken_in(&mut self) -> Result<(), Stop> {
        let waits_for = self.run.board.not_aware_of(self.name());
        if !waits_for.is_empty() {
            self.enter(Phase::Configuring, &format!("{} to take it in", some(&waits_for))).await;
        }
        self.run.board.taken_in(self.name()).await.map_err(|Behind { follower, reason }| {
            let hint = put_right(&follower);
            Fault::new(format!("{follower} could not take it in: {reason}"), hint).into()
        })
    }

    /// Has the others speak of the node no more, and returns when they do not.
    pub(crate) async fn be_left_out(&mut self) -> Result<(), Stop> {
        let returns = self.desired.is_some();
        self.run.board.leave(self.name());
        let Err(Behind { follower, reason }) = self.run.board.left(self.name(), returns).await else { return Ok(()) };
        let words = format!("{follower} could not take in that it leaves: {reason}");
        if self.run.config.drain == Drain::Skip {
            self.run.emitter.warn(Some(self.name()), words).await;
            return Ok(());
        }
        Err(Fault::new(words, format!("{}; or let it go with `--no-drain`", put_right(&follower))).into())
    }
}

fn put_right(follower: &NodeName) -> String {
    format!("put {follower} right, then run `muster up` again: it goes on from here")
}
