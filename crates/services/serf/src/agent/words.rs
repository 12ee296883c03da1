//! What happens, as lines of Serf's log: scripts look for some of them.

use std::error::Error as _;

use muster_gossip::{Event, Member, MemberEvent, Warning};

use super::handlers::member_event_name;
use super::log::Level;

/// When a member changes.
pub(crate) fn change(kind: MemberEvent, member: &Member) -> String {
    let (name, ip) = (&member.name, member.address.ip());
    match kind {
        MemberEvent::Join => format!("serf: EventMemberJoin: {name} {ip}"),
        MemberEvent::Leave => format!("serf: EventMemberLeave: {name} {ip}"),
        MemberEvent::Failed => format!("serf: EventMemberFailed: {name} {ip}"),
        MemberEvent::Update => format!("serf: EventMemberUpdate: {name}"),
        MemberEvent::Reap => format!("serf: EventMemberReap: {name}"),
    }
}

/// When handlers and streams are told.
pub(crate) fn event(event: &Event) -> Option<String> {
    let what = match event {
        Event::Members { kind, .. } => member_event_name(*kind).to_owned(),
        Event::User { name, .. } => format!("user-event: {name}"),
        Event::Query { name, .. } => format!("query: {name}"),
        _ => return None,
    };
    Some(format!("agent: Received event: {what}"))
}

pub(crate) fn warning(warning: &Warning) -> (Level, String) {
    let reason =
        |source: Option<&(dyn std::error::Error + 'static)>| source.map(ToString::to_string).unwrap_or_default();
    match warning {
        Warning::Packet { from, .. } => (Level::Warn, format!("memberlist: {} from={from}", reason(warning.source()))),
        Warning::Stream { peer, .. } => (Level::Err, format!("memberlist: {} from={peer}", reason(warning.source()))),
        Warning::Merge { peer, reason } => {
            (Level::Err, format!("memberlist: Failed push/pull merge: {reason} from={peer}"))
        }
        Warning::ForeignPing { from, name } => {
            (Level::Warn, format!("memberlist: Got ping for unexpected node '{name}' from={from}"))
        }
        Warning::StreamOnly { name } => (
            Level::Warn,
            format!(
                "memberlist: Was able to connect to {name} over TCP but UDP probes failed, network may be misconfigured"
            ),
        ),
        Warning::Suspected { name, evidence } => {
            (Level::Info, format!("memberlist: Suspect {name} has failed, no acks received ({evidence})"))
        }
        Warning::Accused { name, by, .. } => (Level::Debug, format!("memberlist: {by} suspects {name}")),
        Warning::Failed { name, confirmations } => (
            Level::Info,
            format!(
                "memberlist: Marking {name} as failed, suspect timeout reached ({confirmations} peer confirmations)"
            ),
        ),
        Warning::Refuted { from } => (Level::Warn, format!("memberlist: Refuting a suspect message (from: {from})")),
        Warning::Conflict { name, ours, theirs } => {
            (Level::Err, format!("memberlist: Conflicting address for {name}. Mine: {ours} Theirs: {theirs}"))
        }
        Warning::Queue { queue, waiting } => (Level::Warn, format!("serf: {queue} queue depth: {waiting}")),
        Warning::Busy { peer, max } => {
            (Level::Err, format!("memberlist: Too many pending push/pull requests: {max} from={peer}"))
        }
    }
}
