//! Commands that ask an agent for one thing and print a line: event, force-leave, join, leave, tags.

use bytes::Bytes;

use super::{Call, Stop, flags};
use crate::rpc::types::UserEvent;

pub(crate) async fn event(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let (name, payload) = name_and_payload(call, "An event name must be specified.")?;
    let coalesce = call.flags.bool("coalesce").unwrap_or(true);
    let mut client = call.connect().await?;
    let sent = client.event(UserEvent { coalesce, name: name.clone(), payload }).await;
    call.done("Error sending event", sent)?;
    call.line(format!("Event '{name}' dispatched! Coalescing enabled: {coalesce}"))
}

/// The words of an event and of a query.
pub(crate) fn name_and_payload(call: &mut Call<'_, '_>, missing: &str) -> Result<(String, Bytes), Stop> {
    match call.flags.words.as_slice() {
        [] => call.misused(missing),
        [name] => Ok((name.clone(), Bytes::new())),
        [name, payload] => Ok((name.clone(), Bytes::from(payload.clone()))),
        _ => call.misused("Too many command line arguments. Only a name and payload must be specified."),
    }
}

pub(crate) async fn force_leave(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let [name] = call.flags.words.as_slice() else {
        return call.misused("A node name must be specified to force leave.");
    };
    let (name, prune) = (name.clone(), call.flags.is_set("prune"));
    let mut client = call.connect().await?;
    let told = client.force_leave(&name, prune).await;
    call.done("Error force leaving", told)
}

pub(crate) async fn join(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let addresses = call.flags.words.clone();
    if addresses.is_empty() {
        return call.misused("At least one address to join must be specified.");
    }
    let mut client = call.connect().await?;
    let joined = client.join(addresses, call.flags.is_set("replay")).await;
    let contacted = call.done("Error joining the cluster", joined)?;
    call.line(format!("Successfully joined cluster by contacting {contacted} nodes."))
}

pub(crate) async fn leave(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let mut client = call.connect().await?;
    let left = client.leave().await;
    call.done("Error leaving", left)?;
    call.line("Graceful leave complete")
}

pub(crate) async fn tags(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let (set, delete) = (call.flags.list("set"), call.flags.list("delete"));
    if set.is_empty() && delete.is_empty() {
        return call.fail(super::help::command(&call.environment.program, call.command));
    }
    let mut client = call.connect().await?;
    let set = match flags::pairs(&set) {
        Ok(set) => set,
        Err(mistake) => return call.fail(format!("Error: {mistake}")),
    };
    let told = client.tags(set, delete).await;
    call.done("Error setting tags", told)?;
    call.line("Successfully updated agent tags")
}
