//! What is said as Occopus says it: lines of its log on stdout, which other programs look for words in.

use std::collections::BTreeMap;

use jiff::Zoned;
use muster_api::{Event, EventBody};
use muster_types::{NodeName, Phase};
use tokio::sync::mpsc;

use crate::error::Failure;
use crate::output::Printer;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    printer: Printer,
}

impl Voice {
    pub(crate) fn new(printer: Printer) -> Self {
        Self { printer }
    }

    pub(crate) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// `** 2021-11-30 13:28:53,463<TAB>text`; each line of a text is one of the log.
    pub(crate) fn info(&self, text: &str) {
        let now = Zoned::now();
        let stamp = now.strftime("%Y-%m-%d %H:%M:%S");
        let milliseconds = now.millisecond();
        for line in text.lines() {
            self.printer.line(&format!("** {stamp},{milliseconds:03}\t{line}"));
        }
    }

    pub(crate) fn error(&self, text: &str) {
        self.info(text);
    }

    /// Without a time in front: what scripts take from the output.
    pub(crate) fn plain(&self, text: &str) {
        self.printer.line(text);
    }

    /// For people: stderr.
    pub(crate) fn note(&self, text: &str) {
        self.printer.note(text);
    }

    /// What went wrong, in a line of the log, and what to do. Places in files go to stderr, as they do everywhere.
    pub(crate) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Rejected { sources, diagnostics } => {
                self.printer.diagnostics(diagnostics, sources);
                for found in diagnostics.iter().filter(|found| found.is_error()) {
                    self.error(&placed(found, sources));
                }
            }
            Failure::Error { error, hint, .. } => {
                let words: Vec<String> = error.chain().map(ToString::to_string).collect();
                self.error(&words.join(": "));
                self.printer.hint(hint);
            }
        }
    }
}

/// `infra.yaml:3:5: what is wrong`
pub(crate) fn placed(found: &muster_doc::Diagnostic, sources: &muster_doc::SourceMap) -> String {
    let Some(span) = found.span else { return found.message.clone() };
    let (line, column) = sources.line_column(span);
    format!("{}:{line}:{column}: {}", sources.name(span.source), found.message)
}

/// How Occopus speaks of a node: its name, and the id of one instance.
fn words(node: &NodeName, ids: &dyn Fn(&NodeName) -> String) -> String {
    let text = node.as_str();
    let name = text.rsplit_once('-').map_or(text, |(name, _)| name);
    format!("'{name}'/'{}'", ids(node))
}

/// Says what happens in a run until nothing more can, once for each node and phase.
pub(crate) async fn follow(
    voice: &Voice,
    mut events: mpsc::Receiver<Event>,
    ids: &(dyn Fn(&NodeName) -> String + Sync),
) {
    let mut phases: BTreeMap<NodeName, Phase> = BTreeMap::new();
    while let Some(event) = events.recv().await {
        match event.body {
            EventBody::Phase { node, phase, reason, .. } => {
                let node_words = words(&node, ids);
                if phases.insert(node, phase) != Some(phase)
                    && let Some(text) = phase_words(phase, &node_words, &reason)
                {
                    voice.info(&text);
                }
            }
            EventBody::Warning { node, message } => {
                let node = node.map(|node| format!("{}: ", words(&node, ids))).unwrap_or_default();
                voice.info(&format!("{node}{message}"));
            }
            EventBody::Image { image, step, .. } if step.is_empty() => voice.info(&format!("Image {image} is there")),
            _ => {}
        }
    }
}

fn phase_words(phase: Phase, node: &str, reason: &str) -> Option<String> {
    match phase {
        Phase::Creating => Some(format!("Creating node {node}")),
        Phase::Configuring => Some(format!("Configuring node {node}")),
        Phase::Checking => Some(format!("Health checking for node {node}")),
        Phase::Ready => Some(format!("Node {node} is ready.")),
        Phase::Failed => Some(format!("Error while creating node {node}: {reason}")),
        Phase::Draining => Some(format!("Draining node {node}")),
        Phase::Removing => Some(format!("Dropping node {node}")),
        Phase::Planned | Phase::Booting | Phase::Joining | Phase::Stopped => None,
    }
}
