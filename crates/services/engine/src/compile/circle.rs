//! Groups that would wait for each other for ever: one by its `needs`, the other because its templates use addresses.
//!
//! A node is made once the groups that its own needs are ready; it is ready once the nodes whose addresses it uses are
//! made. A way from "made" back to itself is a circle that no run gets out of, so it is told before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_doc::{Diagnostic, Span, codes};
use muster_types::{GroupName, NodeName};

use super::{Compiled, Member, Members};

/// Most nodes of a group that are tried; those of one group use the same templates.
const TRIED_MAX: u32 = 2;

type Uses = BTreeMap<GroupName, BTreeSet<GroupName>>;

impl Compiled {
    pub(super) fn circles(&self) -> Vec<Diagnostic> {
        let uses = self.uses();
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for (user, used) in &uses {
            for target in used {
                let Some(way) = self.way_to_ready(target, user, &uses) else { continue };
                let members: BTreeSet<&GroupName> = way.iter().map(|(group, _)| group).chain([user]).collect();
                if told.insert(members.into_iter().cloned().collect::<Vec<_>>()) {
                    found.push(self.circle(user, target, &way));
                }
            }
        }
        found
    }

    /// Of which other groups the templates of each group use addresses.
    fn uses(&self) -> Uses {
        let mut members = Members::default();
        for spec in &self.spec.groups {
            for index in 1..=spec.population.bounds().min.max(1) {
                let member = Member { group: spec.name.clone(), addresses: Vec::new(), facts: None };
                members.0.extend(NodeName::of(&spec.name, index).ok().map(|name| (name, member)));
            }
        }
        let mut uses = Uses::new();
        for spec in &self.spec.groups {
            let of_group = uses.entry(spec.name.clone()).or_default();
            for index in 1..=spec.population.bounds().min.clamp(1, TRIED_MAX) {
                let Ok(name) = NodeName::of(&spec.name, index) else { continue };
                let world = Arc::new(self.world(&members));
                // What fails was told when it was tried out with addresses; here only what it asks for counts.
                drop(self.draft(&name, &world));
                let groups = world.notes.take().missing.into_iter().filter_map(|name| members.0.get(&name));
                of_group.extend(groups.map(|member| member.group.clone()).filter(|group| *group != spec.name));
            }
        }
        uses
    }

    /// How making `from` waits for `to` to be ready: the groups on the way, each with the place of the need that leads
    /// from it, if it is one.
    fn way_to_ready(&self, from: &GroupName, to: &GroupName, uses: &Uses) -> Option<Vec<(GroupName, Option<Span>)>> {
        let mut seen = BTreeSet::from([from.clone()]);
        let mut ways = vec![vec![from.clone()]];
        let mut spans: BTreeMap<(GroupName, GroupName), Span> = BTreeMap::new();
        while let Some(way) = ways.pop() {
            let group = self.spec.group(way.last()?)?;
            for need in &group.needs {
                spans.insert((group.name.clone(), need.value.clone()), need.span);
                let longer: Vec<GroupName> = way.iter().cloned().chain([need.value.clone()]).collect();
                if need.value == *to {
                    let step = |pair: &[GroupName]| spans.get(&(pair[0].clone(), pair[1].clone())).copied();
                    return Some(longer.windows(2).map(|pair| (pair[0].clone(), step(pair))).collect());
                }
                // To be ready, the needed group has to be made, and so have those that it uses addresses of.
                if seen.insert(need.value.clone()) {
                    ways.push(longer.clone());
                }
                for used in uses.get(&need.value).into_iter().flatten() {
                    if seen.insert(used.clone()) {
                        ways.push(longer.iter().cloned().chain([used.clone()]).collect());
                    }
                }
            }
        }
        None
    }

    fn circle(&self, user: &GroupName, used: &GroupName, way: &[(GroupName, Option<Span>)]) -> Diagnostic {
        let span = self.spec.group(user).map_or(self.spec.name.span, |group| group.span);
        let message = format!(
            "`{user}` and `{used}` would wait for each other: templates of `{user}` use addresses of `{used}`, which is \
             made only once `{user}` is ready"
        );
        let hint = "remove the need, or use names in place of addresses: nodes find each other by name";
        let found =
            Diagnostic::error(codes::ADDRESS_CIRCLE, message, hint).at(span, format!("uses addresses of `{used}`"));
        way.iter().fold(found, |found, (group, span)| match span {
            Some(span) => found.related(*span, format!("`{group}` needs this to be ready")),
            None => found,
        })
    }
}
