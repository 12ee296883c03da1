//! Which groups wait for which: unknown ones and circles.

use std::collections::BTreeMap;

use muster_doc::read::Findings;
use muster_doc::{Diagnostic, Spanned, codes, suggest};
use muster_types::GroupName;

use crate::model::GroupSpec;

/// Unknown groups and circles among the needs of groups.
pub fn check_needs(groups: &[GroupSpec]) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    check(groups, &mut out);
    out.diagnostics
}

pub(crate) fn check(groups: &[GroupSpec], out: &mut Findings) {
    unknown(groups, out);
    circles(groups, out);
}

fn unknown(groups: &[GroupSpec], out: &mut Findings) {
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    for group in groups {
        for (index, need) in group.needs.iter().enumerate() {
            if let Some(first) = group.needs[..index].iter().find(|other| other.value == need.value) {
                let message = format!("`{}` needs `{}` twice", group.name, need.value);
                let found = Diagnostic::warning(codes::GROUP_DUPLICATE_NEED, message, "remove one of the two");
                out.push(found.at(need.span, "again").related(first.span, "first"));
            }
            if !known.contains(&need.value.as_str()) {
                let others: Vec<&str> = known.iter().filter(|name| **name != group.name.as_str()).copied().collect();
                let message =
                    format!("`{}` needs the group `{}`, which the file does not have", group.name, need.value);
                let hint = suggest::hint(need.value.as_str(), &others, "group");
                out.push(Diagnostic::error(codes::GROUP_UNKNOWN, message, hint).at(need.span, "no such group"));
            }
        }
    }
}

/// Walks the groups in depth; a need that leads back to a group on the way there closes a circle. Each circle is
/// reported once, along its steps.
fn circles(groups: &[GroupSpec], out: &mut Findings) {
    let index: BTreeMap<&str, usize> = groups.iter().enumerate().map(|(at, group)| (group.name.as_str(), at)).collect();
    let mut done = vec![false; groups.len()];
    for start in 0..groups.len() {
        // The way to where we are: group and which of its needs comes next.
        let mut way: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, next)) = way.last_mut() {
            let Some(need) = groups[*at].needs.get(*next) else {
                done[*at] = true;
                way.pop();
                continue;
            };
            *next += 1;
            let Some(&target) = index.get(need.value.as_str()) else { continue };
            if let Some(from) = way.iter().position(|(at, _)| *at == target) {
                let steps: Vec<(&GroupName, &Spanned<GroupName>)> =
                    way[from..].iter().map(|(at, next)| (&groups[*at].name, &groups[*at].needs[next - 1])).collect();
                out.push(circle(&steps));
            } else if !done[target] {
                way.push((target, 0));
            }
        }
    }
}

fn circle(steps: &[(&GroupName, &Spanned<GroupName>)]) -> Diagnostic {
    let (first, need) = steps[0];
    if steps.len() == 1 {
        let message = format!("the group `{first}` needs itself");
        return Diagnostic::error(codes::GROUP_CYCLE, message, "remove the group from its own `needs`")
            .at(need.span, "itself");
    }
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).chain([first.as_str()]).collect();
    let message = format!("groups need each other in a circle: {}", names.join(" → "));
    let hint = "remove one of these needs, so that one group can be made first";
    let found = Diagnostic::error(codes::GROUP_CYCLE, message, hint)
        .at(need.span, format!("1. `{first}` needs `{}`", need.value));
    steps[1..].iter().enumerate().fold(found, |found, (index, (name, need))| {
        found.related(need.span, format!("{}. `{name}` needs `{}`", index + 2, need.value))
    })
}
