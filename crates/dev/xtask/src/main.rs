//! Chores of the project: `cargo xtask COMMAND`. `verify` is what CI runs.

mod bench;
mod generate;
mod layers;
mod out;
mod page;
mod setup;
mod shell;
mod soak;
mod test;
mod tidy;
mod verify;
mod watch;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of the project
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need, as the table in `setup.rs` says; quick when nothing is missing
    Setup,
    /// Run every test at small counts; further arguments go to `cargo test`
    Test(test::Args),
    /// Everything that CI checks: format, lints, layers, generated files, tests
    Verify,
    /// Measure, and write the figures into docs/BENCH.md
    Bench(bench::Args),
    /// Run tests at full counts, and write their figures into docs/FAULTS.md
    Soak(soak::Args),
    /// Write the files that are made from others
    Generate(generate::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::run(),
        Command::Test(args) => test::run(&args),
        Command::Verify => verify::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}
