//! `reachability`: a sign of life from every member.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Call, Stop, query};
use crate::rpc::types::Query;

/// Answered by agents themselves, without handlers.
const PING: &str = "_serf_ping";

const TOO_MANY: &str = "This could mean Serf is detecting false-failures due to a misconfiguration or network issue.";
const TOO_FEW: &str = "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.";
const DUPLICATES: &str = "Duplicate responses means there is a misconfiguration. Verify that node names are unique.";
const TIPS: &str = "
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional";

pub(crate) async fn reachability(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let verbose = call.flags.is_set("verbose");
    let mut client = call.connect().await?;
    let members = client.members().await;
    let members = call.done("Error getting members", members)?;
    let alive = members.iter().filter(|member| member.status == "alive");
    let alive: BTreeSet<String> = alive.map(|member| member.name.clone()).collect();
    call.line(format!("Total members: {}, live members: {}", members.len(), alive.len()))?;
    let sent =
        client.query(Query { end_early: true, name: PING.to_owned(), request_ack: true, ..Query::default() }).await;
    call.done("Error sending query", sent)?;
    call.line("Starting reachability test...")?;
    let start = Instant::now();
    let (mut last, mut count, mut from) = (start, 0, BTreeSet::new());
    let mut duplicates = false;
    loop {
        let record = match query::next(call, &mut client).await {
            Ok(Ok(Some(record))) => record,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return query::ended_early(call, &error),
            Err(Stop::Exit(_)) => return call.fail("Test interrupted"),
            Err(stop) => return Err(stop),
        };
        if verbose {
            call.line(format!("\tAck from '{}'", record.from))?;
        }
        count += 1;
        last = Instant::now();
        if from.contains(&record.from) {
            duplicates = true;
            call.line(format!("Duplicate response from '{}'", record.from))?;
        }
        from.insert(record.from);
    }
    if verbose {
        let (whole, to_last) = (start.elapsed().as_secs_f64(), (last - start).as_secs_f64());
        call.line(format!("Query time: {whole:.2} sec, time to last response: {to_last:.2} sec"))?;
    }
    if duplicates {
        call.line(DUPLICATES)?;
    }
    conclude(call, &alive, count, &from)?;
    if duplicates { Err(Stop::Exit(1)) } else { Ok(()) }
}

fn conclude(
    call: &mut Call<'_, '_>,
    alive: &BTreeSet<String>,
    count: usize,
    from: &BTreeSet<String>,
) -> Result<(), Stop> {
    let (head, names, reason) = match count.cmp(&alive.len()) {
        std::cmp::Ordering::Equal => return call.line("Successfully contacted all live nodes"),
        std::cmp::Ordering::Greater => {
            ("Received more acks than live nodes! Acks from non-live nodes:", from.difference(alive), TOO_MANY)
        }
        std::cmp::Ordering::Less => {
            ("Received less acks than live nodes! Missing acks from:", alive.difference(from), TOO_FEW)
        }
    };
    call.line(head)?;
    for name in names {
        call.line(format!("\t{name}"))?;
    }
    call.line(reason)?;
    call.fail(TIPS)
}
