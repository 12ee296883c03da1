//! `muster nodes`: sets of nodes written out, written short, and counted.

use std::io::{IsTerminal as _, Read as _};

use muster_types::{NodeSet, fold_names, natural_order, split_cluster};

use crate::commands::exec;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;

/// Longest list of names that is read from standard input.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// Write sets of nodes out, write them short, or count them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sets are written as ClusterShell writes them, and taken by every command that takes nodes:
  web-1,db-[1-3]     names and ranges; cn[01-20] with zeros, n[1-9/2] every second, r[1-2]n[1-8] both
  @web               the nodes of a group; * all of them
  web-*, web-?       names that fit a pattern
  ~web-(1|2)         names that fit a regular expression, whole
  phase=failed       nodes of which this is true: name, group, phase, address
  a,b  a!b  a&b  a^b    and, without, in both, in one of them; from left to right
What speaks of groups, patterns or phases needs a cluster: `-c NAME`, or `NAME:SET`. Quote what the shell would take.

Examples:
  muster nodes expand 'cn[01-03],login'     cn01 cn02 cn03 login, a line each
  muster nodes fold cn01 cn02 cn03          cn[01-03]
  squeue -ho %N | muster nodes fold         names from standard input
  muster nodes count '*!@web' -c demo       how many nodes are not in the group web
  muster nodes expand 'demo:phase=failed'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write every name of the sets on a line of its own
    #[command(
        after_help = "Examples:\n  muster nodes expand 'cn[01-20]!cn13'\n  muster nodes expand -S ' ' 'web-[1-3]'\n  \
                            muster nodes expand 'demo:@web'"
    )]
    Expand {
        #[command(flatten)]
        sets: Sets,
        /// What stands between two names
        #[arg(short = 'S', long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
        separator: String,
    },
    /// Write the sets as one, as short as it can be
    #[command(
        after_help = "Examples:\n  muster nodes fold web-1 web-2 web-3 db-1\n  muster nodes fold < hosts.txt\n  \
                            muster nodes fold '*' -c demo"
    )]
    Fold(Sets),
    /// Print how many nodes the sets stand for
    #[command(after_help = "Examples:\n  muster nodes count 'cn[001-128]'\n  muster nodes count '@web' -c demo")]
    Count(Sets),
}

#[derive(Debug, clap::Args)]
struct Sets {
    /// Sets of nodes, put together; without any, they are read from standard input, with blanks or line ends between them
    #[arg(value_name = "SET")]
    sets: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let sets = match &args.command {
        Command::Expand { sets, .. } | Command::Fold(sets) | Command::Count(sets) => sets,
    };
    let mut names = sets.names(context).await?;
    if !context.printer.is_text() {
        let folded = fold_names(names.iter().map(String::as_str));
        let document = serde_json::json!({ "version": 1, "count": names.len(), "folded": folded, "nodes": names });
        context.printer.json(&document)?;
        return Ok(ExitStatus::DONE);
    }
    match args.command {
        Command::Count(_) => context.printer.line(&names.len().to_string()),
        Command::Fold(_) => context.printer.line(&fold_names(names.iter().map(String::as_str))),
        Command::Expand { .. } if names.is_empty() => {}
        Command::Expand { separator, .. } => {
            let last = names.pop().unwrap_or_default();
            let mut text: String = names.into_iter().map(|name| name + &separator).collect();
            text.push_str(&last);
            context.printer.line(&text);
        }
    }
    Ok(ExitStatus::DONE)
}

impl Sets {
    /// Each once, in natural order.
    async fn names(&self, context: &Context) -> Result<Vec<String>, Failure> {
        let read;
        let sets: Vec<&str> = if self.sets.is_empty() {
            read = from_input()?;
            read.split_whitespace().collect()
        } else {
            self.sets.iter().map(String::as_str).collect()
        };
        let mut names = Vec::new();
        for text in sets {
            let (cluster, expression) = split_cluster(text).map_err(exec::wrong)?;
            let set = NodeSet::parse(expression).map_err(exec::wrong)?;
            match set.names() {
                Some(own) if cluster.is_none() => names.extend(own.into_iter().map(str::to_owned)),
                _ => {
                    let (_, nodes) = exec::select(text, context).await?;
                    names.extend(nodes.into_iter().map(|node| node.name.to_string()));
                }
            }
        }
        names.sort_unstable_by(|left, right| natural_order(left, right));
        names.dedup();
        Ok(names)
    }
}

fn from_input() -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let hint = "write them behind the command, as in `muster nodes fold web-1 web-2`, or hand a list in by a pipe";
        return Err(Failure::usage("no set of nodes was named", hint));
    }
    let mut text = String::new();
    input.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        let message = format!("the list on standard input is longer than {} MiB", INPUT_BYTES_MAX >> 20);
        return Err(Failure::usage(message, "hand it in by parts"));
    }
    Ok(text)
}
