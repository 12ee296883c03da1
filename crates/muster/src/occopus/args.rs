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
#[command(
    name = "muster occopus",
    bin_name = "muster occopus",
    max_term_width = 100,
    after_help = "Examples:\n  muster occopus import nodes/node_definitions.yaml\n  muster occopus build infra.yaml\n  \
                  muster occopus destroy -i ID"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(name = "occopus-import", visible_alias = "import")]
    Import(Import),
    #[command(name = "occopus-build", visible_alias = "build")]
    Build(Build),
    #[command(name = "occopus-scale", visible_alias = "scale")]
    Scale(Scale),
    #[command(name = "occopus-maintain", visible_alias = "maintain")]
    Maintain(Maintain),
    #[command(name = "occopus-destroy", visible_alias = "destroy")]
    Destroy(Destroy),
    #[command(name = "occopus-rest-service", visible_alias = "rest-service")]
    RestService(RestService),
}

/// Where the two files of settings are.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Files {
    /// Occopus' configuration; else that of the variable `OCCOPUS_CONFIG_PATH`, ~/.occopus, this folder, /etc/occopus
    #[arg(long = "cfg", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct AuthFile {
    /// Credentials; else those of the variable `OCCOPUS_AUTH_DATA_PATH`, ~/.occopus, this folder, /etc/occopus
    #[arg(long = "auth_data_path", value_name = "PATH")]
    pub(crate) auth_data: Option<PathBuf>,
}

/// How it is built here; not an option of Occopus.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Ours {
    /// Make the nodes with this provider, whatever their resource sections say
    #[arg(long, env = "MUSTER_OCCOPUS_PROVIDER", value_name = "NAME")]
    pub(crate) provider: Option<String>,
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

/// Build an infrastructure, or reconfigure the one of the given id
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  occopus-build infra-docker-helloworld.yaml\n  occopus-build infra.yaml -i ID     change it to what the file says now\n\n\
                  Exits with 0 when every node is ready, else 1: what was built stays, and the same command goes on."
)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) auth: AuthFile,
    /// The infrastructure to reconfigure; a new one gets this id
    #[arg(short, long = "infra_id", value_name = "ID", value_parser = infra_id)]
    pub(crate) infra_id: Option<String>,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) ours: Ours,
    /// Give new machines to nodes whose definition asks for another machine now; they lose their data
    #[arg(long)]
    pub(crate) replace: bool,
    /// The infrastructure description
    #[arg(value_name = "INFRA")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Parallel {
    /// Taken, and without effect: every node starts as soon as those that it depends on are ready
    #[arg(long)]
    parallelize: bool,
}

/// Ask for more or fewer instances of a node; `occopus-maintain` or the REST service does it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  occopus-scale -i ID -n worker -c 2     two more\n  occopus-scale -i ID -n worker -c -1    one fewer\n  \
                  occopus-scale -i ID -n worker -s 5     five\n  occopus-scale -i ID -n worker -f 10.7.0.4"
)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) auth: AuthFile,
    /// The infrastructure
    #[arg(short, long = "infraid", value_name = "ID", value_parser = infra_id)]
    pub(crate) infra_id: String,
    /// The node to scale
    #[arg(short, long, value_name = "NODE")]
    pub(crate) node: String,
    /// How many more, or fewer
    #[arg(short, long = "changescale", value_name = "±N", allow_hyphen_values = true)]
    pub(crate) change: Option<String>,
    /// How many
    #[arg(short, long = "setscale", value_name = "N", allow_hyphen_values = true)]
    pub(crate) set: Option<String>,
    /// The instance that goes: its id or its address
    #[arg(short, long, value_name = "NODEID|IP")]
    pub(crate) filter: Option<String>,
}

