//! `cargo xtask bench NAME`: the release build of the program, measured from outside.

mod banners;
mod cli;
mod docker;
mod measure;
mod nodes;
mod slurm;
mod ssh;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::out::say;
use crate::shell::{cargo, command, read};
use crate::{page, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    name: Name,
    /// Measure this program instead of building one
    #[arg(long, global = true, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Print the figures, and leave docs/BENCH.md as it is
    #[arg(long, global = true)]
    no_write: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Name {
    /// Time from command to ready, memory a node, and changes, at 1, 20 and 100 local nodes; and against Docker
    Nodes(nodes::Args),
    /// Slurm from the example: nothing cached, everything cached, one node more, and down
    Slurm(slurm::Args),
    /// `--help`, `status` of 100 nodes and `nodes fold` of 10,000 names, beside `nodeset`
    Cli(cli::Args),
    /// Read SSH banners; the other benchmarks start it inside a network
    #[command(hide = true)]
    Banners(banners::Args),
}

const PAGE: &str = "docs/BENCH.md";
const FIRST_LINES: &str = "# Benchmarks\n\nWritten by `cargo xtask bench NAME`: the figures of the last run.\n";

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Name::Banners(banners) = &args.name {
        return banners::read_all(banners);
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    let (section, figures) = match &args.name {
        Name::Nodes(nodes) => ("nodes", nodes::run(nodes, &program)?),
        Name::Cli(cli) => ("cli", cli::run(cli, &program)?),
        Name::Slurm(slurm) => ("slurm", slurm::run(slurm, &program)?),
        Name::Banners(_) => return Ok(()),
    };
    let body = format!("{}\n\n{figures}", occasion()?);
    say(&body);
    if !args.no_write {
        let path = workspace::root().join(PAGE);
        let old = fs_err::read_to_string(&path).unwrap_or_else(|_| FIRST_LINES.to_owned());
        fs_err::write(&path, page::replace_section(&old, section, &body))?;
        say(&format!("written: {PAGE}"));
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "muster", "--message-format=json-render-diagnostics"];
    let messages = read(cargo(&arguments))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == "muster");
    built.find_map(|message| message["executable"].as_str().map(PathBuf::from)).context("cargo did not build `muster`")
}

/// When, what and where.
fn occasion() -> Result<String> {
    let kernel = read(command("uname", &["-sr"]))?;
    let memory = fs_err::read_to_string("/proc/meminfo")?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("/proc/meminfo has a total")?;
    let kib: u64 = total.trim().trim_end_matches(" kB").parse().context("/proc/meminfo counts in kB")?;
    let processors = std::thread::available_parallelism()?;
    let cgroups = if measure::is_cgroup_v2() { "v2" } else { "v1" };
    Ok(format!(
        "{}, commit {}; {processors} processors, {} MiB of memory, {}, cgroup {cgroups}.",
        workspace::today(),
        workspace::commit()?,
        kib >> 10,
        kernel.trim(),
    ))
}
