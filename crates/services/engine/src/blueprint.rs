//! What the engine needs to know of a compiled cluster file.

use std::collections::{BTreeMap, BTreeSet};

use muster_store::Reading;
use muster_types::{ClusterName, GroupName, NodeName};

use crate::compile::{Compiled, DesiredNode, Hooks, Members, RenderFault, Rendered};

/// The nodes that should be, and what each is given. A compiled file is one; tests have simpler ones.
pub trait Blueprint: Send + Sync {
    fn cluster(&self) -> &ClusterName;

    /// Where the file was.
    fn file(&self) -> &str;

    /// What was said beside it.
    fn reading(&self) -> Reading {
        Reading::default()
    }

    /// The file's block for a provider, as YAML: what opens the provider again without the file.
    fn settings(&self, provider: &str) -> Option<String>;

    /// The nodes that should be, in the order of the file. A count inside its range is what the group was `scaled` to,
    /// else what is `existing`; the range bounds both.
    fn desired(
        &self,
        existing: &BTreeMap<GroupName, BTreeSet<NodeName>>,
        scaled: &BTreeMap<GroupName, u32>,
    ) -> Vec<DesiredNode>;

    /// The same members give the same result.
    fn render(&self, node: &NodeName, members: &Members) -> Result<Rendered, RenderFault>;

    /// What is run around a change of members for a node of a group of the file, whether it should be or not.
    fn hooks(&self, _node: &NodeName, _members: &Members) -> Result<Hooks, RenderFault> {
        Ok(Hooks::default())
    }
}

impl Blueprint for Compiled {
    fn cluster(&self) -> &ClusterName {
        &self.spec.name.value
    }

    fn file(&self) -> &str {
        &self.path
    }

    fn reading(&self) -> Reading {
        self.reading.clone()
    }

    fn settings(&self, provider: &str) -> Option<String> {
        self.spec.blocks.get(provider).map(muster_doc::emit)
    }

    fn desired(
        &self,
        existing: &BTreeMap<GroupName, BTreeSet<NodeName>>,
        scaled: &BTreeMap<GroupName, u32>,
    ) -> Vec<DesiredNode> {
        Compiled::desired(self, existing, scaled)
    }

    fn render(&self, node: &NodeName, members: &Members) -> Result<Rendered, RenderFault> {
        Compiled::render(self, node, members)
    }

    fn hooks(&self, node: &NodeName, members: &Members) -> Result<Hooks, RenderFault> {
        Compiled::hooks(self, node, members)
    }
}
