//! Cases about faults on purpose.

use super::bench::{Bench, Verdict, ensure};
use crate::MachineState;

pub(super) async fn faults_are_there_as_claimed(bench: &Bench) -> Verdict {
    let (claimed, there) = (bench.provider().capabilities().faults, bench.provider().faults().is_some());
    ensure!(claimed == there, "capabilities say faults: {claimed}, and there are some: {there}");
    Ok(())
}

pub(super) async fn a_killed_machine_is_down_and_says_why(bench: &Bench) -> Verdict {
    let faults = bench.faults()?;
    let machine = bench.running(1).await?;
    faults.kill(&machine.id).await?;
    let killed = bench.becomes(&machine.id, &[MachineState::Stopped, MachineState::Failed]).await?;
    ensure!(killed.detail.is_some_and(|detail| !detail.is_empty()), "{} is down and does not say why", machine.id);
    if let Ok(probe) = bench.probe() {
        bench.is_silent(probe.as_ref(), &machine).await?;
    }
    if bench.needs_stop_start().is_ok() {
        bench.provider().start(&machine.id).await?;
        let started = bench.wait_running(&machine.id).await?;
        ensure!(started.addresses == machine.addresses, "started after a kill it has other addresses");
    }
    Ok(())
}

pub(super) async fn a_paused_machine_hangs_until_resumed(bench: &Bench) -> Verdict {
    let faults = bench.faults()?;
    let machine = bench.running(1).await?;
    if let Ok(probe) = bench.probe() {
        bench.answers(probe.as_ref(), &machine).await?;
    }
    faults.pause(&machine.id).await?;
    bench.becomes(&machine.id, &[MachineState::Paused]).await?;
    if let Ok(probe) = bench.probe() {
        bench.is_silent(probe.as_ref(), &machine).await?;
    }
    faults.resume(&machine.id).await?;
    bench.becomes(&machine.id, &[MachineState::Running]).await?;
    if let Ok(probe) = bench.probe() {
        bench.answers(probe.as_ref(), &machine).await?;
    }
    Ok(())
}

pub(super) async fn a_machine_cut_off_is_alone_until_healed(bench: &Bench) -> Verdict {
    let faults = bench.faults()?;
    let probe = bench.probe()?;
    let (lonely, other) = (bench.running(1).await?, bench.running(2).await?);
    bench.answers(probe.as_ref(), &lonely).await?;
    faults.cut_off(&lonely.id).await?;
    bench.is_silent(probe.as_ref(), &lonely).await?;
    bench.answers(probe.as_ref(), &other).await?;
    let listed = bench.listed(&lonely.id).await?;
    ensure!(listed.state == MachineState::Running, "a machine cut off is {:?}: it should run", listed.state);
    faults.cut_off(&lonely.id).await?;
    faults.heal(&lonely.id).await?;
    bench.answers(probe.as_ref(), &lonely).await?;
    faults.heal(&lonely.id).await?;
    bench.answers(probe.as_ref(), &lonely).await
}
