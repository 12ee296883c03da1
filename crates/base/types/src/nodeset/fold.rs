//! Writes many names short.

use std::collections::{BTreeMap, BTreeSet};

use crate::{NodeName, natural_order};

/// Longer numbers are left as they are: the notation does not take them within brackets.
const DIGITS_MAX: usize = 9;

/// Names that differ in their last number only. `width` is 0 where numbers are not filled up with zeros.
type Series<'a> = BTreeMap<(&'a str, usize), BTreeSet<u32>>;

/// `web-[1-3,5]`: what `NodeSet::parse` takes back to the same names, each once, in natural order of first names.
pub fn fold(names: &[NodeName]) -> String {
    // Under its first name, each piece of the text.
    let mut pieces = BTreeMap::new();
    let mut numbered = Vec::new();
    for name in names {
        match numbered_name(name.as_str()) {
            Some(parts) => numbered.push(parts),
            None => drop(pieces.insert(name.to_string(), name.to_string())),
        }
    }
    for ((prefix, width), numbers) in series(&numbered) {
        let first = numbers.first().expect("a series begins with a number");
        pieces.insert(format!("{prefix}{first:0width$}"), write(prefix, width, &numbers));
    }
    let mut pieces: Vec<_> = pieces.into_iter().collect();
    pieces.sort_by(|(left, _), (right, _)| natural_order(left, right));
    pieces.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>().join(",")
}

/// The name without its last digits, and these.
fn numbered_name(name: &str) -> Option<(&str, &str)> {
    let prefix = name.trim_end_matches(|character: char| character.is_ascii_digit());
    let digits = &name[prefix.len()..];
    (1..=DIGITS_MAX).contains(&digits.len()).then_some((prefix, digits))
}

fn series<'a>(numbered: &[(&'a str, &'a str)]) -> Series<'a> {
    let is_padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let padded: BTreeSet<(&str, usize)> = numbered
        .iter()
        .filter(|(_, digits)| is_padded(digits))
        .map(|(prefix, digits)| (*prefix, digits.len()))
        .collect();
    let mut series = Series::new();
    for (prefix, digits) in numbered {
        // `10` is as good a successor of `09` as of `9`: it goes where the zeros are.
        let key = (*prefix, digits.len());
        let width = if padded.contains(&key) { digits.len() } else { 0 };
        series.entry((prefix, width)).or_default().insert(digits.parse().expect("nine digits fit"));
    }
    series
}

fn write(prefix: &str, width: usize, numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last { format!("{first:0width$}") } else { format!("{first:0width$}-{last:0width$}") }
    };
    let inside: Vec<String> = ranges.iter().map(range).collect();
    if numbers.len() == 1 { format!("{prefix}{}", inside[0]) } else { format!("{prefix}[{}]", inside.join(",")) }
}
