//! From places in a scalar's text to places in the file: escapes, folds and indentation lie between them.

use crate::{Node, SourceMap, Span, Style, Tree};

/// For each byte of a scalar's text, where it stands in its source.
#[derive(Debug)]
pub struct OffsetMap {
    span: Span,
    offsets: Vec<u32>,
}

impl OffsetMap {
    /// Lines the text up with what is written. `None` if they do not match, as when escapes or a template changed it.
    pub fn of(sources: &SourceMap, scalar: &Tree) -> Option<Self> {
        let Node::Scalar(value) = &scalar.node else { return None };
        let span = scalar.span;
        let written = sources.get(span.source)?.get(span.start..span.end)?;
        let quote = written.chars().next().filter(|c| value.style == Style::Quoted && matches!(c, '\'' | '"'));
        if quote == Some('"') && written.contains('\\') {
            return None;
        }
        let start = span.start + usize::from(quote.is_some());
        let offsets = align(&value.text, &written[start - span.start..], start, quote == Some('\''))?;
        Some(Self { span, offsets })
    }

    /// The span of `start..end` of the text.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let place = |at: usize| self.offsets.get(at).map_or(self.span.end, |offset| *offset as usize);
        let from = place(start);
        // The last byte decides, so that a span at the end of a line does not reach into the next line's indentation.
        let to =
            if end > start { self.offsets.get(end - 1).map_or(self.span.end, |at| *at as usize + 1) } else { from };
        Span { start: from, end: to.max(from), ..self.span }
    }
}

/// Walks both texts: anything but white space must be equal, runs of white space may differ (folds, indentation).
fn align(text: &str, written: &str, base: usize, doubled_quotes: bool) -> Option<Vec<u32>> {
    let (text, written) = (text.as_bytes(), written.as_bytes());
    let mut offsets = Vec::with_capacity(text.len());
    let (mut at, mut from) = (0, 0);
    while at < text.len() {
        let gap = run(text, at);
        let written_gap = run(written, from);
        // Of a longer run in the file the last part is what shows, as behind an indentation.
        for index in 0..gap {
            let place = (written_gap + index).saturating_sub(gap).min(written_gap);
            offsets.push(u32::try_from(base + from + place).ok()?);
        }
        at += gap;
        from += written_gap;
        if at == text.len() {
            break;
        }
        if gap == 0 && written_gap > 0 && at > 0 || written.get(from) != Some(&text[at]) {
            return None;
        }
        offsets.push(u32::try_from(base + from).ok()?);
        from += 1 + usize::from(doubled_quotes && text[at] == b'\'');
        at += 1;
    }
    Some(offsets)
}

fn run(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count())
}
