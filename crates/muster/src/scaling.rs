//! How many nodes groups should have, as the command line says it.

use std::collections::BTreeMap;
use std::str::FromStr;

use muster_doc::{Diagnostic, codes, suggest};
use muster_engine::compile::Compiled;
use muster_spec::{Count, GroupSpec, Population};
use muster_types::GroupName;

use crate::error::Failure;

/// `compute=4`, `compute=+1`, `compute=-1`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    group: GroupName,
    number: Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    To(u32),
    More(u32),
    Fewer(u32),
}

impl Wanted {
    pub(crate) fn group(&self) -> &GroupName {
        &self.group
    }

    /// As many fewer in each group as it is named.
    pub(crate) fn without<'g>(groups: impl Iterator<Item = &'g GroupName>) -> Vec<Self> {
        let mut fewer: BTreeMap<&GroupName, u32> = BTreeMap::new();
        for group in groups {
            *fewer.entry(group).or_default() += 1;
        }
        let wanted = |(group, number): (&GroupName, u32)| Self { group: group.clone(), number: Number::Fewer(number) };
        fewer.into_iter().map(wanted).collect()
    }
}

impl Number {
    fn from(self, now: u32) -> Option<u32> {
        match self {
            Self::To(number) => Some(number),
            Self::More(more) => now.checked_add(more),
            Self::Fewer(fewer) => now.checked_sub(fewer),
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a group and a number; write compute=4, compute=+1 or compute=-1");
        let (group, number) = text.split_once('=').ok_or_else(wrong)?;
        let group = GroupName::new(group).map_err(|error| error.to_string())?;
        let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let value: u32 = Some(digits).filter(|_| plain).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        let number = match number.as_bytes().first() {
            Some(b'+') => Number::More(value),
            Some(b'-') => Number::Fewer(value),
            _ => Number::To(value),
        };
        Ok(Self { group, number })
    }
}

/// The numbers that are wanted, each inside its range; all mistakes at once.
pub(crate) fn resolve(
    wanted: &[Wanted],
    now: &BTreeMap<GroupName, u32>,
    compiled: &Compiled,
) -> Result<BTreeMap<GroupName, u32>, Failure> {
    let mut numbers = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for Wanted { group, number } in wanted {
        let Some(spec) = compiled.spec.groups.iter().find(|spec| spec.name == *group) else {
            let names: Vec<&str> = compiled.spec.groups.iter().map(|spec| spec.name.as_str()).collect();
            let message = format!("cluster {} has no group `{group}`", compiled.spec.name.value);
            return Err(Failure::usage(message, suggest::hint(group.as_str(), &names, "group")));
        };
        let there = now.get(group).copied().unwrap_or_default();
        match number.from(there).filter(|number| fits(*number, spec)) {
            Some(number) => drop(numbers.insert(group.clone(), number)),
            None => diagnostics.push(out_of_range(*number, there, spec)),
        }
    }
    if diagnostics.is_empty() {
        return Ok(numbers);
    }
    Err(Failure::Rejected { sources: compiled.sources.clone(), diagnostics })
}

fn fits(number: u32, spec: &GroupSpec) -> bool {
    let Count { min, max } = spec.population.bounds();
    (min..=max).contains(&number)
}

fn out_of_range(number: Number, now: u32, spec: &GroupSpec) -> Diagnostic {
    let Count { min, max } = spec.population.bounds();
    let asked = match number {
        Number::To(number) => format!("{number} nodes"),
        Number::More(more) => format!("{now} and {more} more nodes"),
        Number::Fewer(fewer) => format!("{fewer} fewer than {now} nodes"),
    };
    let message = format!("group {} cannot have {asked}", spec.name);
    let (hint, label) = match spec.population {
        Population::Hosts(_) => ("add or remove `hosts`; they are machines that exist".to_owned(), "its machines"),
        Population::Count(_) if min == max => {
            let (low, high) = number.from(now).map_or((min, max), |number| (number.min(min), number.max(max)));
            (format!("change `count` to a range such as {low}..{high}, then scale inside it"), "its number is fixed")
        }
        Population::Count(_) => (format!("choose a number from {min} to {max}, or change `count`"), "its range"),
    };
    Diagnostic::error(codes::COUNT_RANGE, message, hint).at(spec.population_span, label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_or_relative() {
        let read = |text: &str| text.parse::<Wanted>().map(|wanted| wanted.number.from(3));
        assert_eq!(read("compute=4"), Ok(Some(4)));
        assert_eq!(read("compute=+1"), Ok(Some(4)));
        assert_eq!(read("compute=-3"), Ok(Some(0)));
        assert_eq!(read("compute=-4"), Ok(None));
        for wrong in ["compute", "compute=", "compute=+", "compute=four", "compute=++1", "compute=1.5", "=3"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }
}
