//! The parser's errors in words that help.

use serde_saphyr::granit_parser::{ErrorKind, ScanError};

use crate::{Diagnostic, SourceId, Span, codes};

pub(super) fn diagnostic(error: &ScanError, text: &str, source: SourceId) -> Diagnostic {
    let at = boundary(text, error.marker().byte_offset().unwrap_or(0));
    if is_tab(error.kind()) {
        let tab = first_tab(text, at);
        let found = Diagnostic::error(
            codes::YAML_TAB,
            "a tab stands where YAML wants spaces",
            "replace the tab by spaces; most editors can show tabs",
        );
        return found.at(Span { source, start: tab, end: tab + 1 }, "tab");
    }
    let (start, end) = extent(text, at);
    let span = Span { source, start, end };
    if matches!(error.kind(), ErrorKind::UnexpectedCharacter { character: '%' }) && text[..at].ends_with('{') {
        let found = Diagnostic::error(
            codes::YAML_UNQUOTED_TEMPLATE,
            "a value that begins with a template needs quotes",
            "put quotes around the whole value, or write it as a block behind `|`",
        );
        return found.at(Span { start: at - 1, ..span }, "YAML takes this for a mapping");
    }
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let found = Diagnostic::error(
            codes::YAML_TOO_LARGE,
            "values are nested too deeply",
            "flatten the document; nobody needs more than 64 levels",
        );
        return found.at(span, "too deep");
    }
    let (message, hint) = words(error.kind());
    let message = if message.is_empty() { error.kind().to_string() } else { message.to_owned() };
    let found = Diagnostic::error(codes::YAML_SYNTAX, message, hint).at(span, "here");
    match opening(error.kind(), &text[..start]) {
        Some(open) => found.related(Span { source, start: open, end: open + 1 }, "opened here"),
        None => found,
    }
}

/// Where the quote or bracket was opened that is not closed, as far as can be told.
fn opening(kind: &ErrorKind, before: &str) -> Option<usize> {
    match kind {
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => before.rfind(['"', '\'']),
        ErrorKind::InvalidColonPlacement
        | ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::InvalidFlowScalarIndent => {
            let mut open = Vec::new();
            for (at, c) in before.char_indices() {
                match c {
                    '[' | '{' => open.push(at),
                    ']' | '}' => drop(open.pop()),
                    _ => {}
                }
            }
            open.pop()
        }
        _ => None,
    }
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    )
}

/// The tab that the parser stumbled over: the next one that indents a line, for it reports where the value began.
fn first_tab(text: &str, at: usize) -> usize {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let mut start = line_start;
    for line in text[line_start..].split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t') {
            return start + tab;
        }
        start += line.len();
    }
    text[at..].find('\t').map_or(at.min(text.len().saturating_sub(1)), |tab| at + tab)
}

fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What to underline: from the place to the end of its word, or the last thing before it if nothing follows.
fn extent(text: &str, at: usize) -> (usize, usize) {
    let rest = &text[at..];
    let blank = rest.chars().next().is_none_or(char::is_whitespace);
    let start = if blank {
        let before = text[..at].trim_end();
        before.char_indices().next_back().map_or(0, |(index, _)| index)
    } else {
        at
    };
    let word = text[start..].find(char::is_whitespace).map_or(text.len(), |end| start + end);
    (start, word)
}

/// Message and hint; an empty message stands for the parser's own.
fn words(kind: &ErrorKind) -> (&'static str, &'static str) {
    const UNCLOSED: &str = "look for a `[` or `{` before this place that is not closed";
    match kind {
        ErrorKind::MappingValueNotAllowed => (
            "a `:` makes no sense here",
            "put quotes around a text that holds `: `, or indent the key like its neighbours",
        ),
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => {
            ("this line is indented unlike those around it", "indent keys of one mapping by the same number of spaces")
        }
        ErrorKind::SimpleKeyExpected => ("a key without a `:`", "write `key: value`, with a space behind the colon"),
        ErrorKind::InvalidSimpleKey => (
            "a key without a `:`, or one that goes over several lines",
            "write `key: value` on one line, with a space behind the colon",
        ),
        ErrorKind::InvalidColonPlacement => ("a `:` makes no sense inside brackets here", UNCLOSED),
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::InvalidFlowScalarIndent => {
            ("a list or mapping in brackets is not closed, or lacks a comma", UNCLOSED)
        }
        ErrorKind::MisplacedFlowCollectionEnd | ErrorKind::MismatchedFlowCollectionEnd { .. } => {
            ("a closing bracket has no opening one", "remove the bracket, or open it before")
        }
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => {
            ("a quoted text is not closed", "close the quote; double a single quote inside single quotes")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => (
            "something follows a closed quote",
            "put quotes around the whole value; quotes inside it need the other kind",
        ),
        ErrorKind::UnknownQuotedScalarEscape | ErrorKind::InvalidQuotedScalarHexEscape => {
            ("this escape does not exist", "write `\\\\` for a backslash, or use single quotes, which know no escapes")
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            ("a value cannot begin with this character", "put quotes around the value")
        }
        ErrorKind::BlockSequenceEntryNotAllowed | ErrorKind::ExpectedBlockSequenceEntry => (
            "a list item makes no sense here",
            "begin the list on a line of its own below its key, each item with `- `",
        ),
        ErrorKind::InvalidBlockScalarIndent | ErrorKind::InvalidBlockScalarHeader => {
            ("a block of text is indented unevenly", "indent every line of the text below `|` at least like its first")
        }
        ErrorKind::CommentInterceptedScalar => {
            ("a comment interrupts a text of several lines", "put quotes around the text, or move the comment")
        }
        _ => ("", "check the indentation and the quotes at this place"),
    }
}
