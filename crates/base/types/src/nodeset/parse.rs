//! Reads the notation.

use regex::RegexBuilder;

use super::expand::{Numbers, Segment, count, expand};
use super::glob::Glob;
use super::{NODE_SET_NAMES_MAX, NodeSet, NodeSetError, Operator, Regex, Term};
use crate::ClusterName;

/// Digits of a number within brackets at most, so that every number and every count fits.
pub(super) const DIGITS_MAX: usize = 18;
/// Operators in one expression at most.
const TERMS_MAX: usize = 4096;
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A text and where it stands in the whole expression, in characters.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    position: usize,
}

/// Takes the cluster off `cluster:set`.
pub fn split_cluster(text: &str) -> Result<(Option<ClusterName>, &str), NodeSetError> {
    // A colon of a regular expression is its own.
    let before = text.find('~').unwrap_or(text.len());
    let Some((cluster, _)) = text[..before].split_once(':') else { return Ok((None, text)) };
    let name = ClusterName::new(cluster.trim()).map_err(|error| NodeSetError {
        position: 0,
        message: format!("before the colon there should be a cluster: {error}"),
        hint: "write CLUSTER:SET, as in demo:web-[1-3]".to_owned(),
    })?;
    Ok((Some(name), &text[cluster.len() + 1..]))
}

pub(super) fn set(text: &str) -> Result<NodeSet, NodeSetError> {
    let mut room = NODE_SET_NAMES_MAX;
    let (first, mut rest) = next(Piece { text, position: 0 })?;
    let first = term(first.trimmed(), &mut room)?;
    let mut terms = Vec::new();
    while let Some(operator) = rest.text.chars().next().and_then(operator) {
        if terms.len() == TERMS_MAX {
            return Err(rest.error(format!("there are more than {TERMS_MAX} operators"), "write ranges or @group"));
        }
        let (item, after) = next(rest.from(1))?;
        terms.push((operator, term(item.trimmed(), &mut room)?));
        rest = after;
    }
    Ok(NodeSet { first, rest: terms })
}

fn operator(character: char) -> Option<Operator> {
    match character {
        ',' => Some(Operator::Union),
        '!' => Some(Operator::Difference),
        '&' => Some(Operator::Intersection),
        '^' => Some(Operator::SymmetricDifference),
        _ => None,
    }
}

/// The text up to the next operator outside of brackets, and the rest from that on.
fn next(whole: Piece<'_>) -> Result<(Piece<'_>, Piece<'_>), NodeSetError> {
    if whole.text.trim_start().starts_with('~') {
        return Ok(next_behind_regex(whole));
    }
    let mut open: Option<Piece<'_>> = None;
    for (position, (at, character)) in (whole.position..).zip(whole.text.char_indices()) {
        let here = Piece { text: &whole.text[at..], position };
        match (character, open) {
            ('[', None) => open = Some(here),
            ('[', _) => return Err(here.error("a bracket opens within brackets", "close the first one with ]")),
            (']', None) => {
                return Err(here.error("a bracket closes that was not opened", "remove it, or open it with ["));
            }
            (']', Some(_)) => open = None,
            (_, None) if operator(character).is_some() => return Ok((whole.until(at), whole.from(at))),
            _ => {}
        }
    }
    match open {
        Some(open) => Err(open.error("the bracket is not closed", "close it with ], as in web-[1-3]")),
        None => Ok((whole, whole.from(whole.text.len()))),
    }
}

/// A regular expression ends at an operator that stands outside of its own brackets; `^` is always its own.
fn next_behind_regex(whole: Piece<'_>) -> (Piece<'_>, Piece<'_>) {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, character) in whole.text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' | '!' | '&' if depth == 0 => return (whole.until(at), whole.from(at)),
            _ => {}
        }
    }
    (whole, whole.from(whole.text.len()))
}

