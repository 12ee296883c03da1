//! What the nodes of one run know of each other: addresses, ends, and who waits for whom. Waits are on a predicate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muster_api::NodeFacts;
use muster_types::{GroupName, MachineId, NodeName, Phase};
use tokio::sync::watch;

use crate::compile::{DesiredNode, Member, Members};
use crate::tide::{Follower, Tide};

/// Whether a node has an address that others may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    Unknown,
    Known,
    /// It has one, and has said what it is.
    Joined,
    /// It has one, and will not say in this run what it is.
    Silent,
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
    /// Nodes that leave, as followers are told of them until they have left.
    pub(crate) leaving: Mutex<BTreeMap<NodeName, Member>>,
    pub(crate) tide: watch::Sender<Tide>,
    pub(crate) followers: BTreeMap<NodeName, watch::Sender<Follower>>,
    /// Nodes that others may have been told of in earlier runs.
    pub(crate) members_before: BTreeSet<NodeName>,
    addresses: BTreeMap<NodeName, watch::Sender<Address>>,
    groups: BTreeMap<GroupName, watch::Sender<Progress>>,
    pub(crate) group_of: BTreeMap<NodeName, GroupName>,
    pub(crate) needs: BTreeMap<GroupName, BTreeSet<GroupName>>,
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

/// What a run starts from.
pub(crate) struct Known {
    /// The nodes that should be, as far as they are known before anything is done.
    pub(crate) members: Members,
    /// Nodes whose machines go, as others were told of them.
    pub(crate) leaving: BTreeMap<NodeName, Member>,
    /// Nodes that are there and whose files speak of others as far as those have joined, with those that have not.
    pub(crate) followers: BTreeMap<NodeName, BTreeSet<NodeName>>,
}

fn address_of(member: Option<&Member>) -> Address {
    match member {
        Some(member) if member.addresses.is_empty() => Address::Unknown,
        Some(member) if member.facts.is_some() => Address::Joined,
        Some(_) => Address::Known,
        None => Address::Unknown,
    }
}

impl Board {
    pub(crate) fn new(desired: &[DesiredNode], known: Known, moving: BTreeSet<NodeName>) -> Self {
        let Known { members, leaving, followers: there } = known;
        let mut followers = BTreeMap::new();
        let mut members_before: BTreeSet<NodeName> = leaving.keys().cloned().collect();
        let mut addresses = BTreeMap::new();
        let mut unfinished: BTreeMap<GroupName, usize> = BTreeMap::new();
        let mut needs: BTreeMap<GroupName, BTreeSet<GroupName>> = BTreeMap::new();
        for node in desired {
            let state = address_of(members.0.get(&node.name));
            if state == Address::Joined {
                members_before.insert(node.name.clone());
            }
            let follower = there.get(&node.name).map_or(Follower::Not, |left_out| Follower::At {
                version: 0,
                left_out: Arc::new(left_out.clone()),
                ready: false,
            });
            followers.insert(node.name.clone(), watch::Sender::new(follower));
            addresses.insert(node.name.clone(), watch::Sender::new(state));
            *unfinished.entry(node.group.clone()).or_default() += 1;
            needs.entry(node.group.clone()).or_default().extend(node.needs.iter().cloned());
        }
        let progress = |unfinished| watch::Sender::new(Progress { unfinished, failed: Vec::new() });
        Self {
            members: Mutex::new(members),
            leaving: Mutex::new(leaving),
            tide: Tide::of(moving),
            followers,
            members_before,
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

    /// Where peers reach a node, be it one that leaves.
    pub(crate) fn address_of(&self, node: &NodeName) -> Option<IpAddr> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned();
        let member = leaving.or_else(|| self.with_members(|members| members.0.get(node).cloned()))?;
        member.addresses.first().copied()
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
        let Some(member) = members.0.get_mut(node) else { return };
        let is_other = member.addresses != found;
        if is_other && !member.addresses.is_empty() {
            self.moved.store(true, Ordering::Relaxed);
        }
        member.addresses = found.to_vec();
        let state = address_of(Some(member));
        drop(members);
        if let Some(address) = self.addresses.get(node) {
            address.send_replace(state);
        }
        if is_other && state == Address::Joined {
            self.change(node);
        }
    }

    /// Notes what a node says of itself.
    pub(crate) fn set_facts(&self, node: &NodeName, facts: &NodeFacts) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(member) = members.0.get_mut(node) else { return };
        let is_other = member.facts.as_ref() != Some(facts);
        member.facts = Some(facts.clone());
        drop(members);
        if let Some(address) = self.addresses.get(node) {
            address.send_replace(Address::Joined);
        }
        if is_other {
            self.change(node);
        }
    }

