//! What a document asks of this node, after all that was done on it.

use std::sync::Arc;

use muster_api::ApplyRequest;
use muster_cloudinit::{Commands, Document, Section, StepKind, align, parse_document};
use muster_doc::{Diagnostic, SourceMap};

use super::journal::{Done, Facts, Started};
use super::run::{Run, Slot};
use super::{ApplyRefusal, State};

pub(super) struct Planned {
    pub(super) document: Document,
    pub(super) run: Arc<Run>,
}

/// Decides whether the document can be applied here, and begins it in the journal.
pub(super) fn plan(state: &mut State, request: ApplyRequest) -> Result<Planned, ApplyRefusal> {
    let hash = request.hash.clone();
    let refuse = |state: &mut State, refusal: ApplyRefusal| {
        // The order was refused for what it says, not for who gave it: older owners are shut out all the same.
        state.journal.raise(request.generation).map_or_else(ApplyRefusal::Journal, |()| refusal)
    };
    let document = match parse_document(&request.document) {
        Ok(document) => document,
        Err(findings) => {
            let findings = messages(&request.document, &findings);
            return Err(refuse(state, ApplyRefusal::Invalid { findings }));
        }
    };
    let mut warnings = messages(&request.document, &document.warnings);
    let facts = state.journal.facts();
    if facts.hash == hash {
        state.journal.raise(request.generation).map_err(ApplyRefusal::Journal)?;
        if state.journal.facts().failed.is_some() {
            state.journal.resumed().map_err(ApplyRefusal::Journal)?;
        }
    } else {
        let slots = state.run.as_ref().map(|run| run.slots()).unwrap_or_default();
        let carried = match carry(facts, &slots, &document) {
            Ok(carried) => carried,
            Err(refusal) => return Err(refuse(state, refusal)),
        };
        warnings.extend(left_over(facts, &slots, &document));
        let notes = notes(facts, &document);
        let begun = state.journal.begin(request.generation, &hash, request.document, carried, notes);
        begun.map_err(ApplyRefusal::Journal)?;
    }
    let run = Arc::new(Run::new(hash, &document, warnings));
    Ok(Planned { document, run })
}

/// The steps of the new document that are done already.
fn carry(facts: &Facts, old: &[Slot], new: &Document) -> Result<Vec<Done>, ApplyRefusal> {
    let is_command = |kind: &StepKind| matches!(kind, StepKind::Command(_));
    let states = new.steps.iter().filter(|step| !is_command(&step.kind));
    let mut carried: Vec<Done> = states
        .filter_map(|step| facts.done.get(step.id.as_str()))
        .map(|done| Done { carried: true, ..done.clone() })
        .collect();
    let mut misfits = Vec::new();
    for section in [Section::Boot, Section::Run] {
        let ran: Vec<&Done> = old
            .iter()
            .filter(|slot| slot.command == Some(section))
            .filter_map(|slot| facts.done(&slot.id, &slot.hash))
            .collect();
        let mut commands = Commands::default();
        for done in &ran {
            let rerun = old.iter().any(|slot| slot.id == done.id && slot.rerun);
            commands.push(&done.id, &done.hash, rerun);
        }
        match align(&commands, &Commands::of(new, section)) {
            Ok(kept) => carried.extend(new.commands(section).zip(kept).filter_map(|(step, kept)| {
                let done = ran[kept?].clone();
                Some(Done { id: step.id.as_str().to_owned(), carried: true, ..done })
            })),
            Err(found) => misfits.extend(found),
        }
    }
    if misfits.is_empty() {
        return Ok(carried);
    }
    let steps = misfits.iter().map(|misfit| misfit.id.as_str().to_owned()).collect();
    let reasons: Vec<String> = misfits.into_iter().map(|misfit| misfit.reason).collect();
    Err(ApplyRefusal::Replace { steps, reason: reasons.join("; ") })
}

/// What steps noted that were begun and failed, and that the new document has too.
fn notes(facts: &Facts, new: &Document) -> Vec<Started> {
    let kept = |note: &&Started| new.step(&note.id).is_some_and(|step| step.hash.as_str() == note.hash);
    facts.notes.values().filter(kept).cloned().collect()
}

/// States that the node has been brought to and that nobody asks for any more.
fn left_over(facts: &Facts, old: &[Slot], new: &Document) -> Vec<String> {
    let gone = old.iter().filter(|slot| slot.command.is_none() && new.step(&slot.id).is_none());
    gone.filter(|slot| facts.done.contains_key(&slot.id) && !slot.rerun)
        .map(|slot| format!("{} is no longer in the document; what it made stays as it is", slot.id))
        .collect()
}

/// Findings in one line each.
pub(super) fn messages(text: &str, findings: &[Diagnostic]) -> Vec<String> {
    let mut sources = SourceMap::default();
    sources.add("cloud-config", text);
    let place = |finding: &Diagnostic| {
        finding.span.map(|span| sources.line_column(span)).map(|(line, column)| format!("{line}:{column}: "))
    };
    findings
        .iter()
        .map(|finding| format!("{}{} (hint: {})", place(finding).unwrap_or_default(), finding.message, finding.hint))
        .collect()
}
