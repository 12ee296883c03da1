//! From the gossip's types to those of the RPC.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_gossip::{Coordinate, Event, KeyReport, Member};

use crate::agent::member_event_name;
use crate::rpc::types;

pub(super) fn member(member: &Member) -> types::Member {
    let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] = member.versions;
    types::Member {
        addr: Some(member.address.ip()),
        delegate_cur,
        delegate_max,
        delegate_min,
        name: member.name.to_string(),
        port: member.address.port(),
        protocol_cur,
        protocol_max,
        protocol_min,
        status: member.status.as_str().to_owned(),
        tags: BTreeMap::clone(&member.tags),
    }
}

pub(super) fn keys(report: KeyReport, list: bool) -> types::Keys {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let keys = report.keys.iter().map(|(key, holders)| (key.expose().clone(), count(*holders))).collect();
    types::Keys {
        keys: list.then_some(keys),
        messages: report.messages,
        num_err: count(report.errors),
        num_nodes: count(report.members),
        num_resp: count(report.responses),
    }
}

pub(super) fn coordinate(found: Option<Coordinate>) -> types::CoordinateFound {
    let ok = found.is_some();
    let coord = found.map_or_else(types::Coordinate::default, |found| types::Coordinate {
        adjustment: found.adjustment,
        error: found.error,
        height: found.height,
        vec: found.place,
    });
    types::CoordinateFound { coord, ok }
}

/// The record of an event that is no query; a query has a number that only its connection knows.
pub(super) fn event_record(seq: u64, event: &Event) -> Option<Vec<u8>> {
    match event {
        Event::Members { kind, members } => {
            let event = member_event_name(*kind).to_owned();
            let record = types::MemberEvent { event, members: members.iter().map(member).collect() };
            Some(crate::rpc::codec::encode_response(seq, "", Some(&record)))
        }
        Event::User { time, name, payload, coalesce } => {
            let record = types::UserEventRecord {
                coalesce: *coalesce,
                event: "user".to_owned(),
                ltime: *time,
                name: name.clone(),
                payload: Bytes::copy_from_slice(payload),
            };
            Some(crate::rpc::codec::encode_response(seq, "", Some(&record)))
        }
        _ => None,
    }
}
