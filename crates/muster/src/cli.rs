//! The command line: what can be asked, with an example for each.

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Turns a short cluster file into running, joined, verified nodes, and keeps them useful.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  muster up examples/quickstart.yaml     build a cluster, or bring it to what the file says\n  \
                  muster status                          who is there, and what the others wait for\n  \
                  muster exec '*' -- uptime              run a command on every node\n  \
                  muster scale web=5                     give a group another number of nodes\n  \
                  muster down quickstart                 remove it, and prove that nothing is left\n\n\
                  Exit codes: 0 done, 1 failed, 2 changes pending (with --detailed-exitcode), 3 partly done, 4 timed out,\n\
                  5 locked, 64 usage, 65 bad file, 69 provider unreachable, 77 no permission, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The cluster, where a command does not name it: else the file of the current folder, or the only one there is
    #[arg(short, long, global = true, env = "MUSTER_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// One JSON document on stdout at the end
    #[arg(long, global = true, conflicts_with = "jsonl")]
    pub(crate) json: bool,
    /// A stream of typed events on stdout, one JSON object a line
    #[arg(long, global = true)]
    pub(crate) jsonl: bool,
    /// Write what goes on inside to stderr; the variable `MUSTER_LOG` takes finer filters
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(commands::up::Args),
    Plan(commands::plan::Args),
    Drift(commands::drift::Args),
    Scale(commands::scale::Args),
    Node(commands::node::Args),
    Stop(commands::stop::Args),
    Start(commands::start::Args),
    Validate(commands::validate::Args),
    Render(commands::render::Args),
    Status(commands::status::Args),
    Ls(commands::ls::Args),
    Logs(commands::logs::Args),
    Audit(commands::audit::Args),
    Exec(commands::exec::Args),
    Shell(commands::shell::Args),
    Down(commands::down::Args),
    Sweep(commands::sweep::Args),
    Nodes(commands::nodes::Args),
    Image(commands::image::Args),
    Recipe(commands::recipe::Args),
    Doctor(commands::doctor::Args),
    Import(commands::import::Args),
    Explain(commands::explain::Args),
    /// Serf's own command line: `muster serf members` is what `serf members` is
    #[command(disable_help_flag = true)]
    Serf {
        /// A command of Serf's and its flags; none lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
        words: Vec<std::ffi::OsString>,
    },
    Serve(commands::serve::Args),
    SetupLinks(commands::setup_links::Args),
    /// Occopus' own commands, over its own files: import, build, scale, maintain, destroy, rest-service
    ///
    /// `muster occopus build --help` tells of each. They are also the programs `occopus-import`, `occopus-build` and so on:
    /// `muster setup-links DIR` makes the links.
    #[command(disable_help_flag = true)]
    Occopus {
        /// The command and its words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        words: Vec<std::ffi::OsString>,
    },
    /// Holds the nodes of a local cluster; started by `up`
    #[command(hide = true)]
    Shepherd(commands::shepherd::Args),
    /// First process of a local node
    #[command(hide = true)]
    NodeInit {
        /// The machine's folder, for people who read the list of processes
        #[arg(hide = true)]
        folder: std::path::PathBuf,
    },
    /// The agent of a local node whose first process is systemd
    #[command(hide = true)]
    NodeAgent,
    /// Makes one image
    #[command(hide = true)]
    ImageWorker {
        /// The folder that it works in, for people who read the list of processes
        #[arg(hide = true)]
        folder: std::path::PathBuf,
    },
    /// Writes the reference of the command line
    #[command(hide = true)]
    GenerateReference,
}
