//! Writes many names short.

use std::collections::{HashMap, HashSet};

use super::parse::DIGITS_MAX;
use crate::{NodeName, natural_order};

/// What names have in common that differ in their numbers only: the texts around the numbers, and how wide each number is
/// written (0 where it is not filled up with zeros).
#[derive(PartialEq, Eq, Hash)]
struct Shape<'a> {
    texts: Vec<&'a str>,
    widths: Vec<usize>,
}

/// Every combination of the numbers at each place of a shape, ascending.
type Block = Vec<Vec<u64>>;

/// `web-[1-3,5]`: what `NodeSet::parse` takes back to the same names, each once, in natural order of first names.
pub fn fold(names: &[NodeName]) -> String {
    fold_names(names.iter().map(NodeName::as_str))
}

/// As `fold`, for names that need not be those of nodes.
pub fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect::<HashSet<_>>().into_iter().map(taken_apart).collect();
    let padded = padded(&names);
    let mut shapes: HashMap<Shape<'_>, Vec<Vec<u64>>> = HashMap::new();
    for (texts, digits) in names {
        let is_padded =
            |place: usize, width: usize| padded.get(&texts).is_some_and(|set| set.contains(&(place, width)));
        // `10` is as good a successor of `09` as of `9`: it goes where the zeros are.
        let width = |(place, digits): (usize, &&str)| if is_padded(place, digits.len()) { digits.len() } else { 0 };
        let widths = digits.iter().enumerate().map(width).collect();
        let numbers = digits.iter().map(|digits| digits.parse().unwrap_or(u64::MAX)).collect();
        shapes.entry(Shape { texts, widths }).or_default().push(numbers);
    }
    let blocks = shapes.iter().flat_map(|(shape, numbers)| blocks(numbers).into_iter().map(move |b| (shape, b)));
    let mut pieces: Vec<(String, String)> =
        blocks.map(|(shape, block)| (shape.first(&block), shape.write(&block))).collect();
    pieces.sort_unstable_by(|(left, _), (right, _)| natural_order(left, right));
    pieces.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>().join(",")
}

/// The texts around a name's numbers, one more than there are numbers, and these. Numbers that the notation does not take
/// within brackets are text.
fn taken_apart(name: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut texts, mut digits) = (Vec::new(), Vec::new());
    let (mut text_start, mut at) = (0, 0);
    while let Some(offset) = name[at..].find(|character: char| character.is_ascii_digit()) {
        let start = at + offset;
        let rest = &name[start..];
        let length = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        at = start + length;
        if length <= DIGITS_MAX {
            texts.push(&name[text_start..start]);
            digits.push(&name[start..at]);
            text_start = at;
        }
    }
    texts.push(&name[text_start..]);
    (texts, digits)
}

/// For the texts of names, at which places numbers of which width begin with zeros.
fn padded<'a>(names: &[(Vec<&'a str>, Vec<&'a str>)]) -> HashMap<Vec<&'a str>, HashSet<(usize, usize)>> {
    let mut found: HashMap<Vec<&str>, HashSet<(usize, usize)>> = HashMap::new();
    for (texts, digits) in names {
        for (place, digits) in digits.iter().enumerate() {
            if digits.len() > 1 && digits.starts_with('0') {
                found.entry(texts.clone()).or_default().insert((place, digits.len()));
            }
        }
    }
    found
}

/// Few blocks that hold each of the numbers once: blocks that differ at one place become one, place by place from the
/// last to the first, until none do.
fn blocks(numbers: &[Vec<u64>]) -> Vec<Block> {
    let mut blocks: Vec<Block> = numbers.iter().map(|each| each.iter().map(|number| vec![*number]).collect()).collect();
    let places = blocks.first().map_or(0, Vec::len);
    loop {
        let before = blocks.len();
        for place in (0..places).rev() {
            blocks = merged(blocks, place);
        }
        if blocks.len() == before || places < 2 {
            return blocks;
        }
    }
}

fn merged(blocks: Vec<Block>, place: usize) -> Vec<Block> {
    let mut by_rest: HashMap<Block, Vec<u64>> = HashMap::with_capacity(blocks.len());
    for mut block in blocks {
        let mut numbers = std::mem::take(&mut block[place]);
        by_rest.entry(block).or_default().append(&mut numbers);
    }
    let whole = |(mut block, mut numbers): (Block, Vec<u64>)| {
        numbers.sort_unstable();
        block[place] = numbers;
        block
    };
    by_rest.into_iter().map(whole).collect()
}

impl Shape<'_> {
    /// The first name of a block.
    fn first(&self, block: &Block) -> String {
        self.with(block, |numbers, width| format!("{:0width$}", numbers[0]))
    }

    fn write(&self, block: &Block) -> String {
        self.with(block, |numbers, width| match numbers {
            [one] => format!("{one:0width$}"),
            several => format!("[{}]", ranges(several, width)),
        })
    }

    fn with(&self, block: &Block, number: impl Fn(&[u64], usize) -> String) -> String {
        let mut text = String::new();
        for (place, before) in self.texts.iter().enumerate() {
            text.push_str(before);
            if let (Some(numbers), Some(width)) = (block.get(place), self.widths.get(place)) {
                text.push_str(&number(numbers, *width));
            }
        }
        text
    }
}

/// `1-3,5` for ascending numbers.
fn ranges(numbers: &[u64], width: usize) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let run = |run: &[u64]| match run {
        [one] => format!("{one:0width$}"),
        [first, .., last] => format!("{first:0width$}-{last:0width$}"),
        [] => String::new(),
    };
    runs.map(run).collect::<Vec<_>>().join(",")
}
