//! One and the same template is tried out for several nodes with several addresses: what is equal everywhere depends on
//! neither.

use std::sync::Arc;

use muster_doc::Tree;

use crate::lookup::{Instance, Lookup};
use crate::model::{Implementation, Infrastructure};
use crate::resolve::Target;

/// Most instances of a node that a view has.
const INSTANCES_MAX: u32 = 3;

/// The infrastructure with addresses that are made up, seen from one of its nodes.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) cluster: String,
    pub(super) infra_id: String,
    pub(super) groups: Vec<Group>,
    /// Whose templates are rendered.
    pub(super) group: usize,
    pub(super) index: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) instances: Vec<Instance>,
}

impl View {
    /// Views from the nodes of one group: with one address each, with two, and with more nodes where the file allows.
    pub(super) fn of(infrastructure: &Infrastructure, group: usize) -> Vec<Arc<Self>> {
        let mut views = Vec::new();
        for turn in 0..2_u32 {
            let groups: Vec<Group> = (0..infrastructure.nodes.len())
                .map(|at| {
                    let scaling = infrastructure.nodes[at].scaling;
                    let count = (scaling.min + turn).min(scaling.max).min(INSTANCES_MAX + turn);
                    let name = infrastructure.nodes[at].name.value.clone();
                    let instances = (1..=count).map(|index| instance(&name, at, index, turn)).collect();
                    Group { name, instances }
                })
                .collect();
            for index in 0..groups[group].instances.len().min(2) {
                views.push(Arc::new(Self {
                    cluster: infrastructure.name.value.clone(),
                    infra_id: format!("{turn}f6ca4f2-1f2b-4e8c-8d33-{turn}f5a8e7c5b42"),
                    groups: groups.clone(),
                    group,
                    index,
                }));
            }
        }
        views
    }

    /// The node whose templates are rendered.
    pub(super) fn node_name(&self) -> String {
        format!("{}-{}", self.groups[self.group].name, self.index + 1)
    }

    pub(super) fn target<'a>(
        &'a self,
        infrastructure: &'a Infrastructure,
        implementation: &'a Implementation,
    ) -> Target<'a> {
        Target {
            infrastructure,
            node: self.group,
            implementation,
            infra_id: &self.infra_id,
            node_id: &self.groups[self.group].instances[self.index].node_id,
        }
    }
}

fn instance(node: &str, at: usize, index: u32, turn: u32) -> Instance {
    let public = format!("{}.{}.{at}.{index}", 198, 18 + turn);
    let private = format!("10.{turn}.{at}.{index}");
    Instance {
        node: node.to_owned(),
        node_id: format!("{turn}{at:03x}{index:04x}-5b42-4e8c-8d33-{at:06x}{index:06x}"),
        // The engine's own: machines go by the names of their nodes.
        instance_id: format!("{node}-{index}"),
        addresses: if turn == 0 { vec![private] } else { vec![public, private] },
        private_address: None,
        state: "ready".to_owned(),
        resource: None,
    }
}

impl Lookup for View {
    fn nodes(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }

    fn instances(&self, node: &str) -> Vec<Instance> {
        self.groups.iter().find(|group| group.name == node).map_or_else(Vec::new, |group| group.instances.clone())
    }
}

/// Whether all are the same.
pub(super) fn alike(all: &[&Tree]) -> bool {
    all.windows(2).all(|pair| pair[0].same(pair[1]))
}
