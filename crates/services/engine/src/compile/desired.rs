//! The nodes that should be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use muster_doc::{Key, Node, Tree, emit};
use muster_provider::Size;
use muster_spec::{Count, GroupSpec};
use muster_types::{GroupName, NodeName};
use sha2::{Digest, Sha256};

use super::choose::Choice;
use super::{Compiled, DesiredNode};

impl Compiled {
    /// The nodes that should be, in the order of the file. A count inside its range is what the group was `scaled` to,
    /// else what is `existing`; the range bounds both.
    pub fn desired(
        &self,
        existing: &BTreeMap<GroupName, BTreeSet<NodeName>>,
        scaled: &BTreeMap<GroupName, u32>,
    ) -> Vec<DesiredNode> {
        let none = BTreeSet::new();
        let mut nodes = Vec::new();
        for group in &self.spec.groups {
            let there = existing.get(&group.name).unwrap_or(&none);
            for index in indices(group, there, scaled.get(&group.name).copied()) {
                nodes.extend(self.node(group, index));
            }
        }
        nodes
    }

    fn node(&self, spec: &GroupSpec, index: u32) -> Option<DesiredNode> {
        let group = self.groups.get(&spec.name)?;
        let choice = group.choice(index);
        let settings = group.settings(index);
        let shared_folders = group.shared_folders(index);
        Some(DesiredNode {
            // Group names leave room for the number, so this is a name.
            name: NodeName::of(&spec.name, index).ok()?,
            group: spec.name.clone(),
            needs: spec.needs.iter().map(|need| need.value.clone()).collect(),
            provider: choice.provider.clone(),
            image: choice.image.clone(),
            packages: group.packages.clone(),
            size: size(choice),
            machine_hash: self.machine_hash(choice, settings.as_ref(), &shared_folders),
            shared_folders,
            settings,
            tags: choice.tags.clone(),
            on_failure: spec.on_failure.value,
            timeout: spec.timeout,
        })
    }

    /// What the machine is made from. Each part is named and ended, so that no two machines look alike by chance.
    fn machine_hash(&self, choice: &Choice, settings: Option<&Tree>, shared_folders: &BTreeSet<PathBuf>) -> String {
        let mut hash = Sha256::new();
        let mut part = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                hash.update(format!("{name}:{}:{value}\n", value.len()));
            }
        };
        part("provider", Some(choice.provider.clone()));
        part("image", choice.image.clone());
        part("size", choice.size.name.clone());
        part("memory", choice.size.memory.map(|memory| memory.0.to_string()));
        part("cpus", choice.size.cpus.map(|cpus| cpus.to_string()));
        part("settings", settings.map(canonical));
        part("cluster", self.spec.blocks.get(&choice.provider).map(canonical));
        for folder in shared_folders {
            part("shared folder", Some(folder.to_string_lossy().into_owned()));
        }
        hex(&hash.finalize())
    }
}

fn size(choice: &Choice) -> Size {
    Size { name: choice.size.name.clone(), memory: choice.size.memory, cpus: choice.size.cpus }
}

/// Which numbers the nodes of a group have: those that are there as long as the range allows, then the lowest free ones;
/// of too many, the highest go.
fn indices(group: &GroupSpec, existing: &BTreeSet<NodeName>, scaled: Option<u32>) -> BTreeSet<u32> {
    let Count { min, max } = group.population.bounds();
    let own = |name: &NodeName| {
        let index = name.index()?;
        (NodeName::of(&group.name, index).ok().as_ref() == Some(name) && index > 0).then_some(index)
    };
    let there: BTreeSet<u32> = existing.iter().filter_map(own).collect();
    let there_now = u32::try_from(there.len()).unwrap_or(u32::MAX);
    let wanted = scaled.unwrap_or(there_now).clamp(min, max) as usize;
    if matches!(group.population, muster_spec::Population::Hosts(_)) {
        return (1..=max).collect();
    }
    let mut indices: BTreeSet<u32> = there.into_iter().take(wanted).collect();
    let mut next = 1;
    while indices.len() < wanted {
        indices.insert(next);
        next += 1;
    }
    indices
}

/// The same text for trees that say the same, in whichever order their keys stand.
fn canonical(tree: &Tree) -> String {
    emit(&sorted(tree))
}

fn sorted(tree: &Tree) -> Tree {
    let node = match &tree.node {
        Node::Map(entries) => {
            let mut entries: Vec<(Key, Tree)> =
                entries.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|a, b| a.0.text.cmp(&b.0.text));
            Node::Map(entries)
        }
        Node::Seq(items) => Node::Seq(items.iter().map(sorted).collect()),
        node => node.clone(),
    };
    Tree { node, span: tree.span }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
