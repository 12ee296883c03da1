//! The one place that writes to stdout and stderr.

use std::io::{self, IsTerminal as _, Write as _};

use muster_doc::{Diagnostic, SourceMap};
use serde::Serialize;

use crate::error::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    /// One document at the end.
    Json,
    /// A stream of events.
    JsonLines,
}

#[derive(Debug, Clone)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    colour_stdout: bool,
    colour_stderr: bool,
    /// Whether progress may be drawn.
    pub(crate) live: bool,
    width: usize,
}

/// Meaning, not colour: the printer knows how each is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Busy,
    Quiet,
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "36",
            Self::Quiet => "2",
            Self::Strong => "1",
        }
    }
}

#[expect(clippy::unused_self, reason = "whoever may print holds a printer")]
impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = io::stderr().is_terminal() && format != Format::JsonLines && !plain_terminal();
        Self {
            format,
            colour_stdout: !plain && io::stdout().is_terminal(),
            colour_stderr: !plain && io::stderr().is_terminal(),
            live,
            width: terminal_size().0,
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// Data. A reader that has gone away is not an error: `muster ls | head -1`.
    pub(crate) fn data(&self, text: &str) {
        write_to(&mut io::stdout().lock(), text);
    }

    pub(crate) fn line(&self, text: &str) {
        self.data(&format!("{text}\n"));
    }

    /// A document; one line where a stream of lines is expected.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        if self.format == Format::JsonLines {
            return self.json_line(value);
        }
        let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        self.line(&text);
        Ok(())
    }

    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        self.line(&text);
        Ok(())
    }

    /// Everything that is not data.
    pub(crate) fn note(&self, text: &str) {
        write_to(&mut io::stderr().lock(), &format!("{text}\n"));
    }

    pub(crate) fn raw_error(&self, bytes: &[u8]) {
        io::stderr().lock().write_all(bytes).ok();
    }

    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).ok();
    }

    /// For stderr.
    pub(crate) fn tone(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour_stderr)
    }

    /// For stdout.
    pub(crate) fn data_tone(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour_stdout)
    }

    pub(crate) fn hint(&self, text: &str) {
        if !text.is_empty() {
            self.note(&format!("{} {text}", self.tone("hint:", Tone::Busy)));
        }
    }

    /// Diagnostics for people go to stderr.
    pub(crate) fn diagnostics(&self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        self.note(muster_doc::report(diagnostics, sources, self.colour_stderr, self.width).trim_end());
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Rejected { sources, diagnostics } if self.is_text() => {
                self.diagnostics(diagnostics, sources);
                let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
                let noun = if errors == 1 { "mistake" } else { "mistakes" };
                self.note(&format!("{} {errors} {noun}, nothing was changed", self.tone("error:", Tone::Bad)));
            }
            Failure::Rejected { sources, diagnostics } => {
                self.line(&muster_doc::to_json(diagnostics, sources).to_string());
            }
            Failure::Error { error, hint, status } if self.is_text() => {
                self.note(&format!("{} {}", self.tone("error:", Tone::Bad), one_line(error)));
                self.hint(hint);
                tracing::debug!(exit = status.0, "failed");
            }
            Failure::Error { error, hint, status } => {
                let document = serde_json::json!({
                    "version": 1, "error": { "message": one_line(error), "hint": hint, "exit": status.0 },
                });
                self.line(&document.to_string());
            }
        }
    }
}

fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
}

fn write_to(target: &mut impl io::Write, text: &str) {
    // Nobody is left to tell when even this cannot be written.
    target.write_all(text.as_bytes()).and_then(|()| target.flush()).ok();
}

fn plain_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Columns and rows of the terminal, or what fits everywhere.
pub(crate) fn terminal_size() -> (usize, usize) {
    muster_sys::terminal::size().map_or((100, 24), |(columns, rows)| (usize::from(columns), usize::from(rows)))
}
