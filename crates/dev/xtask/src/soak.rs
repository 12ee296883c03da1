//! `cargo xtask soak NAME`: the same tests at full counts; what they measured goes into docs/FAULTS.md.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::out::say;
use crate::shell::cargo;
use crate::{page, setup, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which tests
    #[arg(value_parser = SOAKS.map(|soak| soak.name))]
    name: String,
    /// Run with files that are not committed; the commit is then marked with `+`
    #[arg(long)]
    allow_dirty: bool,
}

struct Soak {
    name: &'static str,
    /// For docs/FAULTS.md.
    what: &'static str,
    /// Which tests `cargo test` runs.
    tests: &'static [&'static str],
}

const SOAKS: [Soak; 4] = [
    Soak {
        name: "kills",
        what: "`up`, `scale`, `up --replace` and `down` of the real program on sandbox nodes are killed (SIGKILL) at a random \
               step that they wrote down, now and then with the power of all nodes, and run again. What then is must be what \
               an undisturbed run leaves: no machine twice, none left over, nothing to plan.",
        tests: &["-p", "muster", "--test", "kill"],
    },
    Soak {
        name: "engine",
        what: "The engine in simulated time: processes are killed at any call to the store, the provider and the agents, stand \
               still until somebody else has taken over, are interrupted; orders arrive after their sender died, replies are \
               lost, machines are listed late, deletes lie, calls are throttled and refused (`crashes`). Then damage from \
               outside between random steps of a user (`damages`). After each: no machine twice, none left over, no node \
               lost, nothing to plan. Besides, a crash at every single call of a build, a change and a removal.",
        tests: &["-p", "muster-engine", "--test", "engine", "--", "sim::", "crash::"],
    },
    Soak {
        name: "store",
        what: "The power goes while the state is written: what a process wrote and flushed, read off `strace`, is replayed into \
               disks on which the writes since the last flush are torn, in another order or missing. What was told to be \
               there is there.",
        tests: &["-p", "muster-store-sqlite", "power"],
    },
    Soak {
        name: "gossip",
        what: "Hundreds of members in one process, by seed: packets are lost, members pause, come, leave and are cut off, and \
               damaged packets are decoded.",
        tests: &["-p", "muster-gossip"],
    },
];

const PAGE: &str = "docs/FAULTS.md";
const FIRST_LINES: &str = "# Faults\n\nWhat was done to the program on purpose, and what it did. Rows are written by \
                           `cargo xtask soak NAME`; a commit with `+` had changes on top.\n";
const TABLE: &str = "| figures | date | commit | seconds |\n|---|---|---|---|";
/// What a test prints to be written down; see `muster_testkit::figure`.
const FIGURE: &str = "figure: ";

pub(crate) fn run(args: &Args) -> Result<()> {
    let soak = SOAKS.iter().find(|soak| soak.name == args.name).context("clap knows the names")?;
    setup::ensure()?;
    let commit = workspace::commit()?;
    if commit.ends_with('+') && !args.allow_dirty {
        bail!(
            "there are changes that are not committed, so the figures would belong to no commit\nhint: commit, or --allow-dirty"
        );
    }
    let start = Instant::now();
    let seen = watch(soak)?;
    let seconds = start.elapsed().as_secs();
    ensure!(seen.passed > 0, "no test ran: nothing matches {:?}", soak.tests);
    ensure!(!seen.figures.is_empty(), "{} tests passed, but none told a figure", seen.passed);
    let row = format!("| {} | {} | {commit} | {seconds} |", seen.figures.join("; "), workspace::today());
    let path = workspace::root().join(PAGE);
    let old = fs_err::read_to_string(&path).unwrap_or_else(|_| FIRST_LINES.to_owned());
    fs_err::write(&path, page::append_row(&old, soak.name, &format!("{}\n\n{TABLE}", soak.what), &row))?;
    say(&format!("{PAGE}: {row}"));
    Ok(())
}

/// What was read off the output of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    figures: Vec<String>,
    passed: usize,
}

impl Seen {
    fn line(&mut self, line: &str) {
        // The harness may have begun a line of its own.
        if let Some((_, figure)) = line.split_once(FIGURE) {
            let figure = figure.trim().replace('|', "/");
            // Two tests of one soak may tell the same, such as the seed.
            if !self.figures.contains(&figure) {
                self.figures.push(figure);
            }
        }
        let passed = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(" passed"));
        let passed = passed.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<usize>().ok());
        self.passed += passed.unwrap_or_default();
    }
}

fn watch(soak: &Soak) -> Result<Seen> {
    let mut arguments = vec!["test"];
    arguments.extend(soak.tests);
    let mut tests = cargo(&arguments);
    tests.env("MUSTER_TEST_SCALE", "full").stdout(Stdio::piped());
    let mut child = tests.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("stdout was piped")?;
    let mut seen = Seen::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the tests print")?;
        say(&line);
        seen.line(&line);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "the tests failed, so nothing is written down");
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_results_are_read() {
        let mut seen = Seen::default();
        for line in [
            "running 2 tests",
            "test kill_up ... figure: killed_while_running 46/50",
            "figure: steps a|b",
            "figure: steps a|b",
            "test result: ok. 2 passed; 0 failed; 0 ignored",
            "test result: ok. 1 passed; 0 failed; 0 ignored",
        ] {
            seen.line(line);
        }
        let figures = ["killed_while_running 46/50", "steps a/b"].map(str::to_owned).to_vec();
        assert_eq!(seen, Seen { figures, passed: 3 });
    }
}
