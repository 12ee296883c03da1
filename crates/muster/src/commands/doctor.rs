//! `muster doctor`: what this machine can and cannot do, and what mends it.

use muster_provider::{Finding, Verdict};

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::printer::Tone;
use crate::registry;

/// Look at this machine: what it can do for clusters, what each gap costs, and what mends it
#[derive(Debug, clap::Args)]
#[command(after_help = "Changes nothing. Exits with 1 if a provider can make no machine here.\n\n\
                        Examples:\n  muster doctor\n  muster doctor --json")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Result<ExitStatus, Failure> {
    let mut documents = Vec::new();
    let mut worst = Verdict::Good;
    for factory in registry::factories()? {
        let findings = factory.examine(&context.paths.state, &context.paths.images())?;
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
        worst = worst.max(verdict);
        if context.printer.is_text() {
            context.printer.line(&format!("provider {}: {}", factory.name(), conclusion(verdict)));
            for finding in &findings {
                show(finding, context);
            }
        }
        let name = factory.name();
        documents.push(serde_json::json!({ "provider": name, "verdict": verdict, "findings": findings }));
    }
    if !context.printer.is_text() {
        context.printer.json(&serde_json::json!({ "version": 1, "providers": documents }))?;
    }
    Ok(if worst == Verdict::Bad { ExitStatus::FAILED } else { ExitStatus::DONE })
}

fn conclusion(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "all is well",
        Verdict::Gap => "works, with gaps",
        Verdict::Bad => "can make no nodes here",
    }
}

fn show(finding: &Finding, context: &Context) {
    let (word, tone) = match finding.verdict {
        Verdict::Good => ("ok", Tone::Good),
        Verdict::Gap => ("gap", Tone::Busy),
        Verdict::Bad => ("no", Tone::Bad),
    };
    let printer = &context.printer;
    let word = printer.data_tone(&format!("{word:<4}"), tone);
    let costs = finding.costs.as_ref().map_or_else(String::new, |costs| format!(": {costs}"));
    printer.line(&format!("  {word}{:<18}{}{costs}", finding.topic, finding.found));
    if let Some(remedy) = &finding.remedy {
        printer.line(&format!("      {:<18}{remedy}", "mend it:"));
    }
}
