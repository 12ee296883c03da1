//! `muster explain`: what the code of a message means, or why a node is as it is.

use muster_engine::Explanation;
use muster_types::{ClusterName, NodeName, split_cluster};

use crate::commands::exec::wrong;
use crate::context::{Context, Orders};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::events::tone;
use crate::output::table::age;

/// Say what the code of a message means, or why a node is as it is and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster explain M0104\n  muster explain            list every code\n  \
                        muster explain web-1      what it waits for, the evidence, the likely cause, the remedy")]
pub(crate) struct Args {
    /// A code, such as M0104, or a node; all codes without it
    subject: Option<String>,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    match &args.subject {
        Some(subject) if !is_code(subject) => node(subject, context).await,
        subject => codes(subject.as_deref(), context),
    }
}

fn is_code(text: &str) -> bool {
    text.strip_prefix(['M', 'm']).is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
}

async fn node(subject: &str, context: &Context) -> Result<ExitStatus, Failure> {
    let (cluster, name) = split_cluster(subject).map_err(wrong)?;
    let hint = "name a node, as `muster status` lists them, or a code such as M0104";
    let name: NodeName = name.parse().map_err(|error| Failure::usage(error, hint))?;
    let opened = context.open(cluster.as_ref().map(ClusterName::as_str)).await?;
    let found = opened.engine("explain", Orders::default())?.engine.explain(&opened.name, &name).await?;
    let Some(found) = found else {
        return Err(Failure::usage(format!("cluster {} has no node `{name}`", opened.name), hint));
    };
    if context.printer.is_text() {
        show(&found, context);
    } else {
        context.printer.json(&found)?;
    }
    Ok(ExitStatus::DONE)
}

fn show(found: &Explanation, context: &Context) {
    let printer = &context.printer;
    let phase = printer.data_tone(found.phase.as_str(), tone(found.phase));
    printer.line(&format!("{}: {phase} for {}", found.node, age(found.since)));
    let waiting_for = if found.waiting_for.is_empty() { "nothing" } else { &found.waiting_for };
    printer.line(&format!("waits for: {waiting_for}"));
    printer.line("evidence:");
    for line in &found.evidence {
        printer.line(&format!("  - {line}"));
    }
    printer.line(&format!("likely cause: {}", found.cause));
    printer.line(&format!("remedy: {}", found.remedy));
}

fn codes(wanted: Option<&str>, context: &Context) -> Result<ExitStatus, Failure> {
    let wanted = wanted.map(str::to_ascii_uppercase);
    let codes: Vec<(&str, &str)> = muster_doc::codes::CODES
        .iter()
        .copied()
        .filter(|(code, _)| wanted.as_deref().is_none_or(|wanted| wanted == *code))
        .collect();
    if codes.is_empty() {
        let wanted = wanted.unwrap_or_default();
        return Err(Failure::usage(format!("there is no code `{wanted}`"), "`muster explain` lists them all"));
    }
    if context.printer.is_text() {
        for (code, text) in codes {
            context.printer.line(&format!("{code}  {text}"));
        }
    } else {
        let list: Vec<_> = codes.iter().map(|(code, text)| serde_json::json!({ "code": code, "text": text })).collect();
        context.printer.json(&serde_json::json!({ "version": 1, "codes": list }))?;
    }
    Ok(ExitStatus::DONE)
}
