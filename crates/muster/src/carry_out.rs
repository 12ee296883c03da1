//! What commands share that bring a cluster to what its file says: the plan, the question, the run, the account.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_engine::compile::Compiled;
use muster_engine::{Drain, Engine, Exit};
use muster_plan::{Action, Plan, Policy, Verb};
use muster_types::{GroupName, NodeName, fold_names};

use crate::commands::exec::parse_duration;
use crate::confirm::confirm;
use crate::context::{Context, Opened, Orders, Ready};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::output::Printer;
use crate::output::events::show;
use crate::output::outcome::summary;
use crate::plan_file::{Made, PlanFile};
use crate::scaling::{Wanted, resolve};

/// How the work is done.
#[derive(Debug, clap::Args)]
pub(crate) struct Work {
    /// Agree to replacing and removing nodes
    #[arg(short, long)]
    yes: bool,
    /// Nodes at work at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Agree to losing so many machines that nobody named, where that is more than a third of the cluster
    #[arg(long, value_name = "N")]
    allow_destroy: Option<usize>,
    #[command(flatten)]
    draining: Draining,
}

/// How nodes are drained.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Draining {
    /// How long nodes that leave or stop may take to be drained, in place of what their recipes say
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,
    /// Let nodes that leave or stop go at once, whatever runs on them
    #[arg(long, conflicts_with = "drain_timeout")]
    no_drain: bool,
}

impl Draining {
    pub(crate) fn drain(&self) -> Drain {
        match self.drain_timeout {
            _ if self.no_drain => Drain::Skip,
            Some(limit) => Drain::Within(limit),
            None => Drain::AsDeclared,
        }
    }
}

/// What is asked for beyond the file.
pub(crate) struct Order {
    pub(crate) command: &'static str,
    /// The command line that goes on where this one is stopped.
    pub(crate) again: String,
    pub(crate) policy: Policy,
    pub(crate) scale: Vec<Wanted>,
    pub(crate) victims: Victims,
    /// The plan that was kept in a file, and is to be this one.
    pub(crate) kept: Option<PlanFile>,
}

/// Which nodes leave a group that has too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Victims {
    /// Those with the highest numbers.
    Highest,
    Oldest,
    Newest,
    Named(BTreeSet<NodeName>),
}

impl Work {
    fn orders(&self, policy: Policy) -> Orders {
        Orders { parallel: usize::from(self.parallel), policy, drain: self.draining.drain() }
    }

    pub(crate) async fn carry_out(
        self,
        order: Order,
        (compiled, opened): (&Compiled, &Opened),
        context: &Context,
    ) -> Result<ExitStatus, Failure> {
        let printer = &context.printer;
        let asked = Asked::of(&order);
        let interrupt = Interrupt::listen(printer, order.again)?;
        let Ready { engine, events } = opened.engine(order.command, self.orders(order.policy))?;
        // Held from the plan to its end, so that nothing moves in between.
        engine.lease(&opened.name).await?;
        scale(&engine, compiled, (&order.scale, order.victims)).await?;
        let plan = engine.plan(compiled).await?;
        announce(&plan, printer);
        if let Some(kept) = &order.kept {
            let reality = engine.reality().await.unwrap_or_default();
            kept.check(&Made { plan: &plan, reality: &reality, sources: &compiled.sources })?;
        }
        self.check_losses(&plan, &asked)?;
        // Whoever kept the plan has read it.
        let agreed = self.yes || order.kept.is_some();
        if plan.is_destructive() && !confirm("Replace or remove the nodes above?", agreed)? {
            printer.note("Nothing was changed.");
            return Ok(ExitStatus::FAILED);
        }
        let showing = show(events, printer.clone());
        let working = async {
            let result = engine.up(compiled, plan, interrupt.token.clone()).await;
            // The engine holds the sender of the events: the showing ends when it is gone.
            drop(engine);
            result
        };
        let (outcome, shown) = tokio::join!(working, showing);
        shown?;
        let outcome = outcome?;
        summary(&outcome, printer)?;
        Ok(interrupt.status().filter(|_| outcome.exit != Exit::Done).unwrap_or(ExitStatus(outcome.exit.code())))
    }
}

/// What the command line names, so that its loss surprises nobody.
struct Asked {
    nodes: BTreeSet<NodeName>,
    groups: BTreeSet<GroupName>,
}

impl Asked {
    fn of(order: &Order) -> Self {
        let mut nodes = order.policy.replace.clone();
        if let Victims::Named(named) = &order.victims {
            nodes.extend(named.iter().cloned());
        }
        Self { nodes, groups: order.scale.iter().map(|wanted| wanted.group().clone()).collect() }
    }

    fn covers(&self, action: &Action) -> bool {
        let scaled = action.verb == Verb::Remove && self.groups.contains(&action.group);
        scaled || self.nodes.contains(&action.node)
    }
}

impl Work {
    /// An edit that takes away much of a cluster may be a slip; `--yes` alone does not agree to it.
    fn check_losses(&self, plan: &Plan, asked: &Asked) -> Result<(), Failure> {
        let Some(lost) = plan.surprising_losses(|action| asked.covers(action)) else { return Ok(()) };
        let count = lost.len();
        if self.allow_destroy.is_some_and(|allowed| allowed >= count) {
            return Ok(());
        }
        let nodes: Vec<NodeName> = lost.into_iter().cloned().collect();
        let message = format!(
            "the plan takes the machines of {count} nodes away, more than a third of the cluster: {}",
            fold_names(nodes.iter().map(NodeName::as_str))
        );
        let hint =
            format!("if that is what you want, add `--allow-destroy={count}`; else look at what changed in the file");
        Err(Failure::usage(message, hint))
    }
}

/// Relative numbers count from what is there under the lease.
async fn scale(engine: &Engine, compiled: &Compiled, (wanted, victims): (&[Wanted], Victims)) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let now = engine.numbers(compiled).await?;
    let numbers = resolve(wanted, &now, compiled)?;
    let chosen = match victims {
        Victims::Highest => BTreeSet::new(),
        Victims::Named(names) => names,
        Victims::Oldest | Victims::Newest => {
            let ages = engine.by_age(&compiled.spec.name.value).await?;
            let mut chosen = BTreeSet::new();
            for (group, nodes) in ages {
                let (Some(wanted), Some(now)) = (numbers.get(&group), now.get(&group)) else { continue };
                let surplus = now.saturating_sub(*wanted) as usize;
                let from = if victims == Victims::Oldest { 0 } else { nodes.len().saturating_sub(surplus) };
                chosen.extend(nodes.into_iter().skip(from).take(surplus));
            }
            chosen
        }
    };
    engine.scale(numbers).await;
    engine.let_go(chosen).await;
    Ok(())
}

/// The plan before: whole where something is lost, else in a line.
fn announce(plan: &Plan, printer: &Printer) {
    if !printer.is_text() {
        return;
    }
    if plan.is_destructive() || plan.is_empty() {
        printer.note(plan.to_string().trim_end());
    } else {
        let summary = plan.summary();
        let counts = [
            ("create", summary.create),
            ("start", summary.start),
            ("configure", summary.configure),
            ("keep", summary.keep),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(verb, count)| format!("{verb} {count}")).collect();
        printer.note(&format!("{}: {}", plan.cluster(), words.join(", ")));
        for image in plan.images() {
            printer.note(&format!("image {image} is made first: it is not there yet"));
        }
    }
}
