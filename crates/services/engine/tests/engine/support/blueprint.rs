//! Cluster files without the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use muster_api::{Check, CheckKind};
use muster_engine::Blueprint;
use muster_engine::compile::{DesiredNode, Hook, Hooks, Members, RenderFault, Rendered};
use muster_provider::{Size, Tags};
use muster_spec::OnFailure;
use muster_types::{ClusterName, GroupName, NodeName};
use sha2::{Digest as _, Sha256};

/// Whose addresses the nodes of a group are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wants {
    Nothing,
    Everybody,
    Group(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct TestGroup {
    pub(crate) name: &'static str,
    pub(crate) count: u32,
    pub(crate) needs: Vec<&'static str>,
    pub(crate) wants: Wants,
    /// Groups of which the nodes are told those that have joined.
    pub(crate) follows: Vec<&'static str>,
    /// The group whose nodes run its hooks.
    pub(crate) drained_by: Option<&'static str>,
    pub(crate) machine: &'static str,
    pub(crate) image: Option<&'static str>,
    pub(crate) packages: Vec<&'static str>,
    /// A file on each node.
    pub(crate) motd: &'static str,
    /// A command on each node.
    pub(crate) command: &'static str,
    pub(crate) on_failure: OnFailure,
    pub(crate) timeout: Duration,
    pub(crate) checks: Vec<Check>,
}

impl TestGroup {
    pub(crate) fn new(name: &'static str, count: u32) -> Self {
        Self {
            name,
            count,
            needs: Vec::new(),
            wants: Wants::Nothing,
            follows: Vec::new(),
            drained_by: None,
            machine: "small",
            image: None,
            packages: Vec::new(),
            motd: "hello",
            command: "true",
            on_failure: OnFailure::Keep,
            timeout: Duration::from_secs(30),
            checks: vec![Check { kind: CheckKind::Port { port: 80 }, timeout_ms: 5000 }],
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TestBlueprint {
    pub(crate) cluster: ClusterName,
    pub(crate) groups: Vec<TestGroup>,
    /// Of a group with a number of its own, those that are there stay.
    pub(crate) existing: bool,
}

impl TestBlueprint {
    pub(crate) fn new(groups: Vec<TestGroup>) -> Self {
        Self { cluster: ClusterName::new("demo").unwrap(), groups, existing: false }
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Vec<TestGroup>)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.groups);
        changed
    }

    fn group(&self, node: &NodeName) -> &TestGroup {
        self.find(node).unwrap()
    }

    fn find(&self, node: &NodeName) -> Option<&TestGroup> {
        let group = node.as_str().rsplit_once('-').unwrap().0;
        self.groups.iter().find(|known| known.name == group)
    }
}

impl Blueprint for TestBlueprint {
    fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    fn file(&self) -> &'static str {
        "cluster.yaml"
    }

    fn settings(&self, _provider: &str) -> Option<String> {
        None
    }

    fn desired(
        &self,
        existing: &BTreeMap<GroupName, BTreeSet<NodeName>>,
        scaled: &BTreeMap<GroupName, u32>,
    ) -> Vec<DesiredNode> {
        let nodes = self.groups.iter().flat_map(|group| {
            let name = GroupName::new(group.name).unwrap();
            let count = scaled.get(&name).copied().unwrap_or(group.count);
            let there: Vec<u32> = existing.get(&name).into_iter().flatten().filter_map(NodeName::index).collect();
            let stays = self.existing && scaled.contains_key(&name);
            let indices =
                if stays { there.into_iter().take(count as usize).collect() } else { (1..=count).collect::<Vec<_>>() };
            indices.into_iter().map(move |index| DesiredNode {
                name: NodeName::of(&name, index).unwrap(),
                group: name.clone(),
                needs: group.needs.iter().map(|need| GroupName::new(*need).unwrap()).collect(),
                provider: "fake".to_owned(),
                image: group.image.map(str::to_owned),
                packages: group.packages.iter().map(|package| (*package).to_owned()).collect(),
                shared_folders: BTreeSet::new(),
                size: Size::default(),
                settings: None,
                tags: Tags::from([("colour".to_owned(), "green".to_owned())]),
                machine_hash: group.machine.to_owned(),
                on_failure: group.on_failure,
                timeout: group.timeout,
            })
        });
        nodes.collect()
    }

    fn hooks(&self, node: &NodeName, members: &Members) -> Result<Hooks, RenderFault> {
        let Some(by) = self.find(node).and_then(|group| group.drained_by) else { return Ok(Hooks::default()) };
        let on: Vec<NodeName> =
            members.0.iter().filter(|(_, of)| of.group.as_str() == by).map(|(n, _)| n.clone()).collect();
        let hook = |what| Hook { on: on.clone(), command: format!("{what} {node}"), timeout: Duration::from_secs(20) };
        Ok(Hooks { drain: Some(hook("drain")), resume: Some(hook("resume")) })
    }

    fn render(&self, node: &NodeName, members: &Members) -> Result<Rendered, RenderFault> {
        let group = self.group(node);
        let mut waiting = BTreeSet::new();
        let mut told = String::new();
        let mut left_out = BTreeSet::new();
        for (name, member) in &members.0 {
            let wanted = match &group.wants {
                Wants::Nothing => false,
                Wants::Everybody => true,
                Wants::Group(wanted) => member.group.as_str() == *wanted,
            };
            match member.addresses.first() {
                _ if !wanted => {}
                Some(address) => write!(told, " {name}={address}").unwrap(),
                None => drop(waiting.insert(name.clone())),
            }
            if group.follows.contains(&member.group.as_str()) {
                match (member.addresses.first(), &member.facts) {
                    (Some(address), Some(facts)) => write!(told, " {name}~{address}/{}", facts.cpus).unwrap(),
                    _ => drop(left_out.insert(name.clone())),
                }
            }
        }
        if !waiting.is_empty() {
            return Err(RenderFault::Waiting(waiting));
        }
        let (motd, command) = (group.motd, group.command);
        let document = format!(
            "#cloud-config\nwrite_files:\n- path: /etc/motd\n  content: \"{motd} {node}:{told}\"\nruncmd:\n- {command}\n"
        );
        let mut hash = String::new();
        for byte in Sha256::digest(&document) {
            write!(hash, "{byte:02x}").unwrap();
        }
        Ok(Rendered {
            document,
            hash,
            checks: group.checks.clone(),
            outside: None,
            user_data: None,
            left_out,
            follows: !group.follows.is_empty(),
        })
    }
}

pub(crate) fn name(node: &str) -> NodeName {
    NodeName::new(node).unwrap()
}
