//! The plan itself: a value that leaves its executor no choice.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use muster_types::{ClientToken, ClusterName, GroupName, MachineId, NodeName};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Version of the JSON form.
pub const PLAN_VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The node is as it should be.
    Keep,
    /// Make a machine, join it, configure it.
    Create,
    /// Start the machine that is there, then verify and configure it.
    Start,
    /// Join the machine where needed, apply the configuration, run the checks.
    Configure,
    /// Remove the machine, then make another.
    Replace,
    /// Remove the machine, or forget a node that has none.
    Remove,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Create => "create",
            Self::Start => "start",
            Self::Configure => "configure",
            Self::Replace => "replace",
            Self::Remove => "remove",
        }
    }

    /// Whether data is lost by it.
    pub fn is_destructive(self) -> bool {
        matches!(self, Self::Replace | Self::Remove)
    }
}

/// What happens to one node, or to one machine too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    pub verb: Verb,
    pub node: NodeName,
    pub group: GroupName,
    /// In words.
    pub reason: String,
    /// The machine that is there: kept, started, configured, replaced or removed.
    pub machine: Option<MachineId>,
    /// A machine too many: the node itself has another action.
    pub extra: bool,
    /// Nothing is to be done now: it is configured again when nodes that its files speak of have come, gone or changed,
    /// if that makes a difference to it.
    pub follows: bool,
    /// Groups that are ready before this begins.
    pub needs: Vec<GroupName>,
    /// Nodes whose addresses the configuration needs and that have none yet.
    pub waits_for: Vec<NodeName>,
    /// Configuration steps that will run, as far as they are known.
    pub steps: Vec<String>,
    /// The client token of an earlier try that is taken up again, so that it makes no second machine.
    pub token: Option<ClientToken>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub create: usize,
    pub start: usize,
    pub configure: usize,
    pub replace: usize,
    pub remove: usize,
    pub keep: usize,
}

/// Immutable; made by [`crate::plan`] only. Its serialised form is the document of `plan --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    version: u32,
    cluster: ClusterName,
    provider: String,
    hash: String,
    summary: Summary,
    images: Vec<String>,
    actions: Vec<Action>,
}

impl Plan {
    pub(crate) fn new(cluster: ClusterName, provider: String, (images, actions): (Vec<String>, Vec<Action>)) -> Self {
        let mut summary = Summary::default();
        for action in &actions {
            let count = match action.verb {
                Verb::Keep => &mut summary.keep,
                Verb::Create => &mut summary.create,
                Verb::Start => &mut summary.start,
                Verb::Configure => &mut summary.configure,
                Verb::Replace => &mut summary.replace,
                Verb::Remove => &mut summary.remove,
            };
            *count += 1;
        }
        let hash = content_hash(&cluster, &provider, (&images, &actions));
        Self { version: PLAN_VERSION, cluster, provider, hash, summary, images, actions }
    }

    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// SHA-256 of all the plan says, lower-case hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Images that are not there yet and are made before the machines that start from them, in words.
    pub fn images(&self) -> &[String] {
        &self.images
    }

    /// Nodes of the file in its order, each with the machines too many of its name behind it; then what is removed.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.actions.iter().all(|action| action.verb == Verb::Keep)
    }

    /// Whether it removes or replaces something, which is what people are asked about.
    pub fn is_destructive(&self) -> bool {
        self.actions.iter().any(|action| action.verb.is_destructive())
    }

    /// What this plan destroys and `approved` does not: an executor that planned anew goes on only if it is nothing.
    pub fn destroys_beyond(&self, approved: &Self) -> Vec<&Action> {
        let known: BTreeSet<(&NodeName, Option<&MachineId>)> =
            approved.destructive().map(|action| (&action.node, action.machine.as_ref())).collect();
        self.destructive().filter(|action| !known.contains(&(&action.node, action.machine.as_ref()))).collect()
    }

    /// Nodes whose machine would go though nobody asked for it, where these are more than a third of the nodes that are
    /// there and more than one.
    pub fn surprising_losses(&self, asked: impl Fn(&Action) -> bool) -> Option<Vec<&NodeName>> {
        let there = self.actions.iter().filter(|action| action.machine.is_some() && !action.extra).count();
        let lost = self.destructive().filter(|action| action.machine.is_some() && !action.extra && !asked(action));
        let lost: Vec<&NodeName> = lost.map(|action| &action.node).collect();
        (lost.len() > (there / 3).max(1)).then_some(lost)
    }

    fn destructive(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.verb.is_destructive())
    }
}

fn content_hash(cluster: &ClusterName, provider: &str, (images, actions): (&[String], &[Action])) -> String {
    let content = serde_json::to_vec(&(PLAN_VERSION, cluster, provider, images, actions));
    let content = content.expect("names, words and lists of them are always JSON");
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(content) {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    hex
}
