//! Cases about machines that stop, start and reboot.

use muster_types::MachineId;

use super::bench::{Bench, Verdict, ensure};
use crate::{MachineState, ProviderError};

pub(super) async fn stop_and_start_keep_the_address(bench: &Bench) -> Verdict {
    bench.needs_stop_start()?;
    let machine = bench.running(1).await?;
    bench.provider().stop(&machine.id).await?;
    bench.becomes(&machine.id, &[MachineState::Stopped]).await?;
    if let Ok(probe) = bench.probe() {
        bench.is_silent(probe.as_ref(), &machine).await?;
    }
    bench.provider().start(&machine.id).await?;
    let started = bench.wait_running(&machine.id).await?;
    let (before, after) = (&machine.addresses, &started.addresses);
    ensure!(before == after, "the addresses {before:?} became {after:?}");
    if let Ok(probe) = bench.probe() {
        bench.answers(probe.as_ref(), &started).await?;
    }
    Ok(())
}

pub(super) async fn stop_and_start_keep_the_data(bench: &Bench) -> Verdict {
    bench.needs_stop_start()?;
    let probe = bench.probe_with_data()?;
    let machine = bench.running(1).await?;
    bench.put(probe.as_ref(), &machine, "written-before-the-stop").await?;
    bench.provider().stop(&machine.id).await?;
    bench.becomes(&machine.id, &[MachineState::Stopped]).await?;
    bench.provider().start(&machine.id).await?;
    let started = bench.wait_running(&machine.id).await?;
    let kept = bench.get(probe.as_ref(), &started).await?;
    ensure!(kept == "written-before-the-stop", "after stop and start the text is `{kept}`");
    Ok(())
}

pub(super) async fn stop_and_start_of_what_is_so_succeed(bench: &Bench) -> Verdict {
    bench.needs_stop_start()?;
    let machine = bench.running(1).await?;
    bench.provider().start(&machine.id).await?;
    let still = bench.listed(&machine.id).await?;
    ensure!(still.state == MachineState::Running, "started while it ran, it is {:?}", still.state);
    bench.provider().stop(&machine.id).await?;
    bench.becomes(&machine.id, &[MachineState::Stopped]).await?;
    bench.provider().stop(&machine.id).await?;
    let still = bench.listed(&machine.id).await?;
    ensure!(still.state == MachineState::Stopped, "stopped while it was stopped, it is {:?}", still.state);
    Ok(())
}

pub(super) async fn a_reboot_keeps_address_and_data(bench: &Bench) -> Verdict {
    let machine = bench.running(1).await?;
    let probe = bench.probe_with_data().ok();
    if let Some(probe) = &probe {
        bench.put(probe.as_ref(), &machine, "written-before-the-reboot").await?;
    }
    bench.provider().reboot(&machine.id).await?;
    let rebooted = bench.wait_running(&machine.id).await?;
    let (before, after) = (&machine.addresses, &rebooted.addresses);
    ensure!(before == after, "the addresses {before:?} became {after:?}");
    if let Some(probe) = &probe {
        let kept = bench.get(probe.as_ref(), &rebooted).await?;
        ensure!(kept == "written-before-the-reboot", "after the reboot the text is `{kept}`");
    }
    Ok(())
}

pub(super) async fn the_console_keeps_to_the_limit(bench: &Bench) -> Verdict {
    let machine = bench.running(1).await?;
    for limit in [0, 1, 5] {
        let lines = bench.provider().console(&machine.id, limit).await?;
        ensure!(lines.len() <= limit, "asked for {limit} lines of the console, {} came", lines.len());
    }
    Ok(())
}

pub(super) async fn unknown_machines_are_named(bench: &Bench) -> Verdict {
    let id = MachineId::new("no-such-machine");
    let provider = bench.provider();
    refused("wait_running", &id, provider.wait_running(&id).await.err())?;
    refused("start", &id, provider.start(&id).await.err())?;
    refused("stop", &id, provider.stop(&id).await.err())?;
    refused("reboot", &id, provider.reboot(&id).await.err())?;
    refused("console", &id, provider.console(&id, 5).await.err())?;
    if let Some(faults) = provider.faults() {
        refused("pause", &id, faults.pause(&id).await.err())?;
        refused("resume", &id, faults.resume(&id).await.err())?;
        refused("kill", &id, faults.kill(&id).await.err())?;
        refused("cut_off", &id, faults.cut_off(&id).await.err())?;
        refused("heal", &id, faults.heal(&id).await.err())?;
    }
    ensure!(bench.list().await?.is_empty(), "asking for an unknown machine made one");
    Ok(())
}

fn refused(operation: &str, id: &MachineId, error: Option<ProviderError>) -> Verdict {
    let Some(error) = error else {
        return Err(super::Stop::Fail(format!("{operation} of an unknown machine succeeds")));
    };
    ensure!(!error.is_temporary(), "{operation} of an unknown machine is told to be temporary: {error}");
    ensure!(error.to_string().contains(id.as_str()), "{operation} does not name the unknown machine: {error}");
    Ok(())
}
