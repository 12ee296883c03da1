//! `cargo xtask test`: every test, at counts that are small enough for every run.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::out::say;
use crate::shell::cargo;
use crate::{setup, watch, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail when a test cannot run on this machine, instead of counting it
    #[arg(long)]
    pub(crate) no_skips: bool,
    /// Handed to `cargo test`, such as `-p muster-doc` or `-- name`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<OsString>,
}

/// Where tests that cannot run here say so; see `muster_testkit::skipped`.
const SKIPS: &str = "MUSTER_TEST_SKIPS";

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    let skips = workspace::root().join("target").join(format!("skipped-tests-{}", std::process::id()));
    fs_err::create_dir_all(workspace::root().join("target"))?;
    fs_err::write(&skips, "")?;
    let mut arguments: Vec<OsString> = vec!["test".into()];
    let chooses = ["-p", "--package", "--workspace", "--all"];
    if !args.arguments.iter().any(|argument| chooses.iter().any(|word| argument == word)) {
        arguments.push("--workspace".into());
    }
    arguments.extend(args.arguments.iter().cloned());
    let mut tests = cargo(&arguments);
    tests.env(SKIPS, &skips);
    let result = watch::run(tests);
    let skipped = fs_err::read_to_string(&skips)?;
    fs_err::remove_file(&skips)?;
    result?;
    let number = skipped.lines().count();
    if number > 0 {
        say(&format!("{skipped}{number} tests could not run on this machine"));
        if args.no_skips {
            bail!("{number} tests were skipped where none may be");
        }
    }
    Ok(())
}
