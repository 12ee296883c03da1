//! `occopus-maintain`: lists, reports, or looks after an infrastructure: one pass, or pass after pass.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use muster_engine::Exit;
use muster_server::occopus::Report;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::occopus::args::Maintain;
use crate::occopus::build::{list, unfinished};
use crate::occopus::session::{Order, Session};
use crate::occopus::settings;
use crate::occopus::voice::Voice;

/// Between passes, at most.
const INTERVAL_MAX: Duration = Duration::from_hours(24);

pub(crate) async fn run(args: Maintain, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    settings::configuration(args.files.config.as_deref(), voice)?;
    settings::check_credentials(args.auth.auth_data.as_deref(), voice)?;
    let session = Session::open(context, voice)?;
    let Some(id) = &args.infra_id else {
        return if args.list { known(&session, voice) } else { no_id(voice) };
    };
    if args.report {
        let report = session.report(id).await?;
        return report_to(&report, &args, voice);
    }
    let interval = Duration::try_from_secs_f64(args.interval).ok().filter(|interval| *interval <= INTERVAL_MAX);
    let Some(interval) = interval else {
        return Err(Failure::usage("the interval is no number of seconds", "write for example `-t 30`"));
    };
    let interrupt = Interrupt::listen(&context.printer, format!("occopus-maintain -i {id}"))?;
    let mut status = pass(id, &session, interrupt.token.clone()).await;
    while args.cyclic && !interrupt.token.is_cancelled() {
        if let Err(failure) = status {
            // Occopus would end here. Whoever looks after something does not stop when it is needed.
            voice.failure(&failure);
            voice.info(&format!("The next pass comes in {} s", interval.as_secs_f64()));
        }
        tokio::select! {
            // The loop ends.
            () = interrupt.token.cancelled() => {}
            // The time that has passed does not matter.
            () = tokio::time::sleep(interval) => {}
        }
        if interrupt.token.is_cancelled() {
            voice.info("Ctrl+C - exiting.");
            return Ok(ExitStatus::DONE);
        }
        // What is gone needs nobody.
        if session.records.find(id)?.is_none() {
            voice.info(&format!("Infrastructure '{id}' is gone"));
            return Ok(ExitStatus::DONE);
        }
        status = pass(id, &session, interrupt.token.clone()).await;
    }
    Ok(interrupt.status().unwrap_or(status?))
}

async fn pass(id: &str, session: &Session, token: CancellationToken) -> Result<ExitStatus, Failure> {
    let voice = &session.voice;
    voice.info(&format!("Start maintaining the infrastructure {id}"));
    let order = Order { command: "occopus-maintain", new: None, replace: true };
    let outcome = session.pass(id, order, token).await?;
    if outcome.exit != Exit::Done {
        unfinished(&outcome, voice);
        voice.info(&format!("{} of {} nodes of {id} are ready", outcome.ready(), outcome.total()));
        return Ok(ExitStatus::FAILED);
    }
    voice.info(&format!("Finished maintaining the infrastructure {id}"));
    Ok(ExitStatus::DONE)
}

fn known(session: &Session, voice: &Voice) -> Result<ExitStatus, Failure> {
    let records = session.records.all()?;
    voice.plain(if records.is_empty() { "No active infrastructure!" } else { "List of active infrastructure:" });
    for record in &records {
        voice.plain(&record.id);
    }
    Ok(ExitStatus::DONE)
}

#[expect(clippy::unnecessary_wraps, reason = "ends a command as the others do")]
fn no_id(voice: &Voice) -> Result<ExitStatus, Failure> {
    // With the blank at the end, as Occopus says it.
    voice.plain("ERROR: No infra_id (-i) specified! ");
    Ok(ExitStatus::FAILED)
}

fn report_to(report: &Report, args: &Maintain, voice: &Voice) -> Result<ExitStatus, Failure> {
    let filter = args.filter.as_deref();
    let Some(path) = &args.output else {
        voice.info("Report list of nodes/instances/addresses:");
        list(report, filter, voice);
        return Ok(ExitStatus::DONE);
    };
    voice.info(&format!("Saving list of node addresses to file \"{}\"...", path.display()));
    write(report, filter, path)?;
    voice.info("Done.");
    Ok(ExitStatus::DONE)
}

fn write(report: &Report, filter: Option<&str>, path: &Path) -> Result<(), Failure> {
    let mut text = String::new();
    for node in report.nodes.iter().filter(|node| filter.is_none_or(|filter| node.name.contains(filter))) {
        for instance in &node.instances {
            writeln!(text, "{}", instance.addresses.join(" ")).expect("a String takes everything");
        }
    }
    Ok(fs_err::write(path, text)?)
}
