//! `muster node`: work on single nodes, while the others go on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use muster_engine::Tend;
use muster_engine::compile::Compiled;
use muster_plan::Policy;
use muster_store::NodeRecord;
use muster_types::{ClusterName, NodeName, NodeSet, split_cluster};

use crate::carry_out::{Draining, Order, Victims, Work};
use crate::commands::exec::{choose, wrong};
use crate::context::{Context, Opened};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::known;
use crate::scaling::Wanted;
use crate::tending;

/// Work on single nodes: take them out of work and back, stop, start, reboot, replace or remove them
///
/// Nodes whose files speak of a changed node are given them anew; no other node is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster node drain compute-3            jobs end, no new ones begin\n  \
                        muster node resume compute-3\n  muster node reboot 'web-[1-3]'\n  \
                        muster node replace web-2 --yes        another machine under the same name\n  \
                        muster node rm slurm:compute-2         and the group has one node fewer")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let what runs on nodes come to its end, and nothing new begin, until they are resumed
    Drain(Tended),
    /// Take drained nodes back to work
    Resume(Chosen),
    /// Drain nodes and power them off; their data is kept
    Stop(Tended),
    /// Drain nodes, reboot them, check them and take them back to work
    Reboot(Tended),
    /// Start nodes that are stopped
    Start(Worked),
    /// Give nodes a new machine under the same name
    Replace(Worked),
    /// Remove these very nodes; the number of their group follows
    Rm(Worked),
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// Nodes: web-1, web-[1-3,7], @group, '*', with commas between; CLUSTER:NODES for another cluster
    nodes: String,
    /// The cluster file; the one that the cluster was made from without it
    #[arg(short, long)]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Tended {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    draining: Draining,
}

#[derive(Debug, clap::Args)]
struct Worked {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    work: Work,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    match args.verb {
        Verb::Drain(Tended { chosen, draining }) => tend(Tend::Drain, (chosen, draining), context).await,
        Verb::Resume(chosen) => tend(Tend::Resume, (chosen, Draining::default()), context).await,
        Verb::Stop(Tended { chosen, draining }) => tend(Tend::Stop, (chosen, draining), context).await,
        Verb::Reboot(Tended { chosen, draining }) => tend(Tend::Reboot, (chosen, draining), context).await,
        Verb::Start(worked) => work("start", worked, context).await,
        Verb::Replace(worked) => work("replace", worked, context).await,
        Verb::Rm(worked) => work("rm", worked, context).await,
    }
}

async fn tend(tend: Tend, (chosen, draining): (Chosen, Draining), context: &Context) -> Result<ExitStatus, Failure> {
    let (compiled, opened, nodes) = chosen.open(context).await?;
    let nodes = nodes.into_iter().map(|node| node.name).collect();
    let again = format!("muster node {} {}", tend.as_str(), chosen.nodes);
    tending::carry_out((tend, nodes, again), draining, (&compiled, &opened), context).await
}

async fn work(verb: &'static str, worked: Worked, context: &Context) -> Result<ExitStatus, Failure> {
    let (compiled, opened, nodes) = worked.chosen.open(context).await?;
    let names: BTreeSet<NodeName> = nodes.iter().map(|node| node.name.clone()).collect();
    let mut policy = Policy { only: Some(names.clone()), ..Policy::default() };
    let (mut scale, mut victims) = (Vec::new(), Victims::Highest);
    match verb {
        "replace" => policy.replace.clone_from(&names),
        "rm" => {
            scale = Wanted::without(nodes.iter().map(|node| &node.group));
            victims = Victims::Named(names);
        }
        _ => {}
    }
    let again = format!("muster node {verb} {}", worked.chosen.nodes);
    let order = Order { command: "node", again, policy, scale, victims, kept: None };
    worked.work.carry_out(order, (&compiled, &opened), context).await
}

impl Chosen {
    async fn open(&self, context: &Context) -> Result<(Compiled, Opened, Vec<NodeRecord>), Failure> {
        let (cluster, expression) = split_cluster(&self.nodes).map_err(wrong)?;
        // A mistake in it is told before anything else is looked at.
        NodeSet::parse(expression).map_err(wrong)?;
        let named = (cluster.as_ref().map(ClusterName::as_str), self.file.as_deref().map(Path::new));
        let (compiled, opened) = known::open(context, named).await?;
        let nodes = choose(expression, &opened).await?;
        Ok((compiled, opened, nodes))
    }
}
