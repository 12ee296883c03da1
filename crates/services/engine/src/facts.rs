//! What is found out before planning: what each node would be given, and what its agent says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::StreamExt as _;
use muster_api::{ConfigPhase, StatusReply};
use muster_plan::{Change, Facts, Fate, Health};
use muster_provider::MachineState;
use muster_store::NodeRecord;
use muster_types::{GroupName, NodeName, Phase, SignedDuration, Timestamp};

use crate::blueprint::Blueprint;
use crate::board::Known;
use crate::change::{between, is_due};
use crate::compile::{DesiredNode, Member, Members, RenderFault, Rendered};
use crate::down::group_of;
use crate::link::LinkError;
use crate::observe::Observation;
use crate::{EngineConfig, EngineError};

pub(crate) type Replies = BTreeMap<NodeName, Result<StatusReply, LinkError>>;

/// Asks the agents of all these nodes at once, each for a bounded time.
pub(crate) async fn ask_agents(config: &EngineConfig, addresses: Vec<(NodeName, IpAddr)>) -> Replies {
    let asked = addresses.into_iter().map(|(node, address)| async move {
        let link = config.links.node(&node, address);
        let status = tokio::time::timeout(config.limits.ask, link.look()).await;
        let status = status.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", config.limits.ask.as_secs_f32());
            Err(LinkError::Unreachable { reason })
        });
        (node, status)
    });
    futures_util::stream::iter(asked).buffer_unordered(config.limits.agents_max).collect().await
}

/// The nodes whose machine runs, with their addresses.
pub(crate) fn running(observation: &Observation) -> Vec<(NodeName, IpAddr)> {
    let machines = observation.assignment.machines.keys().filter_map(|node| {
        let machine = observation.machine(node)?;
        let address = machine.addresses.first().filter(|_| machine.state == MachineState::Running)?;
        Some((node.clone(), *address))
    });
    machines.collect()
}

/// The nodes that should be; of those that keep their machine with its addresses, and with what they say of themselves.
pub(crate) fn members(
    desired: &[DesiredNode],
    observation: &Observation,
    (replies, moving): (&Replies, &BTreeSet<NodeName>),
) -> Members {
    let member = |node: &DesiredNode| {
        let stays = !moving.contains(&node.name);
        let member = stays.then(|| member(&node.name, &node.group, observation, replies));
        let none = || Member { group: node.group.clone(), addresses: Vec::new(), facts: None };
        (node.name.clone(), member.unwrap_or_else(none))
    };
    Members(desired.iter().map(member).collect())
}

/// A node as far as it is known. What it said last counts, also while it is silent.
pub(crate) fn member(node: &NodeName, group: &GroupName, observation: &Observation, replies: &Replies) -> Member {
    let machine = observation.machine(node);
    let said = match replies.get(node) {
        Some(Ok(status)) => Some(status.facts.clone()),
        _ => observation.records.get(node).and_then(|record| record.facts.clone()),
    };
    Member {
        group: group.clone(),
        addresses: machine.map(|machine| machine.addresses.clone()).unwrap_or_default(),
        facts: said.filter(|_| machine.is_some()),
    }
}

/// The nodes whose machine will go, as others may have been told of them: those that should not be, and those that get
/// another machine. One that was drained is told of no more.
pub(crate) fn leaving(members: &Members, observation: &Observation, replies: &Replies) -> BTreeMap<NodeName, Member> {
    let stays = |node: &NodeName| members.0.get(node).is_some_and(|member| !member.addresses.is_empty());
    let has_left =
        |node: &NodeName| observation.records.get(node).is_some_and(|record| record.phase == Phase::Removing);
    let nodes = observation.assignment.machines.keys().filter(|node| !stays(node) && !has_left(node));
    let leaving = nodes.map(|node| {
        let group = observation.records.get(node).map_or_else(|| group_of(node), |record| record.group.clone());
        (node.clone(), member(node, &group, observation, replies))
    });
    leaving.filter(|(_, member)| member.facts.is_some() && !member.addresses.is_empty()).collect()
}

/// Takes out of `leaving` those that a node was told to have left: their machines were out of sight for a while. Nobody
/// could drain them any more, for nobody speaks of them.
pub(crate) fn forget_left(
    blueprint: &dyn Blueprint,
    (members, leaving): (&Members, &mut BTreeMap<NodeName, Member>),
    observation: &Observation,
    replies: &Replies,
) {
    if leaving.is_empty() {
        return;
    }
    let render = |follower: &NodeName, members: &Members| blueprint.render(follower, members).ok();
    let all = with(members, leaving);
    let followers = members.0.keys().filter_map(|follower| {
        let applied = applied(observation.records.get(follower), replies.get(follower))?;
        let rendered = render(follower, members).filter(|rendered| rendered.follows)?;
        Some((follower, applied, rendered.hash))
    });
    let followers: Vec<_> = followers.collect();
    leaving.retain(|node, _| {
        let mut without = all.clone();
        without.0.remove(node);
        !followers.iter().any(|(follower, applied, last)| {
            let (Some(before), Some(after)) = (render(follower, &all), render(follower, &without)) else {
                return false;
            };
            before.hash != after.hash && (*applied == *last || *applied == after.hash)
        })
    });
}

/// The hash of what was applied to a node last.
fn applied(record: Option<&NodeRecord>, reply: Option<&Result<StatusReply, LinkError>>) -> Option<String> {
    match reply {
        Some(Ok(status)) => status.config.as_ref().map(|config| config.hash.clone()),
        _ => record?.document_hash.clone(),
    }
}

