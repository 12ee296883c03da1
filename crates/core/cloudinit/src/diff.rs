//! What a changed document asks of a node that has done the old one.
//!
//! Files, users, packages and mounts converge: a new or changed one is done, and one that is no longer in the document
//! is left as it is. Commands are compared as sequences, by content: where an equal one stands does not matter as long
//! as the order is kept. A command marked `rerun: true` runs when it is new or changed, wherever it stands. Any other
//! runs when it comes after all that have run; one that was changed, removed, moved or put between others cannot be
//! made good on a machine that has a past, so the machine has to be replaced. Reload steps run when they or their files
//! are new or changed; taking one out asks for nothing.

use std::collections::BTreeMap;

use crate::document::Document;
use crate::step::{Class, Section, Step, StepId, StepKind};

/// Largest table that two lists are compared with; longer differences count as changed altogether.
const CELLS_MAX: usize = 1 << 18;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    None,
    /// These steps are to be done, in this order.
    Converge(Vec<StepId>),
    /// The machine has to be made anew.
    Replace {
        steps: Vec<StepId>,
        reason: String,
    },
}

/// Compares two documents; the old one has been done altogether.
pub fn diff(old: &Document, new: &Document) -> Change {
    let mut wanted = BTreeMap::new();
    let mut misfits = Vec::new();
    for section in [Section::Boot, Section::Run] {
        match align(&Commands::of(old, section), &Commands::of(new, section)) {
            Ok(kept) => wanted.extend(new.commands(section).zip(kept).map(|(step, kept)| (&step.id, kept.is_none()))),
            Err(found) => misfits.extend(found),
        }
    }
    if !misfits.is_empty() {
        let reasons: Vec<String> = misfits.iter().map(|misfit| misfit.reason.clone()).collect();
        let steps = misfits.into_iter().map(|misfit| misfit.id).collect();
        return Change::Replace { steps, reason: reasons.join("; ") };
    }
    let before: BTreeMap<&StepId, &Step> = old.steps.iter().map(|step| (&step.id, step)).collect();
    let is_new = |step: &Step| match wanted.get(&step.id) {
        Some(wanted) => *wanted,
        None => before.get(&step.id).is_none_or(|old| old.hash != step.hash),
    };
    let steps: Vec<StepId> = new.steps.iter().filter(|step| is_new(step)).map(|step| step.id.clone()).collect();
    if steps.is_empty() { Change::None } else { Change::Converge(steps) }
}

impl Document {
    /// The commands of one list, in order.
    pub fn commands(&self, section: Section) -> impl Iterator<Item = &Step> {
        let is_of = move |step: &&Step| matches!(&step.kind, StepKind::Command(command) if command.section == section);
        self.steps.iter().filter(is_of)
    }
}

/// A list of commands as far as comparing needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands(Vec<Mark>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    id: StepId,
    hash: String,
    rerun: bool,
}

impl Commands {
    pub fn of(document: &Document, section: Section) -> Self {
        let mut commands = Self::default();
        for step in document.commands(section) {
            commands.push(step.id.as_str(), step.hash.as_str(), step.class == Class::Once { rerun: true });
        }
        commands
    }

    /// Adds a command that was done before, as a journal remembers it.
    pub fn push(&mut self, id: &str, hash: &str, rerun: bool) {
        self.0.push(Mark { id: StepId(id.to_owned()), hash: hash.to_owned(), rerun });
    }
}

/// A command that stands where it cannot be made good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub id: StepId,
    pub reason: String,
}

/// For each new command the index of the old one that it is, or `None` when it has to run.
pub fn align(old: &Commands, new: &Commands) -> Result<Vec<Option<usize>>, Vec<Misfit>> {
    let mut kept = common(&old.0, &new.0);
    let mut gone: Vec<bool> = vec![true; old.0.len()];
    for index in kept.iter().flatten() {
        gone[*index] = false;
    }
    let order: Vec<Option<usize>> = kept.clone();
    // A command that may run at any time may also stand anywhere: moved, it does not run again.
    for (mark, kept) in new.0.iter().zip(&mut kept).filter(|(mark, kept)| mark.rerun && kept.is_none()) {
        if let Some(index) = (0..old.0.len()).find(|&index| gone[index] && old.0[index].hash == mark.hash) {
            gone[index] = false;
            *kept = Some(index);
        }
    }
    let misfits = misfits(old, new, &order, &kept, &gone);
    if misfits.is_empty() { Ok(kept) } else { Err(misfits) }
}

/// Goes through the gaps between commands that kept their place.
fn misfits(
    old: &Commands,
    new: &Commands,
    order: &[Option<usize>],
    kept: &[Option<usize>],
    gone: &[bool],
) -> Vec<Misfit> {
    let mut found = Vec::new();
    let (mut old_start, mut new_start) = (0, 0);
    for place in 0..=new.0.len() {
        let at = match order.get(place) {
            Some(None) => continue,
            Some(Some(index)) => Some(*index),
            None => None,
        };
        let removed: Vec<&Mark> =
            (old_start..at.unwrap_or(old.0.len())).filter(|&i| gone[i] && !old.0[i].rerun).map(|i| &old.0[i]).collect();
        let added: Vec<&Mark> = (new_start..place).filter(|&i| kept[i].is_none()).map(|i| &new.0[i]).collect();
        judge(&removed, &added, at.is_none(), &mut found);
        old_start = at.map_or(old_start, |index| index + 1);
        new_start = place + 1;
    }
    found
}

/// One gap: a command marked `rerun` may take the place of one that was removed; the others have to fit.
fn judge(removed: &[&Mark], added: &[&Mark], at_the_end: bool, found: &mut Vec<Misfit>) {
    let reruns = added.iter().filter(|mark| mark.rerun).count();
    let unexcused = removed.get(reruns..).unwrap_or_default();
    let plain: Vec<&&Mark> = added.iter().filter(|mark| !mark.rerun).collect();
    let mut tell = |mark: &Mark, what: &str| {
        found.push(Misfit { id: mark.id.clone(), reason: format!("{} {what}", mark.id) });
    };
    if unexcused.is_empty() {
        if !at_the_end {
            for mark in plain {
                tell(mark, "was put before commands that have run");
            }
        }
        return;
    }
    for (index, mark) in unexcused.iter().enumerate() {
        match plain.get(index) {
            Some(new) => tell(new, "was changed, and the old one has run"),
            None => tell(mark, "was removed, and it has run"),
        }
    }
}

/// The longest common subsequence, by hash: for each new command the index of its old twin.
fn common(old: &[Mark], new: &[Mark]) -> Vec<Option<usize>> {
    let mut kept = vec![None; new.len()];
    let head = old.iter().zip(new).take_while(|(a, b)| a.hash == b.hash).count();
    for (index, kept) in kept.iter_mut().enumerate().take(head) {
        *kept = Some(index);
    }
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a.hash == b.hash).count();
    for back in 1..=tail {
        kept[new.len() - back] = Some(old.len() - back);
    }
    let (old_rest, new_rest) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    for (a, b) in longest(old_rest, new_rest) {
        kept[head + b] = Some(head + a);
    }
    kept
}

/// By table: `lengths[i][j]` is the length for the rests from `i` and `j` on.
fn longest(old: &[Mark], new: &[Mark]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    let cells = (old.len() + 1) * width;
    if old.is_empty() || new.is_empty() || cells > CELLS_MAX {
        return Vec::new();
    }
    let mut lengths = vec![0u16; cells];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i * width + j] = if old[i].hash == new[j].hash {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        if old[i].hash == new[j].hash {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}