fn term(item: Piece<'_>, room: &mut usize) -> Result<Term, NodeSetError> {
    if item.text.is_empty() {
        let hint = "write names with single operators between them, as in web-1,db-[1-2] or *!web-1";
        return Err(item.error("a name is missing", hint));
    }
    if matches!(item.text, "*" | "all" | "@*") {
        return Ok(Term::All);
    }
    if let Some(expression) = item.text.strip_prefix('~') {
        return regex(expression, item).map(Term::Regex);
    }
    if item.text.starts_with('@') {
        return Ok(Term::Groups(globs(texts(item.from(1), "the name of a group", room)?)));
    }
    if let Some((key, _)) = item.text.split_once('=') {
        return attribute(item, key, room);
    }
    let names = texts(item, "a name", room)?;
    let is_pattern = item.text.contains(['*', '?']);
    Ok(if is_pattern { Term::Globs(globs(names)) } else { Term::Names(names) })
}

fn regex(expression: &str, item: Piece<'_>) -> Result<Regex, NodeSetError> {
    let wrong = |message: String| item.after(1).error(message, "write one that fits whole names, as in ~web-(1|2).*");
    if expression.is_empty() {
        return Err(wrong("a regular expression is missing".to_owned()));
    }
    let built = RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(REGEX_BYTES_MAX).build();
    // The last line says what is wrong; those above it show our own text around the expression.
    let reason = |error: regex::Error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    };
    let whole = built.map_err(|error| wrong(format!("not a regular expression: {}", reason(error))))?;
    Ok(Regex { text: expression.to_owned(), whole })
}

fn attribute(item: Piece<'_>, key: &str, room: &mut usize) -> Result<Term, NodeSetError> {
    let is_key = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if key.is_empty() {
        let hint = "write KEY=VALUE, as in role=worker; nodes are left out by !, as in *!role=worker";
        return Err(item.error("a key is missing", hint));
    }
    if !key.chars().all(is_key) {
        return Err(item.error(format!("`{key}` cannot be a key"), "write KEY=VALUE, as in role=worker"));
    }
    let values = texts(item.from(key.len() + 1), "a value", room)?;
    Ok(Term::Attribute { key: key.to_owned(), values: globs(values) })
}

fn globs(texts: Vec<String>) -> Vec<Glob> {
    texts.into_iter().map(Glob::new).collect()
}

/// What an item stands for: one text, or one for each number of its brackets.
fn texts(item: Piece<'_>, what: &str, room: &mut usize) -> Result<Vec<String>, NodeSetError> {
    if item.text.is_empty() {
        return Err(item.error(format!("{what} is missing"), "write it behind @ or =, as in @web or role=worker"));
    }
    let segments = segments(item)?;
    let left = usize::try_from(count(&segments)).ok().and_then(|count| room.checked_sub(count));
    *room = left.ok_or_else(|| {
        let message = format!("the expression stands for more than {NODE_SET_NAMES_MAX} names");
        item.error(message, "narrow the ranges, or write @group or * for many nodes")
    })?;
    Ok(expand(&segments))
}