/// Facts of the desired nodes that have a machine; who follows others is noted in `known`.
pub(crate) fn facts(
    blueprint: &dyn Blueprint,
    desired: &[DesiredNode],
    observation: &Observation,
    (known, replies): (&mut Known, &Replies),
) -> Result<BTreeMap<NodeName, Facts>, EngineError> {
    let mut facts = BTreeMap::new();
    for node in desired {
        if !observation.assignment.machines.contains_key(&node.name) {
            continue;
        }
        let reply = replies.get(&node.name);
        let compare = |rendered: &Rendered| {
            change(rendered, observation.records.get(&node.name), reply.and_then(|reply| reply.as_ref().ok()))
        };
        let change = match blueprint.render(&node.name, &known.members) {
            Ok(rendered) if rendered.follows => {
                let change = later(&rendered, &compare, (known, observation), |members| {
                    blueprint.render(&node.name, members).ok()
                });
                known.followers.insert(node.name.clone(), rendered.left_out);
                change
            }
            Ok(rendered) => compare(&rendered),
            Err(RenderFault::Waiting(waits_for)) => Change::Unknown { waits_for },
            Err(RenderFault::Bad(diagnostics)) => {
                return Err(EngineError::Render { node: node.name.clone(), diagnostics });
            }
        };
        let change = with_drift(change, reply.and_then(|reply| reply.as_ref().ok()));
        let health = match reply {
            None => Health::Unasked,
            Some(Ok(_)) => Health::Answers,
            Some(Err(LinkError::NotEnrolled)) => Health::NotJoined,
            Some(Err(error)) => Health::Silent { reason: error.to_string() },
        };
        facts.insert(node.name.clone(), Facts { change, health });
    }
    Ok(facts)
}

/// What changes for a node that follows others: now, or once they have come or gone.
fn later(
    rendered: &Rendered,
    compare: &dyn Fn(&Rendered) -> Change,
    (known, observation): (&Known, &Observation),
    render: impl Fn(&Members) -> Option<Rendered>,
) -> Change {
    let mut nodes: BTreeMap<NodeName, Fate> = BTreeMap::new();
    for name in &rendered.left_out {
        let fate = match observation.assignment.machines.contains_key(name) {
            true if known.leaving.contains_key(name) => Fate::Moves,
            true => Fate::Joins,
            false => Fate::Comes,
        };
        nodes.insert(name.clone(), fate);
    }
    let mut now = compare(rendered);
    let all = with(&known.members, &known.leaving);
    if let Some(before) = render(&all).filter(|before| before.hash != rendered.hash && now != Change::None) {
        // It has not been told yet that they leave.
        now = compare(&before);
        for name in known.leaving.keys() {
            let mut without = all.clone();
            without.0.remove(name);
            if render(&without).is_none_or(|without| without.hash != before.hash) {
                nodes.entry(name.clone()).or_insert(Fate::Leaves);
            }
        }
    }
    if now == Change::None && !nodes.is_empty() { Change::Later { nodes } } else { now }
}

/// The members, and those that leave.
fn with(members: &Members, leaving: &BTreeMap<NodeName, Member>) -> Members {
    let mut all = members.clone();
    all.0.extend(leaving.iter().map(|(name, member)| (name.clone(), member.clone())));
    all
}

/// Compares what the node would be given with what its agent has, and with what is recorded.
fn change(rendered: &Rendered, record: Option<&NodeRecord>, status: Option<&StatusReply>) -> Change {
    let recorded = record.and_then(|record| {
        record.document_hash.as_deref().zip(record.document.as_ref().map(|text| text.expose().as_str()))
    });
    let Some(status) = status else {
        return match recorded {
            Some((hash, _)) if hash == rendered.hash => Change::None,
            Some((_, document)) => between(document, &rendered.document),
            None => apply("nothing was recorded as applied to it"),
        };
    };
    let Some(config) = &status.config else {
        return apply("nothing was applied to it yet");
    };
    match (config.hash == rendered.hash, config.phase) {
        (true, ConfigPhase::Done) => match recorded {
            Some((hash, _)) if hash == rendered.hash => Change::None,
            _ => apply("its configuration was applied and not recorded"),
        },
        (true, ConfigPhase::Failed) => apply("its configuration failed before"),
        (true, ConfigPhase::Applying) => apply("its configuration is being applied"),
        (false, _) => match recorded {
            Some((_, document)) => between(document, &rendered.document),
            None => apply("its configuration changed"),
        },
    }
}

/// What was configured and is not there any more is put right by the same document once more.
fn with_drift(change: Change, status: Option<&StatusReply>) -> Change {
    let drifted = status.map(|status| status.drifted.clone()).filter(|drifted| !drifted.is_empty());
    match (drifted, change) {
        (Some(steps), Change::None | Change::Later { .. }) => {
            Change::Apply { steps, reason: "what was configured on it has been changed".to_owned() }
        }
        (_, change) => change,
    }
}

fn apply(reason: &str) -> Change {
    Change::Apply { steps: Vec::new(), reason: reason.to_owned() }
}

/// Nodes whose certificate has less than a third of its life left.
pub(crate) fn renewals(config: &EngineConfig, replies: &Replies, now: Timestamp) -> Vec<NodeName> {
    let before = SignedDuration::try_from(config.limits.renew_before).unwrap_or(SignedDuration::ZERO);
    let due = replies
        .iter()
        .filter(|(_, reply)| reply.as_ref().is_ok_and(|status| is_due(status.certificate_not_after, now, before)));
    due.map(|(node, _)| node.clone()).collect()
}
