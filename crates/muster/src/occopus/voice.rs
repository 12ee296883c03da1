//! What is said as Occopus says it: lines of its log on stdout, which other programs look for words in.

use jiff::Zoned;

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
