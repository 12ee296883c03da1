//! `cargo xtask verify`: all that CI checks, and when each step began.

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::out::{say, seconds};
use crate::shell::{cargo, run as run_command};
use crate::{generate, layers, setup, test, tidy};

/// A step: its name and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// What fails fast comes first; the test's own summaries come last.
const STEPS: [Step; 8] = [
    ("setup", setup::ensure),
    ("format", || run_command(cargo(&["fmt", "--all", "--check"]))),
    ("layers", layers::check),
    ("clippy", clippy),
    ("tidy", tidy::check),
    ("build tests", || run_command(cargo(&["test", "--workspace", "--no-run", "--quiet"]))),
    ("generated files", generate::check),
    ("test", tests),
];

/// Nothing is printed after the tests' own summaries: they are what a reader of the log looks for at its end.
pub(crate) fn run() -> Result<()> {
    let all = Instant::now();
    for (name, step) in STEPS {
        say(&format!("== {name} (after {})", seconds(all.elapsed())));
        step().with_context(|| format!("verify fails at: {name}"))?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    run_command(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// On a CI machine nothing may be skipped: a check that runs nowhere is none.
fn tests() -> Result<()> {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    test::run(&test::Args { no_skips: in_ci, arguments: Vec::<OsString>::new() })
}
