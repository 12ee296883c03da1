//! What stands between two operators, with its brackets, as the texts that it stands for.

/// What an item is made of.
pub(super) enum Segment<'a> {
    Text(&'a str),
    Numbers(Vec<Numbers>),
}

/// `first-last/step`, each number filled up to `width` with zeros.
pub(super) struct Numbers {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) step: u64,
    pub(super) width: usize,
}

impl Numbers {
    fn count(&self) -> u64 {
        (self.last - self.first) / self.step + 1
    }

    fn each(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count()).map(|nth| format!("{:0width$}", self.first + nth * self.step, width = self.width))
    }
}

/// How many texts they stand for.
pub(super) fn count(segments: &[Segment<'_>]) -> u64 {
    let of = |segment: &Segment<'_>| match segment {
        Segment::Text(_) => 1,
        Segment::Numbers(ranges) => ranges.iter().map(Numbers::count).fold(0, u64::saturating_add),
    };
    segments.iter().map(of).fold(1, u64::saturating_mul)
}

/// Every combination, the last numbers changing first.
pub(super) fn expand(segments: &[Segment<'_>]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for segment in segments {
        match segment {
            Segment::Text(text) => texts.iter_mut().for_each(|before| before.push_str(text)),
            Segment::Numbers(ranges) => {
                let numbers: Vec<String> = ranges.iter().flat_map(Numbers::each).collect();
                texts = texts.iter().flat_map(|text| numbers.iter().map(move |n| format!("{text}{n}"))).collect();
            }
        }
    }
    texts
}
