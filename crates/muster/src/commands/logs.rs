//! `muster logs`: what happened to a cluster, or what a node's configuration said.

use muster_api::{EventBody, LogStream};
use muster_transport::AgentEndpoint;
use muster_types::NodeName;

use crate::context::{Context, Opened};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::Tone;

/// Lines that are asked for at the most.
const LINES_MAX: u32 = 100_000;

/// Show what happened to a cluster, or what the steps of a node's configuration printed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster logs                        what happened to the cluster\n  \
                        muster logs web-1 --follow         what its configuration prints, as it goes\n  \
                        muster logs web-1 --step 'runcmd[0]'\n  muster logs web-1 --console        the machine's own console")]
pub(crate) struct Args {
    /// The node; without it, the events of the cluster, which stay after `down`
    node: Option<NodeName>,
    /// How many lines from the end
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=i64::from(LINES_MAX)))]
    lines: u32,
    /// Only this step of the configuration
    #[arg(long, requires = "node", value_name = "STEP")]
    step: Option<String>,
    /// Go on as more is printed
    #[arg(short, long, requires = "node", conflicts_with = "console")]
    follow: bool,
    /// The machine's console instead
    #[arg(long, requires = "node")]
    console: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    let Some(node) = &args.node else { return events(&args, context).await };
    let opened = context.open(None).await?;
    if args.console {
        return console(&args, node, &opened, context).await;
    }
    let record = opened.nodes().await?.into_iter().find(|record| record.name == *node);
    let record = record.ok_or_else(|| unknown(node, &opened))?;
    let Some(address) = record.addresses.first() else {
        let hint = format!("`muster status` says where it is; its console: `muster logs {node} --console`");
        return Err(Failure::new(format!("{node} has no address yet"), hint, ExitStatus::FAILED));
    };
    let endpoint = AgentEndpoint { node: node.clone(), address: (*address, muster_api::AGENT_PORT).into() };
    let client = opened.links()?.clients().node(endpoint);
    let unreachable = |error: muster_transport::TransportError| {
        let hint = format!("its console is kept beside it: `muster logs {node} --console`");
        Failure::Error { error: error.into(), hint, status: ExitStatus::UNREACHABLE }
    };
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let mut stream = client.logs(lines, args.step.as_deref(), args.follow).await.map_err(unreachable)?;
    let mut empty = true;
    let redactor = opened.redactor();
    while let Some(mut line) = stream.next().await.map_err(unreachable)? {
        empty = false;
        redactor.clean(&mut line.text);
        if context.printer.is_text() {
            let mark = if line.stream == LogStream::Stderr { "!" } else { " " };
            let head = context
                .printer
                .data_tone(&format!("{} {}{mark}", line.at.strftime("%H:%M:%S%.3f"), line.step), Tone::Quiet);
            context.printer.line(&format!("{head} {}", line.text));
        } else {
            context.printer.json_line(&line)?;
        }
    }
    if empty && context.printer.is_text() {
        context.printer.note(&format!("The steps of {node}'s configuration have printed nothing."));
    }
    Ok(ExitStatus::DONE)
}

fn unknown(node: &NodeName, opened: &Opened) -> Failure {
    let hint = format!("`muster status {}` lists its nodes", opened.name);
    Failure::usage(format!("cluster {} has no node `{node}`", opened.name), hint)
}

async fn console(args: &Args, node: &NodeName, opened: &Opened, context: &Context) -> Result<ExitStatus, Failure> {
    let record = opened.nodes().await?.into_iter().find(|record| record.name == *node);
    let record = record.ok_or_else(|| unknown(node, opened))?;
    let Some(machine) = &record.machine else {
        return Err(Failure::new(format!("{node} has no machine yet"), "make it: `muster up`", ExitStatus::FAILED));
    };
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let redactor = opened.redactor();
    for mut line in opened.provider.console(machine, lines).await? {
        redactor.clean(&mut line);
        context.printer.line(&line);
    }
    Ok(ExitStatus::DONE)
}

/// The event log, which outlives the cluster.
async fn events(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let store = context.store()?;
    let cluster = context.choose(store.as_ref(), None).await?;
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let events = store.events(&cluster, lines).await?;
    if events.is_empty() {
        context.printer.note(&format!("Nothing is known to have happened to a cluster `{cluster}`."));
    }
    for event in events {
        if !context.printer.is_text() {
            context.printer.json_line(&event)?;
            continue;
        }
        let at = context.printer.data_tone(&event.at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(), Tone::Quiet);
        context.printer.line(&format!("{at}  {}", words(&event.body)));
    }
    Ok(ExitStatus::DONE)
}

/// An event in one line.
pub(crate) fn words(body: &EventBody) -> String {
    match body {
        EventBody::RunStarted { cluster, command } => format!("{command} of {cluster} started"),
        EventBody::Planned { create, start, configure, replace, remove, keep } => format!(
            "planned: create {create}, start {start}, configure {configure}, replace {replace}, remove {remove}, keep {keep}"
        ),
        EventBody::Image { image, step, .. } if step.is_empty() => format!("image {image}: there"),
        EventBody::Image { image, step, detail } if detail.is_empty() => format!("image {image}: {step}"),
        EventBody::Image { image, step, detail } => format!("image {image}: {step}: {detail}"),
        EventBody::Ordered { by, plan } if plan.is_empty() => format!("by {by}"),
        EventBody::Ordered { by, plan } => format!("by {by}, plan {plan}"),
        EventBody::Decided { node, verb, reason, machine } => {
            let machine = machine.as_ref().map(|machine| format!(" (machine {machine})")).unwrap_or_default();
            format!("{node}: decided to {verb}: {reason}{machine}")
        }
        EventBody::Called { order, node, machine, error, duration_ms } => {
            let subject: Vec<String> =
                node.iter().map(ToString::to_string).chain(machine.iter().map(ToString::to_string)).collect();
            let end = error.as_ref().map_or_else(|| "done".to_owned(), |error| format!("failed: {error}"));
            format!("provider: {order} {}: {end}, {duration_ms} ms", subject.join(" ")).replace(" :", ":")
        }
        EventBody::Intent { node, action, token } => format!("{node}: about to {action} ({token})"),
        EventBody::Recorded { node, action } => format!("{node}: {action} recorded"),
        EventBody::Phase { node, phase, waiting_for, reason } => {
            let why = if reason.is_empty() { waiting_for } else { reason };
            if why.is_empty() { format!("{node}: {phase}") } else { format!("{node}: {phase} ({why})") }
        }
        EventBody::Step { node, step, outcome, index, total } => {
            format!("{node}: step {} of {total}, {step}: {outcome:?}", index + 1).to_lowercase()
        }
        EventBody::Output { node, step, text, .. } => format!("{node}: {step}: {text}"),
        EventBody::Warning { node, message } => match node {
            Some(node) => format!("{node}: warning: {message}"),
            None => format!("warning: {message}"),
        },
        EventBody::Failed { node, step, message, .. } => {
            let place: Vec<String> = node.iter().map(ToString::to_string).chain(step.clone()).collect();
            format!("{}: {message}", place.join(", "))
        }
        EventBody::RunFinished { exit, ready, total, duration_ms } => {
            format!("finished with {exit}: {ready} of {total} ready, {duration_ms} ms")
        }
    }
}
