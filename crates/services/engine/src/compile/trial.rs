//! Templates tried out before anything is made: once as if every node had joined, once as if none had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use muster_api::NodeFacts;
use muster_cloudinit::{Document, StepKind};
use muster_doc::Diagnostic;
use muster_types::{GroupName, NodeName};

use super::context::World;
use super::render::Draft;
use super::{Compiled, Member, Members, RenderFault};

/// Documentation addresses: they stand for those that are not there yet.
const TRIAL_ADDRESS: [u8; 3] = [192, 0, 2];

/// A small machine.
fn trial_facts() -> NodeFacts {
    NodeFacts { cpus: 2, memory_bytes: 2 << 30, architecture: "x86_64".to_owned(), ..NodeFacts::default() }
}

impl Compiled {
    /// Renders the first and the last node of each group with their hooks, and notes which packages they ask for.
    pub(super) fn try_out(&mut self) -> Vec<Diagnostic> {
        let (mut members, tried) = self.trial_members();
        let mut packages: BTreeMap<GroupName, BTreeSet<String>> = BTreeMap::new();
        let mut found = Vec::new();
        let mut following = Vec::new();
        let world = Arc::new(self.world(&members));
        for (name, group) in tried {
            if let Err(RenderFault::Bad(mut errors)) = self.hooks(&name, &members) {
                found.append(&mut errors);
            }
            match self.try_node(&name, &world) {
                Ok(document) => {
                    packages.entry(group).or_default().extend(packages_of(&document));
                    found.extend(document.warnings);
                }
                Err(mut errors) => found.append(&mut errors),
            }
            if world.notes.take().follows {
                following.push(name);
            }
        }
        // Whoever speaks of joined nodes has to have something to say when there are none.
        members.0.values_mut().for_each(|member| member.facts = None);
        let world = Arc::new(self.world(&members));
        for name in following {
            found.extend(self.try_node(&name, &world).map_or_else(|errors| errors, |document| document.warnings));
        }
        for (name, packages) in packages {
            if let Some(group) = self.groups.get_mut(&name) {
                group.packages = packages;
            }
        }
        found
    }

    /// What the node itself would say about its cloud-config is said here, at its place in the file.
    fn try_node(&self, name: &NodeName, world: &Arc<World>) -> Result<Document, Vec<Diagnostic>> {
        let Draft { config, warnings, .. } = self.draft(name, world)?;
        let mut document = muster_cloudinit::read_document(&config)?;
        document.warnings.extend(warnings);
        Ok(document)
    }

    /// All nodes that there are at least, joined; and those that are tried.
    fn trial_members(&self) -> (Members, Vec<(NodeName, GroupName)>) {
        let mut members = Members::default();
        let mut tried = Vec::new();
        for spec in &self.spec.groups {
            let count = spec.population.bounds().min.max(1);
            for index in 1..=count {
                let Ok(name) = NodeName::of(&spec.name, index) else { continue };
                if index == 1 || index == count {
                    tried.push((name.clone(), spec.name.clone()));
                }
                let [a, b, c] = TRIAL_ADDRESS;
                let last = u8::try_from(members.0.len() % 254 + 1).unwrap_or(1);
                let addresses = vec![IpAddr::from([a, b, c, last])];
                let member = Member { group: spec.name.clone(), addresses, facts: Some(trial_facts()) };
                members.0.insert(name, member);
            }
        }
        (members, tried)
    }
}

/// As `apt-get install` takes them.
fn packages_of(document: &Document) -> impl Iterator<Item = String> {
    let packages = document.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Packages(packages) => Some(&packages.packages),
        _ => None,
    });
    packages.flatten().map(|package| match &package.version {
        Some(version) => format!("{}={version}", package.name),
        None => package.name.clone(),
    })
}
