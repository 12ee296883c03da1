//! `muster shell`: a terminal on a node.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use muster_api::{ExecExit, ExecRequest, Frame, FrameKind, WindowSize};
use muster_sys::terminal::RawTerminal;
use muster_transport::{AgentEndpoint, ExecReceiver, ExecSender};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::exec::select;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::terminal_size;

/// A login shell if the node has one.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash -l; exec sh -l"];

/// Open a shell on a node
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster shell web-1\n  muster shell -u postgres demo:db-1\n  muster shell web-1 -- top"
)]
pub(crate) struct Args {
    /// The node; CLUSTER:NODE for another cluster
    node: String,
    /// This user of the node
    #[arg(short, long)]
    user: Option<String>,
    /// This command in place of a shell
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    if !std::io::stdin().is_terminal() {
        let hint = format!("run a command without a terminal by `muster exec {} -- CMD`", args.node);
        return Err(Failure::usage("standard input is not a terminal", hint));
    }
    let (opened, nodes) = select(&args.node, context).await?;
    let [node] = nodes.as_slice() else {
        return Err(Failure::usage("a shell is on one node", "name one; `muster exec` runs on several"));
    };
    let Some(address) = node.addresses.first() else {
        let message = format!("{} has no address yet", node.name);
        return Err(Failure::new(message, "`muster status` says what it waits for", ExitStatus::UNREACHABLE));
    };
    let command = if args.command.is_empty() { SHELL.map(str::to_owned).to_vec() } else { args.command };
    let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
    let env = BTreeMap::from([("TERM".to_owned(), term)]);
    let request = ExecRequest { command, env, cwd: None, user: args.user, tty: Some(window()) };
    let endpoint = AgentEndpoint { node: node.name.clone(), address: (*address, muster_api::AGENT_PORT).into() };
    let client = opened.links()?.clients().node(endpoint);
    let stream = client.exec(&request).await.map_err(|error| {
        let hint = format!("`muster status`, or its console: `muster logs {} --console`", node.name);
        Failure::Error { error: error.into(), hint, status: ExitStatus::UNREACHABLE }
    })?;
    let (sender, mut receiver) = stream.split();
    let raw = RawTerminal::enter()?;
    let exit = tokio::select! {
        // Its end is the end of the shell.
        exit = receive(&mut receiver, context) => exit,
        // Never ends; keys that were not sent have nobody to go to.
        never = pass_keys(sender) => match never {},
    };
    drop(raw);
    let exit = exit?;
    if let Some(error) = exit.error {
        context.printer.note(&error);
    }
    Ok(ExitStatus(u8::try_from(exit.code).unwrap_or(u8::MAX)))
}

async fn receive(receiver: &mut ExecReceiver, context: &Context) -> Result<ExecExit, Failure> {
    while let Some(frame) = receiver.recv().await.map_err(anyhow::Error::from)? {
        if frame.kind == FrameKind::Exit {
            return Ok(serde_json::from_slice(&frame.payload).map_err(anyhow::Error::from)?);
        }
        context.printer.raw(&frame.payload);
    }
    let hint = "`muster status` tells whether it is still there";
    Err(Failure::new("the connection to the node ended", hint, ExitStatus::UNREACHABLE))
}

fn window() -> WindowSize {
    let (columns, rows) = terminal_size();
    WindowSize { columns: u16::try_from(columns).unwrap_or(80), rows: u16::try_from(rows).unwrap_or(24) }
}

/// Keys and window sizes, until the other side is gone.
async fn pass_keys(mut sender: ExecSender) -> std::convert::Infallible {
    let mut resized = signal(SignalKind::window_change()).ok();
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 4 << 10];
    loop {
        let frame = tokio::select! {
            // A read that is lost here has read nothing: tokio keeps what it read for the next one.
            length = stdin.read(&mut buffer) => match length {
                Ok(length) if length > 0 => Frame::new(FrameKind::Stdin, buffer[..length].to_vec()),
                _ => Frame::new(FrameKind::StdinClosed, ""),
            },
            // Only the newest size matters.
            () = resize(resized.as_mut()) => {
                let Ok(size) = serde_json::to_vec(&window()) else { continue };
                Frame::new(FrameKind::Resize, size)
            }
        };
        let closed = frame.kind == FrameKind::StdinClosed;
        if sender.send(frame).await.is_err() || closed {
            std::future::pending::<()>().await;
        }
    }
}

async fn resize(signals: Option<&mut tokio::signal::unix::Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}
