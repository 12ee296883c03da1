//! `occopus-build`: builds an infrastructure, or reconfigures one.

use muster_engine::{Exit, Outcome};
use muster_types::Phase;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::occopus::args::Build;
use crate::occopus::records::{Record, new_id};
use crate::occopus::session::{Order, Session, compile_record};
use crate::occopus::settings;
use crate::occopus::voice::Voice;

pub(crate) async fn run(args: Build, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    let configuration = settings::configuration(args.files.config.as_deref(), voice)?;
    settings::check_credentials(args.auth.auth_data.as_deref(), voice)?;
    let session = Session::open(context, voice)?;
    let id = args.infra_id.clone().unwrap_or_else(new_id);
    let record = described(&args, &id, &session)?;
    let compiled = compile_record(&record)?;
    if !compiled.warnings.is_empty() {
        context.printer.diagnostics(&compiled.warnings, &compiled.sources);
    }
    if configuration.dry_run {
        voice.info("Dry run: nothing is made. What would be done:");
        voice.info(session.plan(&record).await?.to_string().trim_end());
        voice.plain(&id);
        return Ok(ExitStatus::DONE);
    }
    let is_new = session.records.find(&id)?.is_none();
    if is_new {
        // Before anything is made: what is written down can be removed.
        session.records.put(&record)?;
    }
    match &args.infra_id {
        Some(id) => voice.info(&format!("Updating infrastructure: '{id}'")),
        None => voice.info(&format!("Submitted infrastructure: '{id}'")),
    }
    let interrupt = Interrupt::listen(&context.printer, format!("occopus-build {} -i {id}", args.file.display()))?;
    let order = Order { command: "occopus-build", new: (!is_new).then_some(record), replace: args.replace };
    let outcome = session.pass(&id, order, interrupt.token.clone()).await?;
    if outcome.exit != Exit::Done {
        unfinished(&outcome, voice);
        voice.error(&format!(
            "Infrastructure '{id}' is not complete. What was built stays: go on with `occopus-build {} -i {id}`, or remove \
             it with `occopus-destroy -i {id}`",
            args.file.display()
        ));
        return Ok(interrupt.status().unwrap_or(ExitStatus::FAILED));
    }
    closing_list(&id, &session, voice).await?;
    voice.plain(&id);
    Ok(ExitStatus::DONE)
}

/// The infrastructure as the file describes it now.
fn described(args: &Build, id: &str, session: &Session) -> Result<Record, Failure> {
    let source = crate::context::source(Some(&args.file))?;
    let description = String::from_utf8(source.text)
        .map_err(|_| Failure::new(format!("{} is not UTF-8", source.path), "save it as UTF-8", ExitStatus::BAD_FILE))?;
    let known = session.records.find(id)?;
    let mut record = match known {
        Some(record) => record,
        None => Record::new(id, &infra_name(&description))?,
    };
    record.folder = Some(std::path::absolute(&source.folder)?);
    record.path = source.path;
    record.description = description;
    record.definitions = session.imported()?;
    record.provider = args.ours.provider.clone().or(record.provider);
    Ok(record)
}

/// As far as it can be read; what is wrong with a description is told when it is compiled.
pub(crate) fn infra_name(description: &str) -> String {
    let mut sources = muster_doc::SourceMap::default();
    let id = sources.add("description", description);
    let (tree, _, _) = muster_doc::parse_tagged(&sources, id, &["!yaml_import", "!text_import"]);
    let name = tree.as_ref().and_then(|tree| tree.get("infra_name")?.as_str());
    name.map(|name| name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()).unwrap_or_default()
}

/// Every node that is not ready, with its reason, its last words and what to do.
pub(crate) fn unfinished(outcome: &Outcome, voice: &Voice) {
    for node in outcome.nodes.iter().filter(|node| node.phase != Phase::Ready) {
        let step = node.step.as_ref().map(|step| format!(", {step}")).unwrap_or_default();
        voice.error(&format!("Node {} is {}{step}: {}", node.name, node.phase, node.reason));
        for line in &node.log {
            voice.note(&format!("    {line}"));
        }
        voice.printer().hint(&node.hint);
    }
    for leftover in &outcome.leftovers {
        voice.error(&format!("Left: {leftover}"));
    }
}

/// What programs and people look for at the end.
async fn closing_list(id: &str, session: &Session, voice: &Voice) -> Result<(), Failure> {
    voice.info(&format!("Query infrastructure details: '{id}'"));
    let report = session.report(id).await?;
    voice.info(&format!("Submitted infrastructure: '{id}'"));
    voice.info("List of nodes/instances/addresses:");
    list(&report, None, voice);
    Ok(())
}

pub(crate) fn list(report: &muster_server::occopus::Report, filter: Option<&str>, voice: &Voice) {
    for node in report.nodes.iter().filter(|node| filter.is_none_or(|filter| node.name.contains(filter))) {
        voice.info(&format!("{}:", node.name));
        for instance in &node.instances {
            voice.info(&format!("  {}:", instance.id));
            for address in &instance.addresses {
                voice.info(&format!("    {address}"));
            }
        }
    }
}
