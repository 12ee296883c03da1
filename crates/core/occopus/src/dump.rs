//! How Occopus' pipeline writes a scalar before its template is rendered, and how it reads the result.
//!
//! A parsed document is written out as YAML, that text is rendered, and the result is parsed. So what a template yields
//! is read as part of the scalar that it stands in: between double quotes, newlines fold and backslashes escape; in a
//! plain scalar, ` #` begins a comment. The choice of quotes is that of ruamel.yaml 0.17.21.

use muster_doc::{Node, Scalar, Style};

use crate::scalar::read_plain;

/// The quotes around a written scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    None,
    Single,
    Double,
}

/// Which quotes a text that holds a template is written with; `flow` is inside of brackets.
pub(crate) fn quotes(text: &str, flow: bool) -> Quotes {
    if text.chars().any(|c| c != '\n' && !(' '..='~').contains(&c)) {
        return Quotes::Double;
    }
    if plain(text, flow) {
        return Quotes::None;
    }
    if text.contains(['\'', '\n']) { Quotes::Double } else { Quotes::Single }
}

fn plain(text: &str, flow: bool) -> bool {
    const FIRST: &[char] = &['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'];
    let spaced = |rest: &str| rest.is_empty() || rest.starts_with([' ', '\n']);
    let led = text.starts_with(['?', ':', '-']) && spaced(&text[1..]);
    let bad_colon = text.match_indices(':').any(|(at, _)| at > 0 && spaced(&text[at + 1..]));
    let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
    !(text.is_empty()
        || led
        || bad_colon
        || edges
        || text.starts_with(FIRST)
        || text.starts_with("---")
        || text.starts_with("...")
        || text.contains(" #")
        || text.contains('\n')
        || flow && text.contains([',', '[', ']', '{', '}']))
}

/// What stands between the quotes.
pub(crate) fn write(text: &str, quotes: Quotes) -> String {
    match quotes {
        Quotes::None => text.to_owned(),
        Quotes::Single => text.replace('\'', "''"),
        Quotes::Double => text.chars().map(escape).collect(),
    }
}

fn escape(c: char) -> String {
    match (ESCAPES.iter().find(|(_, escaped)| *escaped == c), u32::from(c)) {
        (Some((letter, _)), _) => format!("\\{letter}"),
        (None, 0x20..=0x7e) => c.to_string(),
        (None, code @ 0..=0xff) => format!("\\x{code:02X}"),
        (None, code @ 0x100..=0xffff) => format!("\\u{code:04X}"),
        (None, code) => format!("\\U{code:08X}"),
    }
}

const ESCAPES: [(char, char); 15] = [
    ('0', '\0'),
    ('a', '\x07'),
    ('b', '\x08'),
    ('t', '\t'),
    ('n', '\n'),
    ('v', '\x0b'),
    ('f', '\x0c'),
    ('r', '\r'),
    ('e', '\x1b'),
    ('"', '"'),
    ('\\', '\\'),
    ('N', '\u{85}'),
    ('_', '\u{a0}'),
    ('L', '\u{2028}'),
    ('P', '\u{2029}'),
];

/// Where a scalar stands in what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The column of the collection that holds it.
    pub(crate) indent: usize,
    /// Something follows on the same line, as in brackets and behind keys.
    pub(crate) followed: bool,
}

/// Reads what was rendered between the quotes. `None`: Occopus would fail here, or take it for something else than one
/// scalar.
pub(crate) fn read(rendered: &str, quotes: Quotes, place: Place) -> Option<Node> {
    if rendered.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) {
        return None;
    }
    let text = match quotes {
        Quotes::None => return read_unquoted(rendered, place.indent),
        Quotes::Single => {
            let inside = closed(rendered, single_end(rendered), place)?;
            fold(inside).replace("''", "'")
        }
        Quotes::Double => unescape(closed(rendered, double_end(rendered), place)?)?,
    };
    Some(Node::Scalar(Scalar { text, style: Style::Quoted }))
}

/// The text up to its closing quote. One that the text itself brings ends the scalar early, if a comment makes that of
/// the rest.
fn closed(text: &str, end: Option<usize>, place: Place) -> Option<&str> {
    let inside = match end {
        Some(end) => {
            let rest = text[end + 1..].trim_start_matches([' ', '\t']);
            if place.followed || !rest.starts_with('#') || rest.contains(['\n', '\r']) {
                return None;
            }
            &text[..end]
        }
        None => text,
    };
    (!ends_document(inside)).then_some(inside)
}

