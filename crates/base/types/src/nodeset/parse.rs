//! Reads the notation.

use super::{NODE_SET_NAMES_MAX, NodeSetError, Part};
use crate::{ClusterName, GroupName, NodeName};

/// Digits of a number within brackets at most; so every number fits and counts stay small.
const DIGITS_MAX: usize = 9;

/// A text and where it stands in the whole expression, in characters.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    position: usize,
}

/// What stands between two commas is made of these.
enum Segment<'a> {
    Text(&'a str),
    Numbers(Vec<Numbers>),
}

/// `first-last`, each number filled up to `width` with zeros.
struct Numbers {
    first: u32,
    last: u32,
    width: usize,
}

/// Takes the cluster off `cluster:set`.
pub fn split_cluster(text: &str) -> Result<(Option<ClusterName>, &str), NodeSetError> {
    let Some((cluster, set)) = text.split_once(':') else { return Ok((None, text)) };
    let name = ClusterName::new(cluster.trim()).map_err(|error| NodeSetError {
        position: 0,
        message: format!("before the colon there should be a cluster: {error}"),
        hint: "write CLUSTER:SET, as in demo:web-[1-3]".to_owned(),
    })?;
    Ok((Some(name), set))
}

pub(super) fn parts(text: &str) -> Result<Vec<Part>, NodeSetError> {
    let mut parts = Vec::new();
    let mut room = NODE_SET_NAMES_MAX;
    for item in split(Piece { text, position: 0 }, true)? {
        parts.push(part(item.trimmed(), &mut room)?);
    }
    Ok(parts)
}

fn part(item: Piece<'_>, room: &mut usize) -> Result<Part, NodeSetError> {
    if item.text.is_empty() {
        return Err(
            item.error("a name is missing", "write names with single commas between them, as in web-1,db-[1-2]")
        );
    }
    if matches!(item.text, "*" | "all" | "@*") {
        return Ok(Part::All);
    }
    if let Some(group) = item.text.strip_prefix('@') {
        let hint = "write one group behind each @, as in @web,@db";
        return GroupName::new(group).map(Part::Group).map_err(|error| item.after(1).error(error.to_string(), hint));
    }
    let segments = segments(item)?;
    let count = segments.iter().map(Segment::count).fold(1, u64::saturating_mul);
    let left = usize::try_from(count).ok().and_then(|count| room.checked_sub(count));
    *room = left.ok_or_else(|| {
        let message = format!("the expression stands for more than {NODE_SET_NAMES_MAX} names");
        item.error(message, "narrow the ranges, or write @group or * for many nodes")
    })?;
    let named = expand(&segments).into_iter().map(|name| {
        NodeName::new(name).map_err(|error| item.error(error.to_string(), "write the name of a node, as in web-1"))
    });
    Ok(Part::Nodes(named.collect::<Result<_, _>>()?))
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
        // That every bracket is closed was seen when the commas outside of brackets were looked for.
        let close = rest.text.find(']').unwrap_or(rest.text.len() - 1);
        let inside = Piece { text: &rest.text[1..close], position: rest.position + 1 };
        let numbers = split(inside, false)?.into_iter().map(numbers).collect::<Result<_, _>>()?;
        segments.push(Segment::Numbers(numbers));
        rest = rest.from(close + 1);
    }
    Ok(segments)
}

/// One of the ranges within brackets: `7`, `1-3`, `01-20`.
fn numbers(range: Piece<'_>) -> Result<Numbers, NodeSetError> {
    let (first, last) = match range.text.split_once('-') {
        Some((first, last)) => {
            let start = range.position + first.chars().count() + 1;
            (Piece { text: first, ..range }, Piece { text: last, position: start })
        }
        None => (range, range),
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = [first, last].iter().any(|number| number.text.len() > 1 && number.text.starts_with('0'));
    if padded && first.text.len() != last.text.len() {
        let message = format!("`{}` and `{}` have different numbers of digits", first.text, last.text);
        return Err(range.error(message, "fill both up with zeros to the same width, as in [08-12]"));
    }
    if from > to {
        let hint = format!("write the smaller number first: {}-{}", last.text, first.text);
        return Err(range.error(format!("the range {} runs backwards", range.text), hint));
    }
    Ok(Numbers { first: from, last: to, width: if padded { first.text.len() } else { 0 } })
}

fn number(piece: Piece<'_>) -> Result<u32, NodeSetError> {
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

/// Splits at commas; at those outside of brackets where there may be brackets.
fn split(whole: Piece<'_>, brackets: bool) -> Result<Vec<Piece<'_>>, NodeSetError> {
    let mut items = Vec::new();
    let (mut start, mut start_position) = (0, whole.position);
    let mut open: Option<Piece<'_>> = None;
    for (position, (at, character)) in (whole.position..).zip(whole.text.char_indices()) {
        let here = Piece { text: &whole.text[at..], position };
        match (character, open) {
            ('[', None) if brackets => open = Some(here),
            ('[', _) => return Err(here.error("a bracket opens within brackets", "close the first one with ]")),
            (']', None) => {
                return Err(here.error("a bracket closes that was not opened", "remove it, or open it with ["));
            }
            (']', Some(_)) => open = None,
            (',', None) => {
                items.push(Piece { text: &whole.text[start..at], position: start_position });
                (start, start_position) = (at + 1, position + 1);
            }
            _ => {}
        }
    }
    if let Some(open) = open {
        return Err(open.error("the bracket is not closed", "close it with ], as in web-[1-3]"));
    }
    items.push(Piece { text: &whole.text[start..], position: start_position });
    Ok(items)
}

fn check_characters(text: Piece<'_>) -> Result<(), NodeSetError> {
    let bad = |(_, character): &(usize, char)| !(character.is_ascii_alphanumeric() || *character == '-');
    let Some((before, character)) = text.text.chars().enumerate().find(bad) else { return Ok(()) };
    let hint = match character {
        '!' | '&' | '^' => "name the nodes that are meant; sets are only joined, with commas",
        '*' | '?' => "write * alone for all nodes, @group for a group, or a range, as in web-[1-9]",
        '@' => "an @ stands in front of a group, behind a comma",
        ':' => "one cluster stands in front of the whole set: CLUSTER:SET",
        character if character.is_whitespace() => "write commas between names",
        _ => "names are made of letters, digits and inner dashes",
    };
    Err(text.after(before).error(format!("`{character}` does not belong in a name"), hint))
}

/// Every combination, the last numbers changing first.
fn expand(segments: &[Segment<'_>]) -> Vec<String> {
    let mut names = vec![String::new()];
    for segment in segments {
        match segment {
            Segment::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
            Segment::Numbers(ranges) => {
                let numbers: Vec<String> = ranges
                    .iter()
                    .flat_map(|range| (range.first..=range.last).map(|n| format!("{n:0width$}", width = range.width)))
                    .collect();
                names = names.iter().flat_map(|name| numbers.iter().map(move |n| format!("{name}{n}"))).collect();
            }
        }
    }
    names
}

impl Segment<'_> {
    fn count(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Numbers(ranges) => {
                ranges.iter().map(|range| u64::from(range.last - range.first) + 1).fold(0, u64::saturating_add)
            }
        }
    }
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
