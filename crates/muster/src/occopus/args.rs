//! The command lines of Occopus' six programs, flag for flag, and the few that are ours.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::exit::ExitStatus;

/// What Occopus' own programs end with when their command line is wrong.
const USAGE: ExitStatus = ExitStatus(2);

/// Occopus' commands, over files of Occopus as they are
///
/// Each is also the program of that name: `muster setup-links DIR` makes the links.
#[derive(Debug, Parser)]
#[command(name = "muster occopus", bin_name = "muster occopus", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(Import),
}

/// Where the two files of settings are.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Files {
    /// Occopus' configuration; else $`OCCOPUS_CONFIG_PATH`, then `occopus_config.yaml` in ~/.occopus, here, /etc/occopus
    #[arg(long = "cfg", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
}

/// Check node definitions and store them; what was stored under the same names before is replaced
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  occopus-import nodes/node_definitions.yaml")]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) files: Files,
    /// The node definitions
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Reads the words behind `called`: `occopus-build`, or `muster occopus` with the command among the words. What is asked
/// for by `--help` is printed, and so is a mistake.
pub(crate) fn parse(called: &str, words: Vec<OsString>) -> Result<Command, ExitStatus> {
    let own = called.strip_prefix("occopus-");
    let own = own.map(OsString::from);
    let words = [OsString::from("muster occopus")].into_iter().chain(own).chain(words);
    let mut command = Cli::command();
    if called.starts_with("occopus-") {
        // Help and mistakes speak of the program that was called.
        command = command.mut_subcommands(|command| command.bin_name(called.to_owned()).infer_long_args(true));
    }
    let parsed = command.try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| cli.command).map_err(|error| {
        error.print().ok();
        if error.use_stderr() { USAGE } else { ExitStatus::DONE }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn command_lines_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn long_options_may_be_cut_short_as_with_argparse() {
        let Ok(Command::Import(import)) = parse("occopus-import", words("--cf x nodes.yaml")) else {
            panic!("not read")
        };
        assert_eq!(import.files.config, Some(PathBuf::from("x")));
        let Ok(Command::Import(import)) = parse("muster", words("import nodes.yaml")) else { panic!("not read") };
        assert_eq!(import.file, PathBuf::from("nodes.yaml"));
    }
}
