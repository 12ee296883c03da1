//! Diagnostics for people (the source, underlined) and for programs (JSON).

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use crate::{Diagnostic, Severity, SourceMap, Span};

/// Renders diagnostics one below the other; `width` is that of the terminal.
pub fn report(diagnostics: &[Diagnostic], sources: &SourceMap, colour: bool, width: usize) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1).with_links(false);
    let mut out = String::new();
    for diagnostic in diagnostics {
        for part in Part::of(diagnostic, sources) {
            // Writing to a String fails only if a span lies outside its source; then the words must do.
            let before = out.len();
            if handler.render_report(&mut out, &part).is_err() {
                out.truncate(before);
                out.push_str(&format_plain(diagnostic));
            }
        }
        out.push('\n');
    }
    out
}

fn format_plain(diagnostic: &Diagnostic) -> String {
    format!("{}: {}\n  help: {}\n", diagnostic.code, diagnostic.message, diagnostic.hint)
}

/// `[{code, severity, file, line, column, message, label, hint}]`; without a place, file, line and column are null.
pub fn to_json(diagnostics: &[Diagnostic], sources: &SourceMap) -> Value {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.span.map(|span| (sources.name(span.source), sources.line_column(span)));
        json!({
            "code": diagnostic.code,
            "severity": match diagnostic.severity { Severity::Warning => "warning", Severity::Error => "error" },
            "file": place.map(|(file, _)| file),
            "line": place.map(|(_, (line, _))| line),
            "column": place.map(|(_, (_, column))| column),
            "message": diagnostic.message,
            "label": diagnostic.label,
            "hint": diagnostic.hint,
        })
    };
    diagnostics.iter().map(one).collect()
}

/// One excerpt of one file. Places in other files become parts of their own, below.
#[derive(Debug)]
struct Part {
    code: String,
    severity: miette::Severity,
    message: String,
    hint: Option<String>,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
}

impl Part {
    fn of(diagnostic: &Diagnostic, sources: &SourceMap) -> Vec<Part> {
        let severity = match diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        };
        let main = diagnostic.span.map(|span| span.source);
        let mut labels: Vec<LabeledSpan> = Vec::new();
        if let Some(span) = diagnostic.span {
            let (at, length) = first_line(span, sources);
            labels.push(LabeledSpan::new_primary_with_span(Some(diagnostic.label.clone()), (at, length)));
        }
        let (near, far): (Vec<_>, Vec<_>) = diagnostic.related.iter().partition(|(span, _)| Some(span.source) == main);
        labels.extend(
            near.into_iter()
                .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), first_line(*span, sources))),
        );
        let named = |span: Span| NamedSource::new(sources.name(span.source), sources.text(span.source).to_owned());
        let mut parts = vec![Part {
            code: diagnostic.code.to_owned(),
            severity,
            message: diagnostic.message.clone(),
            hint: Some(diagnostic.hint.clone()),
            source: diagnostic.span.map(named),
            labels,
        }];
        parts.extend(far.into_iter().map(|(span, label)| Part {
            code: diagnostic.code.to_owned(),
            severity: miette::Severity::Advice,
            message: label.clone(),
            hint: None,
            source: Some(named(*span)),
            labels: vec![LabeledSpan::new_with_span(Some(label.clone()), first_line(*span, sources))],
        }));
        parts
    }
}

/// The part of a span that lies on its first line: a mapping that is wrong as a whole is shown by its beginning.
fn first_line(span: Span, sources: &SourceMap) -> (usize, usize) {
    let text = sources.text(span.source);
    let covered = text.get(span.start..span.end).unwrap_or_default();
    let line = covered.lines().next().unwrap_or_default().trim_end();
    (span.start.min(text.len()), line.len())
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Part {}

impl miette::Diagnostic for Part {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}
