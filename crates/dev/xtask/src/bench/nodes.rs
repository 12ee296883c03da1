//! Local nodes: from the command to ready, what one takes, and what changes cost.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use muster_testkit::Sandbox;

use super::measure::{Memory, mebibytes, median, memory, milliseconds};
use super::ssh;
use crate::out::say;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often each number of nodes is built; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(super) runs: u32,
    /// Numbers of nodes
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 100])]
    pub(super) nodes: Vec<u32>,
    /// Leave out the comparison with Docker
    #[arg(long)]
    no_docker: bool,
}

const CLUSTER: &str = "bench";
/// The cgroup that the shepherd itself is in.
pub(super) const SHEPHERD: &str = "shepherd";

const METHOD: &str = "Method: each run in a fresh state folder, with no other cluster on the machine. Times are from \
    starting the command to its end, seen by the process that started it; `up` ends when every node is ready. Medians of \
    the runs. *plain* is one group whose nodes have no recipe and one health check, the agent's; *hello* is the recipe \
    of that name, which writes a file with the peers and checks it. Memory is read right after `up`: PSS is the sum over \
    a node's processes (`/proc/PID/smaps_rollup`), cgroup is what the kernel charges to the node's cgroup, with its own \
    data and the page cache (v1 `memory.usage_in_bytes`, v2 `memory.current`); the median of the nodes.\n\n\
    Aims: 20 nodes in 1.5 s, 100 in 6 s; 8 MiB a node; one more node costs the same whatever their number; a second `up` \
    of 100 under 0.5 s.";

/// One life of a cluster.
struct Run {
    up: Duration,
    up_hello: Duration,
    same: Duration,
    add_one: Duration,
    down: Duration,
    node: Memory,
    shepherd: Memory,
}

pub(super) fn run(args: &Args, program: &Path) -> Result<String> {
    ensure!(muster_testkit::can_make_nodes(), "this machine cannot make sandbox nodes");
    let mut columns = Vec::new();
    for &nodes in &args.nodes {
        let mut runs = Vec::new();
        for number in 1..=args.runs {
            let run = measure(program, nodes).with_context(|| format!("run {number} with {nodes} nodes"))?;
            say(&format!(
                "{nodes} nodes, run {number}: up {}, hello {}",
                milliseconds(run.up),
                milliseconds(run.up_hello)
            ));
            runs.push(run);
        }
        columns.push((nodes, runs));
    }
    let table = table(&columns, args.runs)?;
    if args.no_docker {
        return Ok(table);
    }
    Ok(format!("{table}\n\n{}", ssh::run(args, program)?))
}

fn measure(program: &Path, nodes: u32) -> Result<Run> {
    let sandbox = Sandbox::alone(program);
    sandbox.write("hello.yaml", &file(nodes, "recipe: hello"));
    let up_hello = time(&sandbox, &["up", "hello.yaml"]);
    time(&sandbox, &["down", CLUSTER, "--yes"]);
    sandbox.write("plain.yaml", &file(nodes, "health: { agent: true }"));
    let up = time(&sandbox, &["up", "plain.yaml"]);
    let (node, shepherd) = memories(&sandbox, nodes)?;
    let same = time(&sandbox, &["up", "plain.yaml"]);
    sandbox.write("plain.yaml", &file(nodes + 1, "health: { agent: true }"));
    let add_one = time(&sandbox, &["up", "plain.yaml"]);
    let down = time(&sandbox, &["down", CLUSTER, "--yes"]);
    Ok(Run { up, up_hello, same, add_one, down, node, shepherd })
}

fn file(nodes: u32, group: &str) -> String {
    format!("cluster: {CLUSTER}\ngroups:\n  node:\n    count: {nodes}\n    {group}\n")
}

/// A failure ends the benchmark, with what was printed.
fn time(sandbox: &Sandbox, command: &[&str]) -> Duration {
    sandbox.muster(command).success().elapsed
}

/// The median node's, and the shepherd's.
fn memories(sandbox: &Sandbox, nodes: u32) -> Result<(Memory, Memory)> {
    let status = sandbox.muster(&["status", CLUSTER, "--json"]).success().json();
    let ids = status["nodes"].as_array().context("status lists nodes")?.iter();
    let ids: Vec<&str> = ids.filter_map(|node| node["id"].as_str()).collect();
    ensure!(ids.len() == nodes as usize, "{nodes} nodes were made and {} are listed", ids.len());
    let all = ids.into_iter().map(memory).collect::<Result<Vec<_>>>()?;
    let middle = |figure: fn(&Memory) -> u64| median(all.iter().map(figure).collect()).context("there are nodes");
    let node = Memory { pss: middle(|memory| memory.pss)?, cgroup: middle(|memory| memory.cgroup)? };
    Ok((node, memory(SHEPHERD)?))
}

fn table(columns: &[(u32, Vec<Run>)], runs: u32) -> Result<String> {
    type Figure = (&'static str, fn(&[Run]) -> Option<String>);
    fn times(runs: &[Run], figure: fn(&Run) -> Duration) -> Option<String> {
        median(runs.iter().map(figure).collect()).map(milliseconds)
    }
    fn sizes(runs: &[Run], figure: fn(&Run) -> u64) -> Option<String> {
        median(runs.iter().map(figure).collect()).map(mebibytes)
    }
    let figures: [Figure; 9] = [
        ("`up`, plain", |runs| times(runs, |run| run.up)),
        ("`up`, hello", |runs| times(runs, |run| run.up_hello)),
        ("`up` again, nothing changed", |runs| times(runs, |run| run.same)),
        ("`up` after one more node", |runs| times(runs, |run| run.add_one)),
        ("`down`", |runs| times(runs, |run| run.down)),
        ("memory a node, PSS", |runs| sizes(runs, |run| run.node.pss)),
        ("memory a node, cgroup", |runs| sizes(runs, |run| run.node.cgroup)),
        ("memory of the shepherd, PSS", |runs| sizes(runs, |run| run.shepherd.pss)),
        ("memory of the shepherd, cgroup", |runs| sizes(runs, |run| run.shepherd.cgroup)),
    ];
    let mut text = format!("Medians of {runs} runs.\n\n| nodes |");
    for (nodes, _) in columns {
        write!(text, " {nodes} |")?;
    }
    write!(text, "\n|---|{}\n", "--:|".repeat(columns.len()))?;
    for (name, figure) in figures {
        let values = columns.iter().map(|(_, runs)| figure(runs).context("there are runs"));
        writeln!(text, "| {name} | {} |", values.collect::<Result<Vec<_>>>()?.join(" | "))?;
    }
    write!(text, "\n{METHOD}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_number_of_nodes() {
        let memory = |mib: u64| Memory { pss: mib << 20, cgroup: mib << 21 };
        let run = |ms| Run {
            up: Duration::from_millis(ms),
            up_hello: Duration::from_millis(ms + 1),
            same: Duration::from_millis(ms + 2),
            add_one: Duration::from_millis(ms + 3),
            down: Duration::from_millis(ms + 4),
            node: memory(ms),
            shepherd: memory(1),
        };
        let text = table(&[(1, vec![run(5), run(7), run(6)]), (20, vec![run(2000)])], 3).unwrap();
        assert!(text.contains("| nodes | 1 | 20 |\n|---|--:|--:|\n| `up`, plain | 6 ms | 2.00 s |\n"), "{text}");
        assert!(text.contains("| memory a node, cgroup | 12.0 MiB | 4000.0 MiB |"), "{text}");
    }
}
