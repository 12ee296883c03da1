//! What the command line itself takes: commands that people wait for with their fingers on the keys.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use muster_testkit::{Sandbox, python};

use super::measure::{median, milliseconds};
use crate::shell::describe;
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often each command runs; the median counts
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=999))]
    runs: u32,
    /// Nodes of the cluster whose status is asked
    #[arg(long, default_value_t = 100)]
    nodes: u32,
    /// Names that are folded
    #[arg(long, default_value_t = 10_000)]
    names: u32,
}

const CLUSTER: &str = "bench";

const METHOD: &str = "Method: from starting the program to its end, seen by the process that started it; the medians. The \
    names are irregular: two numbers in some, numbers with zeros in others, gaps everywhere. *nodeset* is ClusterShell's \
    own command, with the same names on its standard input, in the same run.";

pub(super) fn run(args: &Args, program: &Path) -> Result<String> {
    ensure!(muster_testkit::can_make_nodes(), "this machine cannot make sandbox nodes");
    let sandbox = Sandbox::alone(program);
    let file =
        format!("cluster: {CLUSTER}\ngroups:\n  node:\n    count: {}\n    health: {{ agent: true }}\n", args.nodes);
    sandbox.write("cluster.yaml", &file);
    let list = sandbox.write("names", &names(args.names));
    sandbox.muster(&["up"]).success();
    let own = |arguments: &[&str]| time(args.runs, || sandbox.command(arguments), None);
    let help = own(&["--help"])?;
    let status = own(&["status"])?;
    let listed = own(&["ls"])?;
    let plan = own(&["plan"])?;
    sandbox.muster(&["down", CLUSTER, "--yes"]).success();
    let fold = time(args.runs, || sandbox.command(&["nodes", "fold"]), Some(&list))?;
    let peer = nodeset()?;
    let theirs = time(args.runs.min(5), || folding(&peer), Some(&list))?;
    let mut text = format!("Medians of {} runs.\n\n| command | takes | aim |\n|---|--:|--:|\n", args.runs);
    let rows = [
        ("`muster --help`".to_owned(), help, "20 ms"),
        (format!("`muster status` of {} nodes", args.nodes), status, "50 ms"),
        ("`muster ls`".to_owned(), listed, ""),
        (format!("`muster plan` of {} nodes, nothing changed", args.nodes), plan, ""),
        (format!("`muster nodes fold` of {} names", args.names), fold, "50 ms"),
        (format!("`nodeset --fold` of {} names", args.names), theirs, ""),
    ];
    for (name, took, aim) in rows {
        writeln!(text, "| {name} | {} | {aim} |", milliseconds(took))?;
    }
    let ratio = theirs.as_secs_f64() / fold.as_secs_f64();
    write!(text, "\nnodeset takes {ratio:.1}× as long to fold.\n\n{METHOD}")?;
    Ok(text)
}

/// A walk through remainders, so that gaps, widths and numbers vary.
fn names(count: u32) -> String {
    let name = |n: u32| match n % 4 {
        0 => format!("r{}n{}\n", n * 31 % 97, n * 47 % 211),
        1 => format!("cn{:05}\n", n * 79 % 30_011),
        2 => format!("rack{}-node{}-{}\n", n * 31 % 13, n * 17 % 41, n * 7 % 101),
        _ => format!("web-{}\n", n * 79 % 20_011),
    };
    (0..count).map(name).collect()
}

/// A Python that has it.
fn nodeset() -> Result<PathBuf> {
    let folder = workspace::root().join("target/tmp");
    fs_err::create_dir_all(&folder)?;
    let folder = folder.to_str().context("the target folder's path is a text")?;
    python(folder, "clustershell-1", &["ClusterShell==1.9.3"]).map_err(anyhow::Error::msg)
}

fn folding(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "ClusterShell.CLI.Nodeset", "--fold"]);
    command
}

fn time(runs: u32, command: impl Fn() -> Command, input: Option<&Path>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut command = command();
        match input {
            Some(path) => command.stdin(File::open(path)?),
            None => command.stdin(Stdio::null()),
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status().with_context(|| format!("cannot start {}", describe(&command)))?;
        times.push(started.elapsed());
        ensure!(status.success(), "{} ended with {status}", describe(&command));
    }
    median(times).context("there are runs")
}
