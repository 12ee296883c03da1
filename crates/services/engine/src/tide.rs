//! Members come and go in a run; those who speak of them follow. Followers take in what is there by then, in one go, and
//! whoever needs to be known by them waits until it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use muster_types::{GroupName, NodeName};
use tokio::sync::watch;

use crate::board::Board;
use crate::compile::Members;

/// Counts changes of members: a state of them is named by the number of changes before it.
pub(crate) type Version = u64;

/// Who moves, and how often the members have changed.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    version: Version,
    /// When each node changed last.
    changed: BTreeMap<NodeName, Version>,
    /// Nodes that may still change.
    moving: BTreeSet<NodeName>,
    /// Those of them that are on their way to join.
    coming: BTreeSet<NodeName>,
}

/// How far a node is with the members that its files speak of.
#[derive(Debug, Clone, Default)]
pub(crate) enum Follower {
    /// Its files speak of none.
    #[default]
    Not,
    /// It has taken in the members as they were then, without those that had not joined. One that is not ready goes on
    /// only when its own turn comes.
    At {
        version: Version,
        left_out: Arc<BTreeSet<NodeName>>,
        ready: bool,
    },
    Failed {
        reason: String,
        left_out: Arc<BTreeSet<NodeName>>,
    },
}

/// A follower that could not follow.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) follower: NodeName,
    pub(crate) reason: String,
}

impl Follower {
    fn left_out(&self) -> Arc<BTreeSet<NodeName>> {
        match self {
            Self::Not => Arc::default(),
            Self::At { left_out, .. } | Self::Failed { left_out, .. } => Arc::clone(left_out),
        }
    }

    /// Nothing more comes from it that somebody who waits for this version would wait for.
    fn is_past(&self, wanted: Version) -> bool {
        match self {
            Self::Not | Self::Failed { .. } => true,
            Self::At { version, .. } => *version >= wanted,
        }
    }

    fn is_ready(&self) -> bool {
        matches!(self, Self::At { ready: true, .. })
    }
}

impl Board {
    pub(crate) fn version(&self) -> Version {
        self.tide.borrow().version
    }

