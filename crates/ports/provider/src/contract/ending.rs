//! Cases about machines that go, and about what must not stay.

use muster_types::MachineId;

use super::bench::{Bench, Stop, Verdict, ensure};
use crate::MachineState;

pub(super) async fn a_destroyed_machine_is_listed_no_more(bench: &Bench) -> Verdict {
    let (stays, goes) = (bench.running(1).await?, bench.running(2).await?);
    bench.provider().destroy(&goes.id).await?;
    let listed = bench.list().await?;
    ensure!(listed.iter().all(|machine| machine.id != goes.id), "{} was destroyed and is listed", goes.id);
    ensure!(listed.len() == 1 && listed[0].id == stays.id, "{} should have stayed alone: {listed:?}", stays.id);
    if let Ok(probe) = bench.probe() {
        bench.is_silent(probe.as_ref(), &goes).await?;
        bench.answers(probe.as_ref(), &stays).await?;
    }
    Ok(())
}

pub(super) async fn destroying_twice_or_the_unknown_succeeds(bench: &Bench) -> Verdict {
    let machine = bench.running(1).await?;
    bench.provider().destroy(&machine.id).await?;
    bench.provider().destroy(&machine.id).await?;
    bench.provider().destroy(&MachineId::new("no-such-machine")).await?;
    ensure!(bench.list().await?.is_empty(), "the machine was destroyed and something is listed");
    Ok(())
}

pub(super) async fn machines_in_any_state_can_be_destroyed(bench: &Bench) -> Verdict {
    let fresh = bench.create(&bench.request(1)).await?;
    let mut all = vec![fresh];
    if bench.needs_stop_start().is_ok() {
        let stopped = bench.running(2).await?;
        bench.provider().stop(&stopped.id).await?;
        all.push(stopped);
    }
    if let Ok(faults) = bench.faults() {
        let paused = bench.running(3).await?;
        faults.pause(&paused.id).await?;
        let killed = bench.running(4).await?;
        faults.kill(&killed.id).await?;
        let cut_off = bench.running(5).await?;
        faults.cut_off(&cut_off.id).await?;
        all.extend([paused, killed, cut_off]);
    }
    for machine in &all {
        let state = bench.listed(&machine.id).await.map_or(MachineState::Creating, |listed| listed.state);
        bench
            .patiently(&format!("destroy a machine that is {state:?}"), || bench.provider().destroy(&machine.id))
            .await?;
        let listed = bench.list().await?;
        ensure!(
            listed.iter().all(|other| other.id != machine.id),
            "a machine that was {state:?} was destroyed and is listed"
        );
    }
    Ok(())
}

pub(super) async fn release_leaves_nothing(bench: &Bench) -> Verdict {
    // Before the first machine there is nothing to release, and that is fine.
    bench.provider().release().await?;
    let machine = bench.running(1).await?;
    bench.provider().destroy(&machine.id).await?;
    bench.provider().release().await?;
    bench.provider().release().await?;
    ensure!(bench.list().await?.is_empty(), "after the release something is listed");
    let Some(leftovers) = &bench.fixture.leftovers else {
        return Err(Stop::Skip("only the list was looked at: the fixture cannot name what is left".to_owned()));
    };
    let left = leftovers();
    ensure!(left.is_empty(), "after the release there is still: {}", left.join(", "));
    Ok(())
}

pub(super) async fn after_a_release_machines_can_be_made(bench: &Bench) -> Verdict {
    let first = bench.running(1).await?;
    bench.provider().destroy(&first.id).await?;
    bench.provider().release().await?;
    let second = bench.running(2).await?;
    if let Ok(probe) = bench.probe() {
        bench.answers(probe.as_ref(), &second).await?;
    }
    Ok(())
}