fn segments(item: Piece<'_>) -> Result<Vec<Segment<'_>>, NodeSetError> {
    let mut segments = Vec::new();
    let mut rest = item;
    while !rest.text.is_empty() {
        let open = rest.text.find('[').unwrap_or(rest.text.len());
        let text = rest.until(open);
        check_characters(text)?;
        if !text.text.is_empty() {
            segments.push(Segment::Text(text.text));
        }
        rest = rest.from(open);
        if rest.text.is_empty() {
            break;
        }
        // That every bracket is closed was seen when the operators outside of brackets were looked for.
        let close = rest.text.find(']').unwrap_or(rest.text.len() - 1);
        segments.push(Segment::Numbers(ranges(rest.until(close).from(1))?));
        rest = rest.from(close + 1);
    }
    Ok(segments)
}

/// What stands within brackets.
fn ranges(inside: Piece<'_>) -> Result<Vec<Numbers>, NodeSetError> {
    let mut found = Vec::new();
    let mut rest = inside;
    loop {
        let end = rest.text.find(',').unwrap_or(rest.text.len());
        found.push(range(rest.until(end))?);
        if end == rest.text.len() {
            return Ok(found);
        }
        rest = rest.from(end + 1);
    }
}

/// One of the ranges within brackets: `7`, `1-3`, `01-20`, `1-9/2`.
fn range(whole: Piece<'_>) -> Result<Numbers, NodeSetError> {
    let (ends, step) = match whole.text.find('/') {
        Some(at) => (whole.until(at), Some(whole.from(at + 1))),
        None => (whole, None),
    };
    let (first, last) = match ends.text.find('-') {
        Some(at) => (ends.until(at), ends.from(at + 1)),
        None => (ends, ends),
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = [first, last].iter().any(|number| number.text.len() > 1 && number.text.starts_with('0'));
    if padded && first.text.len() != last.text.len() {
        let message = format!("`{}` and `{}` have different numbers of digits", first.text, last.text);
        return Err(whole.error(message, "fill both up with zeros to the same width, as in [08-12]"));
    }
    if from > to {
        let hint = format!("write the smaller number first: {}-{}", last.text, first.text);
        return Err(whole.error(format!("the range {} runs backwards", ends.text), hint));
    }
    let step = match step {
        None => 1,
        Some(piece) => match number(piece)? {
            0 => return Err(piece.error("a step of 0 goes nowhere", "write how far it is to the next, as in 1-9/2")),
            step => step,
        },
    };
    Ok(Numbers { first: from, last: to, step, width: if padded { first.text.len() } else { 0 } })
}

fn number(piece: Piece<'_>) -> Result<u64, NodeSetError> {
    let digits = !piece.text.is_empty() && piece.text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        let found = if piece.text.is_empty() { "nothing".to_owned() } else { format!("`{}`", piece.text) };
        let message = format!("within brackets there should be a number, and there is {found}");
        return Err(piece.error(message, "write numbers and ranges between commas, as in [1-3,7]"));
    }
    let number = piece.text.parse().ok().filter(|_| piece.text.len() <= DIGITS_MAX);
    let hint = format!("write at most {DIGITS_MAX} digits");
    number.ok_or_else(|| piece.error(format!("the number {} is too long", piece.text), hint))
}

fn check_characters(text: Piece<'_>) -> Result<(), NodeSetError> {
    let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '*' | '?');
    let Some((before, character)) = text.text.chars().enumerate().find(|(_, c)| !good(*c)) else { return Ok(()) };
    let hint = match character {
        '@' => "an @ stands in front of a group, behind an operator: web-1,@db",
        '~' => "a ~ stands in front of a regular expression, behind an operator: web-1,~db.*",
        '=' => "write one KEY=VALUE, and operators between several",
        ':' => "one cluster stands in front of the whole set: CLUSTER:SET",
        character if character.is_whitespace() => "write commas between names",
        _ => "names are made of letters, digits, dashes, dots and underscores",
    };
    Err(text.after(before).error(format!("`{character}` does not belong in a name"), hint))
}

impl Piece<'_> {
    fn trimmed(self) -> Self {
        let text = self.text.trim_start();
        let before = self.text[..self.text.len() - text.len()].chars().count();
        Self { text: text.trim_end(), position: self.position + before }
    }

    fn until(self, end: usize) -> Self {
        Self { text: &self.text[..end], ..self }
    }

    fn from(self, start: usize) -> Self {
        let position = self.position + self.text[..start].chars().count();
        Self { text: &self.text[start..], position }
    }

    /// The same text, pointed at some characters further on.
    fn after(self, characters: usize) -> Self {
        Self { position: self.position + characters, ..self }
    }

    fn error(self, message: impl Into<String>, hint: impl Into<String>) -> NodeSetError {
        NodeSetError { position: self.position, message: message.into(), hint: hint.into() }
    }
}
