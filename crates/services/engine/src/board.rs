//! What the nodes of one run know of each other: addresses, ends, and who waits for whom. Waits are on a predicate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use muster_api::NodeFacts;
use muster_types::{GroupName, MachineId, NodeName, Phase};
use tokio::sync::watch;

use crate::compile::{DesiredNode, Members};

/// Whether a node has an address that others may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    Unknown,
    Known,
    /// It could not be made; the others go on without it.
    Dropped,
}

/// What is known of a node at the moment; the outcome of an interrupted run is made of these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) phase: Option<Phase>,
    pub(crate) machine: Option<MachineId>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// How far a group is.
#[derive(Debug, Clone, Default)]
struct Progress {
    unfinished: usize,
    /// Nodes that will not be ready in this run, with the reason.
    failed: Vec<(NodeName, String)>,
}

pub(crate) struct Board {
    members: Mutex<Members>,
    standings: Mutex<BTreeMap<NodeName, Standing>>,
    addresses: BTreeMap<NodeName, watch::Sender<Address>>,
    groups: BTreeMap<GroupName, watch::Sender<Progress>>,
    group_of: BTreeMap<NodeName, GroupName>,
    needs: BTreeMap<GroupName, BTreeSet<GroupName>>,
    /// An address that others may have been told is not true any more.
    moved: AtomicBool,
    /// Groups of which a node waits for the address of a node of another.
    wants: Mutex<BTreeMap<GroupName, BTreeSet<GroupName>>>,
}

/// Why a node cannot begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) reason: String,
}

impl Board {
    /// `members` are the nodes as far as they are known before anything is done.
    pub(crate) fn new(desired: &[DesiredNode], members: Members) -> Self {
        let mut addresses = BTreeMap::new();
        let mut unfinished: BTreeMap<GroupName, usize> = BTreeMap::new();
        let mut needs: BTreeMap<GroupName, BTreeSet<GroupName>> = BTreeMap::new();
        for node in desired {
            let is_known = members.0.get(&node.name).is_some_and(|member| !member.addresses.is_empty());
            let state = if is_known { Address::Known } else { Address::Unknown };
            addresses.insert(node.name.clone(), watch::Sender::new(state));
            *unfinished.entry(node.group.clone()).or_default() += 1;
            needs.entry(node.group.clone()).or_default().extend(node.needs.iter().cloned());
        }
        let progress = |unfinished| watch::Sender::new(Progress { unfinished, failed: Vec::new() });
        Self {
            members: Mutex::new(members),
            standings: Mutex::default(),
            addresses,
            groups: unfinished.into_iter().map(|(group, count)| (group, progress(count))).collect(),
            group_of: desired.iter().map(|node| (node.name.clone(), node.group.clone())).collect(),
            needs,
            moved: AtomicBool::new(false),
            wants: Mutex::default(),
        }
    }

    /// Whether nodes may have been told addresses that have changed since.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// Runs pure code over the members as they are now.
    pub(crate) fn with_members<T>(&self, read: impl FnOnce(&Members) -> T) -> T {
        read(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn facts(&self, node: &NodeName) -> Option<NodeFacts> {
        self.with_members(|members| members.0.get(node).and_then(|member| member.facts.clone()))
    }

    pub(crate) fn stand(&self, node: &NodeName, change: impl FnOnce(&mut Standing)) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        change(standings.entry(node.clone()).or_default());
    }

    pub(crate) fn standing(&self, node: &NodeName) -> Standing {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        standings.get(node).cloned().unwrap_or_default()
    }

    pub(crate) fn set_address(&self, node: &NodeName, found: &[IpAddr]) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.0.get_mut(node) {
            if !member.addresses.is_empty() && member.addresses != found {
                self.moved.store(true, Ordering::Relaxed);
            }
            member.addresses = found.to_vec();
        }
        drop(members);
        if let Some(address) = self.addresses.get(node) {
            address.send_replace(Address::Known);
        }
    }

