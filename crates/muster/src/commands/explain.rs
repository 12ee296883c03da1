//! `muster explain`: what a code of a message means.

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;

/// Say what the code of a message means
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster explain M0104\n  muster explain            list every code")]
pub(crate) struct Args {
    /// A code, such as M0104; all of them without it
    code: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let wanted = args.code.as_deref().map(str::to_ascii_uppercase);
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