/// A single quote that is not doubled.
fn single_end(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('\'').map(|at| from + at) {
        if !text[at + 1..].starts_with('\'') {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

/// A double quote without a backslash before it.
fn double_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

/// A line that begins with a document's marks ends the document, even between quotes.
fn ends_document(text: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    })
}

fn read_unquoted(rendered: &str, indent: usize) -> Option<Node> {
    if rendered.contains('\t') || rendered.starts_with([' ', '\n']) && rendered.trim().starts_with('#') {
        return None;
    }
    let mut lines = rendered.trim_matches([' ', '\n', '\r']).lines();
    let first = lines.next().unwrap_or_default();
    let (first, cut) = uncommented(first);
    let mut text = first.trim_end_matches(' ').to_owned();
    if !plain_value(&text) {
        return None;
    }
    let mut breaks = 0;
    for line in lines {
        let bare = line.trim_matches(' ');
        breaks += 1;
        if bare.is_empty() {
            continue;
        }
        let deep = line.len() - line.trim_start_matches(' ').len() > indent;
        if cut || !deep || bare.contains('#') || bare.contains(": ") || bare.ends_with(':') {
            return None;
        }
        push_breaks(&mut text, breaks);
        breaks = 0;
        text.push_str(bare);
    }
    Some(read_plain(&text))
}

/// The text before a comment, and whether there is one.
fn uncommented(line: &str) -> (&str, bool) {
    match line.find(" #") {
        Some(at) => (&line[..at], true),
        None => (line, false),
    }
}

fn plain_value(text: &str) -> bool {
    text.is_empty()
        || !(text.starts_with(['-', '?']) && text[1..].starts_with(' ')) && plain_start(text) && {
            !text.contains(": ") && !text.ends_with(':') && text != "-" && text != "?"
        }
}

fn plain_start(text: &str) -> bool {
    !text.starts_with(['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'])
        && !text.starts_with(": ")
}

/// One line break is a blank; of several, one less stays.
fn push_breaks(out: &mut String, breaks: usize) {
    if breaks == 1 {
        out.push(' ');
    }
    out.extend(std::iter::repeat_n('\n', breaks.saturating_sub(1)));
}

/// Line breaks between quotes, with the white space around them.
pub(crate) fn fold(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let last = lines.len() - 1;
    let mut out = String::with_capacity(text.len());
    let mut breaks = 0;
    for (index, line) in lines.iter().enumerate() {
        let line = if index > 0 { line.trim_start_matches([' ', '\t']) } else { line };
        let line = if index < last { line.trim_end_matches([' ', '\t']) } else { line };
        if index > 0 {
            breaks += 1;
        }
        if line.is_empty() && index > 0 && index < last {
            continue;
        }
        push_breaks(&mut out, std::mem::take(&mut breaks));
        out.push_str(line);
    }
    out
}

/// Escapes and line breaks between double quotes.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n', '\r', ' ', '\t']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest.as_bytes()[0] {
            b'"' => return None,
            b'\\' => rest = escaped(&rest[1..], &mut out)?,
            _ => {
                let gap = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
                let (space, tail) = rest.split_at(gap);
                let breaks = space.replace("\r\n", "\n").matches(['\n', '\r']).count();
                if breaks == 0 {
                    out.push_str(space);
                } else {
                    push_breaks(&mut out, breaks);
                }
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Reads one escape, behind its backslash.
fn escaped<'t>(rest: &'t str, out: &mut String) -> Option<&'t str> {
    let letter = rest.chars().next()?;
    let tail = &rest[letter.len_utf8()..];
    let width = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        '\n' | '\r' => {
            // The line goes on behind the break and the white space of the next line; blank lines stay.
            let gap = tail.len() - tail.trim_start_matches([' ', '\t', '\n', '\r']).len();
            out.extend(std::iter::repeat_n('\n', tail[..gap].matches('\n').count()));
            return Some(&tail[gap..]);
        }
        ' ' | '/' | '\t' => {
            out.push(letter);
            return Some(tail);
        }
        _ => {
            out.push(ESCAPES.iter().find(|(known, _)| *known == letter)?.1);
            return Some(tail);
        }
    };
    let digits = tail.get(..width)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
    Some(&tail[width..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { indent: 0, followed: false };

    fn double(text: &str) -> Option<String> {
        unescape(text)
    }

    #[test]
    fn quotes_are_those_of_the_dumper() {
        for (text, block, flow) in [
            ("a {{ x }}", Quotes::None, Quotes::Single),
            ("{{ x }}", Quotes::Single, Quotes::Single),
            ("{{ f('x') }}", Quotes::Double, Quotes::Double),
            ("echo {{ f('x') }}", Quotes::None, Quotes::Double),
            ("k: {{ x }}", Quotes::Single, Quotes::Single),
            ("k:{{ x }}", Quotes::None, Quotes::Single),
            ("a {{ x }} # c", Quotes::Single, Quotes::Single),
            ("a\n{{ x }}", Quotes::Double, Quotes::Double),
            ("é {{ x }}", Quotes::Double, Quotes::Double),
            (" {{ x }}", Quotes::Single, Quotes::Single),
            ("-{{ x }}", Quotes::None, Quotes::Single),
            ("- {{ x }}", Quotes::Single, Quotes::Single),
            ("{{ x }}:", Quotes::Single, Quotes::Single),
        ] {
            assert_eq!((quotes(text, false), quotes(text, true)), (block, flow), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["plain", "it's", "a\n\nb  \n c\n", "tab\tq\"\\d é \u{1F600}\u{85}", "", " x "] {
            for quotes in [Quotes::Single, Quotes::Double] {
                if quotes == Quotes::Single && text.contains('\n') {
                    continue;
                }
                let node = read(&write(text, quotes), quotes, PLACE);
                assert_eq!(node, Some(Node::Scalar(Scalar { text: text.into(), style: Style::Quoted })), "{text:?}");
            }
        }
    }

    #[test]
    fn line_breaks_fold() {
        for (text, folded) in
            [("a\nb", "a b"), ("a \n\n  b", "a\nb"), ("a\n", "a "), ("\na", " a"), ("a\n\n\nb\n", "a\n\nb ")]
        {
            assert_eq!(fold(text), folded, "{text:?}");
            assert_eq!(double(text).as_deref(), Some(folded), "{text:?}");
        }
        assert_eq!(double("c:\\new\\x41"), Some("c:\new".to_owned() + "A"));
        for bad in ["\\d", "\"", "\\x4", "\\"] {
            assert_eq!(double(bad), None, "{bad}");
        }
    }

    #[test]
    fn plain_scalars_are_cut_typed_or_refused() {
        let text = |text: &str| Some(Node::Scalar(Scalar { text: text.into(), style: Style::Quoted }));
        assert_eq!(read("a # b", Quotes::None, PLACE), text("a"));
        assert_eq!(
            read("12", Quotes::None, PLACE),
            Some(Node::Scalar(Scalar { text: "12".into(), style: Style::Plain }))
        );
        assert_eq!(read("", Quotes::None, PLACE), Some(Node::Null));
        assert_eq!(read("a\n  b\n\n c", Quotes::None, PLACE), text("a b\nc"));
        assert_eq!(read("a' #b", Quotes::Single, PLACE), text("a"));
        assert_eq!(read("a\\\"\"#b", Quotes::Double, PLACE), text("a\""));
        for bad in ["a'", "a' b", "a' #\n"] {
            assert_eq!(read(bad, Quotes::Single, PLACE), None, "{bad}");
        }
        for bad in ["k: v", "a\nb", "a:", "- a", "a # b\n c"] {
            assert_eq!(read(bad, Quotes::None, PLACE), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_back_between_double_quotes(text in "(?s).{0,40}") {
            let node = read(&write(&text, Quotes::Double), Quotes::Double, PLACE);
            proptest::prop_assert_eq!(node, Some(Node::Scalar(Scalar { text, style: Style::Quoted })));
        }

        #[test]
        fn reading_never_panics(text in "(?s).{0,40}|[ \n\t'\"\\\\#:a-]{0,20}", indent in 0usize..4, followed: bool) {
            for quotes in [Quotes::None, Quotes::Single, Quotes::Double] {
                read(&text, quotes, Place { indent, followed });
            }
            quotes(&text, followed);
        }
    }
}
