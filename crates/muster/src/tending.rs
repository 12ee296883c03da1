//! What commands share that work on nodes which stay: the run and its account.

use std::collections::BTreeSet;

use muster_engine::compile::Compiled;
use muster_engine::{Exit, Outcome, Tend};
use muster_types::NodeName;

use crate::carry_out::Draining;
use crate::context::{Context, Opened, Orders, Ready};
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::output::events::show;
use crate::output::outcome::{accounts, document};
use crate::output::printer::Tone;
use crate::output::table::duration;
use crate::output::{Format, Printer};

pub(crate) async fn carry_out(
    (tend, nodes, again): (Tend, BTreeSet<NodeName>, String),
    draining: Draining,
    (compiled, opened): (&Compiled, &Opened),
    context: &Context,
) -> Result<ExitStatus, Failure> {
    let printer = &context.printer;
    let interrupt = Interrupt::listen(printer, again)?;
    let orders = Orders { drain: draining.drain(), ..Orders::default() };
    let Ready { engine, events } = opened.engine(&format!("node {}", tend.as_str()), orders)?;
    let working = async {
        let result = engine.tend(compiled, (tend, &nodes), interrupt.token.clone()).await;
        // The engine holds the sender of the events: the showing ends when it is gone.
        drop(engine);
        result
    };
    let (outcome, shown) = tokio::join!(working, show(events, printer.clone()));
    shown?;
    let outcome = outcome?;
    summary(&outcome, tend, printer)?;
    Ok(interrupt.status().filter(|_| outcome.exit != Exit::Done).unwrap_or(ExitStatus(outcome.exit.code())))
}

fn summary(outcome: &Outcome, tend: Tend, printer: &Printer) -> Result<(), Failure> {
    match printer.format {
        Format::JsonLines => return Ok(()),
        Format::Json => return printer.json(&document(outcome)),
        Format::Text => accounts(outcome, printer),
    }
    let word = match tend {
        Tend::Drain => "drained",
        Tend::Resume => "back at work",
        Tend::Stop => "stopped",
        Tend::Reboot => "rebooted",
    };
    let done = outcome.nodes.iter().filter(|node| node.phase == tend.aim()).count();
    let tone = if outcome.exit == Exit::Done { Tone::Good } else { Tone::Bad };
    let took = duration(outcome.took.as_millis());
    let text = format!("{}: {done} of {} {word}, in {took}", outcome.cluster, outcome.total());
    printer.note(&printer.tone(&text, tone));
    if outcome.untouched > 0 {
        printer.note(&format!("touched {} of {}", outcome.total(), outcome.total() + outcome.untouched));
    }
    Ok(())
}
