//! `muster`: turns a short cluster file into running, joined, verified nodes, and keeps them useful.

mod carry_out;
mod cli;
mod commands;
mod confirm;
mod context;
mod error;
mod exit;
mod interrupt;
mod known;
mod names;
mod no_agents;
mod occopus;
mod output;
mod paths;
mod plan_file;
mod registry;
mod scaling;
mod serf;
mod tending;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::{Format, Printer};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if let Some(name) = names::called(words.next().as_deref()) {
        return (name.run)(name.word, words.collect()).into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for; everything else is a mistake in the command line.
            let status = if error.use_stderr() { ExitStatus::USAGE } else { ExitStatus::DONE };
            error.print().ok();
            return status.into();
        }
    };
    // These must run before there is a second thread.
    match cli.command {
        Command::Shepherd(args) => commands::shepherd::run(&args).into(),
        Command::NodeInit { .. } => ExitCode::from(commands::node_init::run()),
        Command::NodeAgent => ExitCode::from(commands::node_init::run_unit()),
        Command::ImageWorker { .. } => ExitCode::from(commands::image_worker::run()),
        Command::Serf { words } => serf::run("muster serf", words).into(),
        Command::Occopus { words } => occopus::run("muster", words).into(),
        command => run(&cli.global, command).into(),
    }
}

fn run(global: &cli::Global, command: Command) -> ExitStatus {
    let format = match (global.json, global.jsonl) {
        (true, _) => Format::Json,
        (_, true) => Format::JsonLines,
        _ => Format::Text,
    };
    let printer = Printer::new(format);
    start_log(global.verbose);
    let result =
        with_runtime(printer.clone(), global.cluster.clone(), async |context| dispatch(command, context).await);
    result.unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.status()
    })
}

/// Does some work with what every command starts from.
fn with_runtime(
    printer: Printer,
    cluster: Option<String>,
    work: impl AsyncFnOnce(&Context) -> Result<ExitStatus, Failure>,
) -> Result<ExitStatus, Failure> {
    // One provider of cryptography for the whole program; a second call would find it there.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let context = Context::new(printer, cluster)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work(&context));
    // A thread that waits for the terminal's next key cannot be ended otherwise.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command, context: &Context) -> Result<ExitStatus, Failure> {
    match command {
        Command::Up(args) => Box::pin(commands::up::run(args, context)).await,
        Command::Plan(args) => commands::plan::run(args, context).await,
        Command::Drift(args) => commands::drift::run(args, context).await,
        Command::Validate(args) => commands::validate::run(&args, context),
        Command::Render(args) => commands::render::run(args, context).await,
        Command::Status(args) => commands::status::run(args, context).await,
        Command::Ls(args) => commands::ls::run(args, context).await,
        Command::Audit(args) => commands::audit::run(args, context).await,
        Command::Logs(args) => commands::logs::run(args, context).await,
        Command::Scale(args) => Box::pin(commands::scale::run(args, context)).await,
        Command::Node(args) => Box::pin(commands::node::run(args, context)).await,
        Command::Stop(args) => Box::pin(commands::stop::run(args, context)).await,
        Command::Start(args) => Box::pin(commands::start::run(args, context)).await,
        Command::Exec(args) => Box::pin(commands::exec::run(args, context)).await,
        Command::Shell(args) => Box::pin(commands::shell::run(args, context)).await,
        Command::Sweep(args) => Box::pin(commands::sweep::run(args, context)).await,
        Command::Down(args) => Box::pin(commands::down::run(args, context)).await,
        Command::Nodes(args) => commands::nodes::run(args, context).await,
        Command::Image(args) => Box::pin(commands::image::run(args, context)).await,
        Command::Recipe(args) => commands::recipe::run(&args, context),
        Command::Doctor(args) => commands::doctor::run(&args, context),
        Command::Import(args) => commands::import::run(&args, context),
        Command::Explain(args) => commands::explain::run(&args, context).await,
        Command::Serve(args) => Box::pin(commands::serve::run(args, context)).await,
        Command::SetupLinks(args) => commands::setup_links::run(&args, context),
        Command::GenerateReference => Ok(commands::reference::run(context)),
        Command::Serf { .. }
        | Command::Occopus { .. }
        | Command::Shepherd(_)
        | Command::NodeInit { .. }
        | Command::NodeAgent
        | Command::ImageWorker { .. } => {
            unreachable!("taken care of before there is a runtime")
        }
    }
}

/// Our own log is for finding faults; what users should know is printed.
fn start_log(verbose: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MUSTER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(if verbose { "muster=debug,info" } else { "off" }));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