    /// Runs pure code over the members as followers are told of them: those that leave are there until they have left.
    pub(crate) fn with_leaving<T>(&self, read: impl Fn(&Members) -> T) -> Option<T> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        if leaving.is_empty() {
            return None;
        }
        let mut all = self.with_members(Members::clone);
        all.0.extend(leaving.iter().map(|(name, member)| (name.clone(), member.clone())));
        Some(read(&all))
    }

    /// Whether any node may still change the members.
    pub(crate) fn is_moving(&self) -> bool {
        !self.tide.borrow().moving.is_empty()
    }

    /// A node is on its way to join: whoever follows may wait for it a little.
    pub(crate) fn coming(&self, node: &NodeName) {
        self.tide.send_if_modified(|tide| tide.moving.contains(node) && tide.coming.insert(node.clone()));
    }

    pub(crate) fn arrived(&self, node: &NodeName) {
        self.tide.send_if_modified(|tide| tide.coming.remove(node));
    }

    /// The node will not change the members any more in this run.
    pub(crate) fn settle(&self, node: &NodeName) {
        self.tide.send_if_modified(|tide| tide.moving.remove(node) | tide.coming.remove(node));
    }

    /// What others are told of the node has changed.
    pub(crate) fn change(&self, node: &NodeName) {
        self.tide.send_modify(|tide| {
            tide.version += 1;
            tide.changed.insert(node.clone(), tide.version);
        });
    }

    /// The node is not among the members any more, as followers see them.
    pub(crate) fn leave(&self, node: &NodeName) {
        let was = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
        if was.is_some() {
            self.change(node);
        }
    }

    /// Whether followers are still told of a node whose machine will go.
    pub(crate) fn is_leaving(&self, node: &NodeName) -> bool {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains_key(node)
    }

    /// Returns when the members have changed since `seen`; false when they will not any more.
    pub(crate) async fn news(&self, seen: Version) -> bool {
        let mut tide = self.tide.subscribe();
        let end = tide.wait_for(|tide| tide.version > seen || tide.moving.is_empty()).await;
        // The sender is ours.
        end.is_ok_and(|tide| tide.version > seen)
    }

    /// Returns when nobody is on its way to join, or after this time.
    pub(crate) async fn gather(&self, limit: Duration) {
        let mut tide = self.tide.subscribe();
        drop(tokio::time::timeout(limit, tide.wait_for(|tide| tide.coming.is_empty())).await);
    }

    /// The version that the node has taken in, if it follows.
    pub(crate) fn follows_at(&self, node: &NodeName) -> Option<Version> {
        match &*self.followers.get(node)?.borrow() {
            Follower::At { version, .. } => Some(*version),
            Follower::Not | Follower::Failed { .. } => None,
        }
    }

    pub(crate) fn took_in(&self, node: &NodeName, version: Version, left_out: BTreeSet<NodeName>) {
        if let Some(follower) = self.followers.get(node) {
            let left_out = Arc::new(left_out);
            follower.send_modify(|state| *state = Follower::At { version, left_out, ready: state.is_ready() });
        }
    }

    /// From now on the node takes in what changes, as it changes.
    pub(crate) fn follow(&self, node: &NodeName) {
        if let Some(follower) = self.followers.get(node) {
            follower.send_if_modified(|state| match state {
                Follower::At { ready, .. } => !std::mem::replace(ready, true),
                Follower::Not | Follower::Failed { .. } => false,
            });
        }
    }

    /// The node follows no more; whoever waits for it does not wait any longer.
    pub(crate) fn fall_behind(&self, node: &NodeName, reason: &str) {
        let Some(follower) = self.followers.get(node) else { return };
        follower.send_if_modified(|follower| {
            let follows = matches!(follower, Follower::At { .. });
            if follows {
                *follower = Follower::Failed { reason: reason.to_owned(), left_out: follower.left_out() };
            }
            follows
        });
    }

    /// Followers among the needs of the node's group, theirs and so on, that have not taken the node in yet.
    pub(crate) fn not_aware_of(&self, node: &NodeName) -> BTreeSet<NodeName> {
        let wanted = self.changed(node);
        let waits = self.needed_followers(node).filter(|(_, follower)| {
            let follower = follower.borrow();
            self.concerns(node, &follower) && !follower.is_past(wanted)
        });
        waits.map(|(name, _)| name.clone()).collect()
    }

    /// Returns when all of them have.
    pub(crate) async fn taken_in(&self, node: &NodeName) -> Result<(), Behind> {
        let wanted = self.changed(node);
        for (name, follower) in self.needed_followers(node) {
            let mut follower = follower.subscribe();
            let past = follower.wait_for(|state| !self.concerns(node, state) || state.is_past(wanted)).await;
            // The sender is ours.
            let Ok(past) = past else { continue };
            if let (Follower::Failed { reason, .. }, true) = (&*past, self.concerns(node, &past)) {
                return Err(Behind { follower: name.clone(), reason: reason.clone() });
            }
        }
        Ok(())
    }

    /// Returns when every follower has taken in that the node has left. A node that others may wait for does not wait
    /// itself for those whose turn has not come: they may be the same.
    pub(crate) async fn left(&self, node: &NodeName, returns: bool) -> Result<(), Behind> {
        let wanted = self.changed(node);
        if wanted == 0 {
            return Ok(());
        }
        for (name, follower) in self.followers.iter().filter(|(name, _)| *name != node) {
            let mut follower = follower.subscribe();
            // The sender is ours.
            let done = |state: &Follower| state.is_past(wanted) || (returns && !state.is_ready());
            let Ok(past) = follower.wait_for(done).await else { continue };
            if let Follower::Failed { reason, .. } = &*past {
                return Err(Behind { follower: name.clone(), reason: reason.clone() });
            }
        }
        Ok(())
    }

    fn changed(&self, node: &NodeName) -> Version {
        self.tide.borrow().changed.get(node).copied().unwrap_or_default()
    }

    /// Whether the follower's files speak of the node: it was left out of them, or had been a member before the run.
    fn concerns(&self, node: &NodeName, follower: &Follower) -> bool {
        self.members_before.contains(node) || follower.left_out().contains(node)
    }

    fn needed_followers(&self, node: &NodeName) -> impl Iterator<Item = (&NodeName, &watch::Sender<Follower>)> {
        let groups = self.group_of.get(node).map(|group| self.all_needs(group)).unwrap_or_default();
        let is_needed = move |name: &NodeName| self.group_of.get(name).is_some_and(|group| groups.contains(group));
        self.followers.iter().filter(move |(name, _)| *name != node && is_needed(name))
    }

    /// What a group needs, and what that needs.
    fn all_needs(&self, group: &GroupName) -> BTreeSet<GroupName> {
        let mut all = BTreeSet::new();
        let mut open = vec![group];
        while let Some(next) = open.pop() {
            for need in self.needs.get(next).into_iter().flatten() {
                if all.insert(need.clone()) {
                    open.push(need);
                }
            }
        }
        all
    }
}

impl Tide {
    pub(crate) fn of(moving: BTreeSet<NodeName>) -> watch::Sender<Self> {
        watch::Sender::new(Self { moving, ..Self::default() })
    }
}