    /// Notes what a node says of itself.
    pub(crate) fn set_facts(&self, node: &NodeName, facts: &NodeFacts) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.0.get_mut(node) {
            member.facts = Some(facts.clone());
        }
    }

    /// The node's machine is gone, and another one will come.
    pub(crate) fn forget_address(&self, node: &NodeName) {
        let Some(address) = self.addresses.get(node).filter(|address| *address.borrow() == Address::Known) else {
            return;
        };
        self.moved.store(true, Ordering::Relaxed);
        if let Some(member) = self.members.lock().unwrap_or_else(PoisonError::into_inner).0.get_mut(node) {
            member.addresses.clear();
            member.facts = None;
        }
        address.send_replace(Address::Unknown);
    }

    /// Takes a node that has no address out of what the others are told. False when it has one, and stays.
    pub(crate) fn drop_member(&self, node: &NodeName) -> bool {
        let Some(address) = self.addresses.get(node).filter(|address| *address.borrow() == Address::Unknown) else {
            return false;
        };
        self.members.lock().unwrap_or_else(PoisonError::into_inner).0.remove(node);
        address.send_replace(Address::Dropped);
        true
    }

    /// A node has come to its end in this run: `Err` says why it is not ready.
    pub(crate) fn end(&self, node: &NodeName, result: Result<(), String>) {
        let Some(group) = self.group_of.get(node).and_then(|group| self.groups.get(group)) else { return };
        group.send_modify(|progress| {
            assert!(progress.unfinished > 0, "a node ends once");
            progress.unfinished -= 1;
            if let Err(reason) = result {
                progress.failed.push((node.clone(), reason));
            }
        });
    }

    /// Returns when all nodes of all these groups are ready, or as soon as one will not be.
    pub(crate) async fn ready(&self, needs: &[GroupName]) -> Result<(), Blocked> {
        for need in needs {
            // A group that has no nodes is as ready as it can be.
            let Some(group) = self.groups.get(need) else { continue };
            let mut progress = group.subscribe();
            let done = progress.wait_for(|progress| progress.unfinished == 0 || !progress.failed.is_empty()).await;
            // The sender is ours: it lives as long as `self`.
            let Ok(done) = done else { continue };
            if let Some((node, reason)) = done.failed.first() {
                return Err(Blocked {
                    reason: format!("it needs group {need}, of which {node} is not ready: {reason}"),
                });
            }
        }
        Ok(())
    }

    /// Groups of `needs` that are not ready yet.
    pub(crate) fn unready<'a>(&self, needs: &'a [GroupName]) -> Vec<&'a GroupName> {
        needs.iter().filter(|need| self.groups.get(need).is_some_and(|group| group.borrow().unfinished > 0)).collect()
    }

    /// Why some of these addresses will never come, if that is so. Asked right after a template has asked for them: a
    /// node that was dropped before is not among the members, so only a template that names it still does.
    pub(crate) fn check_wanted(&self, wanted: &BTreeSet<NodeName>) -> Result<(), Blocked> {
        for name in wanted {
            let reason = match self.address(name) {
                Some(Address::Unknown) => continue,
                Some(Address::Known) => format!("its configuration waits for the address of {name}, which is known"),
                Some(Address::Dropped) => format!("its configuration needs {name}, which could not be made"),
                None => format!("its configuration needs {name}, which is not in the file"),
            };
            return Err(Blocked { reason });
        }
        Ok(())
    }

    /// Returns when none of these nodes is without an address: it has one, or was dropped. An error says why that will
    /// never be.
    pub(crate) async fn addresses(&self, node: &NodeName, wanted: &BTreeSet<NodeName>) -> Result<(), Blocked> {
        for name in wanted {
            let Some(address) = self.addresses.get(name) else { continue };
            if *address.borrow() == Address::Unknown {
                self.check_wait(node, name)?;
                // An error means that the sender is gone, and it is ours.
                drop(address.subscribe().wait_for(|address| *address != Address::Unknown).await);
            }
        }
        Ok(())
    }

    fn address(&self, node: &NodeName) -> Option<Address> {
        self.addresses.get(node).map(|address| *address.borrow())
    }

    /// Notes that `node` waits for the address of `wanted`, unless that one waits in the end for `node` to be ready.
    fn check_wait(&self, node: &NodeName, wanted: &NodeName) -> Result<(), Blocked> {
        let (Some(own), Some(other)) = (self.group_of.get(node), self.group_of.get(wanted)) else { return Ok(()) };
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.path(&wants, other, own) {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            let reason = format!(
                "its configuration needs the address of {wanted}, which starts only after group {own} is ready ({})",
                path.join(" needs ")
            );
            return Err(Blocked { reason });
        }
        wants.entry(own.clone()).or_default().insert(other.clone());
        Ok(())
    }

    /// The way by which starting a node of `from` waits for group `to` to be ready.
    fn path(
        &self,
        wants: &BTreeMap<GroupName, BTreeSet<GroupName>>,
        from: &GroupName,
        to: &GroupName,
    ) -> Option<Vec<GroupName>> {
        let mut seen = BTreeSet::from([from]);
        let mut ways = vec![vec![from]];
        while let Some(way) = ways.pop() {
            let starting = way.last().copied()?;
            for need in self.needs.get(starting).into_iter().flatten() {
                let is_ready = self.groups.get(need).is_none_or(|group| group.borrow().unfinished == 0);
                if is_ready {
                    continue;
                }
                let mut longer = way.clone();
                longer.push(need);
                if need == to {
                    return Some(longer.into_iter().cloned().collect());
                }
                // A group that is not ready waits for its own start, and for the start of those it wants addresses of.
                let next = wants.get(need).into_iter().flatten().filter(|group| self.starts(group));
                for group in std::iter::once(need).chain(next) {
                    if seen.insert(group) {
                        let mut further = longer.clone();
                        if group != need {
                            further.push(group);
                        }
                        ways.push(further);
                    }
                }
            }
        }
        None
    }

    /// Whether a node of the group has no address yet.
    fn starts(&self, group: &GroupName) -> bool {
        let mut nodes = self.group_of.iter().filter(|(_, of)| *of == group);
        nodes.any(|(node, _)| self.address(node) == Some(Address::Unknown))
    }
}
