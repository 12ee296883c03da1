//! `query`: acks and responses as they come, or all at the end as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Stop, flags, go, request};
use crate::rpc::client::{Client, ClientError, StreamRecord};
use crate::rpc::types::{Query, QueryRecord};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn query(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let filter_tags = match flags::pairs(&call.flags.list("tag")) {
        Ok(tags) => tags,
        Err(mistake) => return call.fail(format!("Error: {mistake}")),
    };
    let (name, payload) = request::name_and_payload(call, "A query name must be specified.")?;
    let Ok(relay_factor) = u8::try_from(call.flags.integer("relay-factor").unwrap_or(0)) else {
        return call.fail("Relay factor must be between 0 and 255");
    };
    let query = Query {
        end_early: true,
        filter_nodes: call.flags.list("node"),
        filter_tags,
        name,
        payload,
        relay_factor,
        request_ack: !call.flags.is_set("no-ack"),
        timeout_ns: call.flags.duration_ns("timeout").unwrap_or(0),
    };
    let mut client = call.connect().await?;
    let format = match call.flags.text("format").unwrap_or("text") {
        "text" => Format::Text,
        "json" => Format::Json,
        other => {
            let line = format!("Invalid format: {other}");
            return call.fail(line);
        }
    };
    ask(call, &mut client, query, format).await
}

async fn ask(call: &mut Call<'_, '_>, client: &mut Client, query: Query, format: Format) -> Result<(), Stop> {
    let (name, request_ack) = (query.name.clone(), query.request_ack);
    let sent = client.query(query).await;
    call.done("Error sending query", sent)?;
    if format == Format::Text {
        call.line(format!("Query '{name}' dispatched"))?;
    }
    let (mut acks, mut responses) = (Vec::new(), BTreeMap::new());
    let mut count = 0;
    let broken = loop {
        match next(call, client).await? {
            Ok(Some(record)) if record.kind == "ack" => {
                if format == Format::Text {
                    call.line(format!("Ack from '{}'", record.from))?;
                }
                acks.push(record.from);
            }
            Ok(Some(record)) => {
                if format == Format::Text {
                    let payload = record.payload.strip_suffix(b"\n").unwrap_or(&record.payload);
                    call.line([format!("Response from '{}': ", record.from).as_bytes(), payload].concat())?;
                }
                count += 1;
                responses.insert(record.from, String::from_utf8_lossy(&record.payload).into_owned());
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    match format {
        Format::Text if request_ack => {
            call.line(format!("Total Acks: {}", acks.len()))?;
            call.line(format!("Total Responses: {count}"))?;
        }
        Format::Text => call.line(format!("Total Responses: {count}"))?,
        Format::Json => {
            let acks = if acks.is_empty() { Value::Null } else { acks.into() };
            call.line(go::json(&json!({ "Acks": acks, "Responses": go::text_map(&responses) })))?;
        }
    }
    match broken {
        None => Ok(()),
        Some(error) => ended_early(call, &error),
    }
}

/// Answers may be missing: Serf does not say so.
pub(crate) fn ended_early(call: &mut Call<'_, '_>, error: &ClientError) -> Result<(), Stop> {
    let error = muster_stdx::chain(error);
    call.terminal.error_line(&format!("the connection to the agent ended before the query did: {error}"))?;
    Err(Stop::Exit(1))
}

/// The next ack or response; `None` at the end.
pub(crate) async fn next(
    call: &mut Call<'_, '_>,
    client: &mut Client,
) -> Result<Result<Option<QueryRecord>, ClientError>, Stop> {
    loop {
        let record = tokio::select! {
            // The agent ends the query by itself.
            () = call.environment.interrupt.cancelled() => return Err(Stop::Exit(1)),
            record = client.record() => record,
        };
        match record {
            Ok((_, StreamRecord::Query(record))) if record.kind == "done" => return Ok(Ok(None)),
            // Agents of Go may send such records near the deadline; nobody sent them.
            Ok((_, StreamRecord::Query(record))) if record.from.is_empty() => {}
            Ok((_, StreamRecord::Query(record))) => return Ok(Ok(Some(record))),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}
