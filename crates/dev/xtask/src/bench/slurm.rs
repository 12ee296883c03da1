//! A Slurm cluster from the example: from the command to the first job, cold and warm, one node more, and down.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use muster_testkit::{Output, Sandbox};

use super::measure::{median, milliseconds};
use crate::out::say;
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often everything but the cold start is measured; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
}

const EXAMPLE: &str = "examples/slurm.yaml";
const CLUSTER: &str = "slurm";
const HEAD: &str = "head-1";
const GROUP: &str = "compute";
/// A cold start makes images.
const LIMIT: Duration = Duration::from_mins(8);

const METHOD: &str = "Method: `examples/slurm.yaml`. *cold* is a fresh state and cache: the base is made, and every package \
    fetched and installed. *warm* finds the images. Both are from starting `up` until `srun` on all compute nodes has \
    printed their names; *up alone* is the part until every node is ready. *one node more* is `muster scale`, then `srun` \
    on one node more. *down* ends when the provider lists nothing any more.\n\nAims: cold 150 s, warm 5 s.";

/// One life of a cluster.
struct Run {
    up: Duration,
    first_job: Duration,
    scale: Duration,
    first_job_scaled: Duration,
    down: Duration,
}

pub(super) fn run(args: &Args, program: &Path) -> Result<String> {
    ensure!(muster_testkit::can_make_nodes(), "this machine cannot make sandbox nodes");
    let example = fs_err::read_to_string(workspace::root().join(EXAMPLE))?;
    let sandbox = Sandbox::alone(program);
    sandbox.write("slurm.yaml", &example);
    say("cold: nothing is cached");
    let cold = measure(&sandbox).context("the cold run")?;
    tell("cold", &cold);
    let mut warm = Vec::new();
    for number in 1..=args.runs {
        let run = measure(&sandbox).with_context(|| format!("warm run {number}"))?;
        tell(&format!("warm, run {number}"), &run);
        warm.push(run);
    }
    table(&cold, &warm)
}

fn tell(what: &str, run: &Run) {
    let [up, job, scale, down] = [run.up, run.first_job, run.first_job_scaled, run.down].map(milliseconds);
    say(&format!("{what}: ready after {up}, first job {job}; one node more {scale}; down {down}"));
}

fn measure(sandbox: &Sandbox) -> Result<Run> {
    let begun = Instant::now();
    let up = muster(sandbox, &["up", "slurm.yaml", "--yes"]).elapsed;
    let count = compute_nodes(sandbox)?;
    job(sandbox, count)?;
    let first_job = begun.elapsed();
    let begun = Instant::now();
    let more = format!("{GROUP}={}", count + 1);
    let scale = muster(sandbox, &["scale", CLUSTER, &more, "--yes"]).elapsed;
    job(sandbox, count + 1)?;
    let first_job_scaled = begun.elapsed();
    let down = muster(sandbox, &["down", CLUSTER, "--yes"]).elapsed;
    Ok(Run { up, first_job, scale, first_job_scaled, down })
}

/// A failure ends the benchmark, with what was printed.
fn muster(sandbox: &Sandbox, command: &[&str]) -> Output {
    sandbox.start(command).wait_within(LIMIT).success()
}

fn compute_nodes(sandbox: &Sandbox) -> Result<usize> {
    let status = muster(sandbox, &["status", CLUSTER, "--json"]).json();
    let nodes = status["nodes"].as_array().context("status lists nodes")?;
    Ok(nodes.iter().filter(|node| node["group"] == GROUP).count())
}

/// One that every compute node takes part in.
fn job(sandbox: &Sandbox, nodes: usize) -> Result<()> {
    let wanted = nodes.to_string();
    let output = muster(sandbox, &["exec", "-c", CLUSTER, HEAD, "--", "srun", "-N", &wanted, "hostname"]);
    let mut names: Vec<&str> = output.stdout.lines().collect();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == nodes, "{nodes} nodes should have answered: {output}");
    Ok(())
}

fn table(cold: &Run, warm: &[Run]) -> Result<String> {
    type Figure = (&'static str, fn(&Run) -> Duration);
    let figures: [Figure; 5] = [
        ("up to the first job", |run| run.first_job),
        ("up alone", |run| run.up),
        ("one node more, up to its first job", |run| run.first_job_scaled),
        ("one node more, `scale` alone", |run| run.scale),
        ("`down`", |run| run.down),
    ];
    let mut text = format!("Cold once; warm: medians of {} runs.\n\n| | cold | warm |\n|---|--:|--:|\n", warm.len());
    for (name, figure) in figures {
        let middle = median(warm.iter().map(figure).collect()).context("there are runs")?;
        writeln!(text, "| {name} | {} | {} |", milliseconds(figure(cold)), milliseconds(middle))?;
    }
    write!(text, "\n{METHOD}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_cold_run_and_the_middle_of_the_warm_ones() {
        let run = |ms| {
            let [up, first_job, scale, first_job_scaled, down] =
                [0u64, 1, 2, 3, 4].map(|more| Duration::from_millis(ms + more));
            Run { up, first_job, scale, first_job_scaled, down }
        };
        let text = table(&run(90_000), &[run(500), run(300), run(100)]).unwrap();
        assert!(
            text.contains("| up to the first job | 90.00 s | 301 ms |\n| up alone | 90.00 s | 300 ms |\n"),
            "{text}"
        );
        assert!(text.contains("| `down` | 90.00 s | 304 ms |\n"), "{text}");
    }
}