/// Look after an infrastructure: mend what is broken, carry out what was asked for by occopus-scale; or list, or report
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  occopus-maintain -l                    the infrastructures there are\n  occopus-maintain -i ID                 one pass\n  \
                  occopus-maintain -i ID -c -t 30        for ever, every 30 seconds\n  occopus-maintain -i ID -r -f worker -o addresses.txt"
)]
pub(crate) struct Maintain {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) auth: AuthFile,
    /// The infrastructure
    #[arg(short, long = "infraid", value_name = "ID", value_parser = infra_id)]
    pub(crate) infra_id: Option<String>,
    /// List the infrastructures there are
    #[arg(short, long)]
    pub(crate) list: bool,
    /// Seconds from the end of one pass to the next
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) interval: f64,
    /// Go on for ever
    #[arg(short, long)]
    pub(crate) cyclic: bool,
    /// Report nodes, instances and addresses, and change nothing
    #[arg(short, long)]
    pub(crate) report: bool,
    /// Write the report into this file: the addresses of an instance on each line
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Report only nodes whose name holds this
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
}

/// Remove an infrastructure with all its machines, and prove that nothing is left
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  occopus-destroy -i ID")]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) auth: AuthFile,
    /// The infrastructure
    #[arg(short, long = "infra_id", value_name = "ID", value_parser = infra_id)]
    pub(crate) infra_id: String,
}

/// Serve Occopus' REST interface, and look after the infrastructures that are built or attached by it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  occopus-rest-service                      at 127.0.0.1:5000, for this machine alone\n  \
                  occopus-rest-service --host 0.0.0.0       for others too, who show a token"
)]
pub(crate) struct RestService {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) auth: AuthFile,
    /// The address to listen at; else that of the configuration, else 127.0.0.1
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// The port; else that of the configuration, else 5000
    #[arg(long)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) ours: Ours,
}

/// The longest id that is taken; it becomes part of paths of the REST interface.
const ID_BYTES_MAX: usize = 128;

/// An id may be anything that a path can hold and a line can show.
pub(crate) fn infra_id(text: &str) -> Result<String, String> {
    let bad = text.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '"' | '\''));
    match bad {
        Some(c) => Err(format!("an id cannot hold {c:?}")),
        None if text.is_empty() => Err("an id cannot be empty".to_owned()),
        None if text.len() > ID_BYTES_MAX => Err(format!("an id has at most {ID_BYTES_MAX} characters")),
        None => Ok(text.to_owned()),
    }
}

/// Reads the words behind `called`: `occopus-build`, or `muster occopus` with the command among the words. What is asked
/// for by `--help` is printed, and so is a mistake.
pub(crate) fn parse(called: &str, words: Vec<OsString>) -> Result<Command, ExitStatus> {
    let by_name = called.starts_with("occopus-");
    let first = if by_name { called } else { "muster occopus" };
    let words = [OsString::from(first)].into_iter().chain(words);
    // By name, help and mistakes speak of the program that was called.
    let command = Cli::command().multicall(by_name).mut_subcommands(|command| command.infer_long_args(true));
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
    fn a_name_and_a_word_are_the_same() {
        for command in
            [parse("occopus-scale", words("-i a -n b -c -2")), parse("muster", words("scale -i a -n b -c -2"))]
        {
            let Ok(Command::Scale(scale)) = command else { panic!("{command:?}") };
            assert_eq!((scale.infra_id.as_str(), scale.node.as_str(), scale.change.as_deref()), ("a", "b", Some("-2")));
        }
    }

    #[test]
    fn long_options_may_be_cut_short_as_with_argparse() {
        let build = parse("occopus-build", words("infra.yaml -i micado_worker_infra --auth_data x --parallel"));
        let Ok(Command::Build(build)) = build else { panic!("{build:?}") };
        assert_eq!(build.infra_id.as_deref(), Some("micado_worker_infra"));
        assert_eq!(build.auth.auth_data, Some(PathBuf::from("x")));
    }

    #[test]
    fn ids_are_texts_that_paths_can_hold() {
        for good in ["micado_worker_infra", "4b0bd5a8-1d27-4d3c-8d67-b2a5e0a3b9b1", "a.b:c"] {
            assert_eq!(infra_id(good), Ok(good.to_owned()));
        }
        for bad in ["", "a/b", "a b", "../x", "a\nb", &"x".repeat(129)] {
            assert!(infra_id(bad).is_err(), "{bad:?}");
        }
    }
}