    /// The node's machine is gone, and another one will come.
    pub(crate) fn forget_address(&self, node: &NodeName) {
        let has_one = |state: &Address| matches!(state, Address::Known | Address::Joined | Address::Silent);
        let Some(address) = self.addresses.get(node).filter(|address| has_one(&address.borrow())) else {
            return;
        };
        self.moved.store(true, Ordering::Relaxed);
        if let Some(member) = self.members.lock().unwrap_or_else(PoisonError::into_inner).0.get_mut(node) {
            member.addresses.clear();
            member.facts = None;
        }
        address.send_replace(Address::Unknown);
        self.change(node);
    }

    /// Takes a node that has no address out of what the others are told. False when it has one, and stays.
    pub(crate) fn drop_member(&self, node: &NodeName) -> bool {
        let Some(address) = self.addresses.get(node) else { return false };
        let state = *address.borrow();
        if state == Address::Known {
            address.send_replace(Address::Silent);
        }
        if state != Address::Unknown {
            return false;
        }
        self.members.lock().unwrap_or_else(PoisonError::into_inner).0.remove(node);
        address.send_replace(Address::Dropped);
        true
    }

    /// A node has come to its end in this run: `Err` says why it is not ready.
    pub(crate) fn end(&self, node: &NodeName, result: Result<(), String>) {
        if let Err(reason) = &result {
            self.fall_behind(node, reason);
        }
        let Some(group) = self.group_of.get(node).and_then(|group| self.groups.get(group)) else { return };
        group.send_modify(|progress| {
            assert!(progress.unfinished > 0, "a node ends once");
            progress.unfinished -= 1;
            if let Err(reason) = result {
                progress.failed.push((node.clone(), reason));
            }
        });
    }

    /// A node that was ready in this run is not any more.
    pub(crate) fn end_late(&self, node: &NodeName, reason: &str) {
        self.fall_behind(node, reason);
        if let Some(group) = self.group_of.get(node).and_then(|group| self.groups.get(group)) {
            group.send_modify(|progress| progress.failed.push((node.clone(), reason.to_owned())));
        }
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
                Some(Address::Unknown | Address::Known) => continue,
                Some(Address::Joined) => format!("its configuration waits for what is known of {name}"),
                Some(Address::Silent) => format!("its configuration needs {name}, which did not join"),
                Some(Address::Dropped) => format!("its configuration needs {name}, which could not be made"),
                None => format!("its configuration needs {name}, which is not in the file"),
            };
            return Err(Blocked { reason });
        }
        Ok(())
    }

    /// Returns when more is known of these nodes than now: of one without an address its address, of one with an
    /// address what it says of itself; or when that will not be in this run. An error says why it will never be.
    pub(crate) async fn addresses(&self, node: &NodeName, wanted: &BTreeSet<NodeName>) -> Result<(), Blocked> {
        for name in wanted {
            let Some(address) = self.addresses.get(name) else { continue };
            let now = *address.borrow();
            if now == Address::Unknown {
                self.check_wait(node, name)?;
            }
            if matches!(now, Address::Unknown | Address::Known) {
                // An error means that the sender is gone, and it is ours.
                drop(address.subscribe().wait_for(|address| *address != now).await);
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
