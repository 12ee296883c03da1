//! Cases about making machines and finding them again.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::bench::{Bench, Stop, Verdict, ensure};
use crate::{Machine, Tags};

/// Callers that ask for the same machine at once.
const CALLERS: usize = 8;

/// Machines that are made at once, where the provider takes as many.
const MACHINES: usize = 8;

pub(super) async fn a_created_machine_is_listed(bench: &Bench) -> Verdict {
    let request = bench.request(1);
    let made = bench.create(&request).await?;
    let running = bench.wait_running(&made.id).await?;
    let listed = bench.listed(&made.id).await?;
    for (machine, from) in [(&made, "create"), (&running, "wait_running"), (&listed, "list")] {
        ensure!(machine.id == made.id, "{from} tells of {} and not of {}", machine.id, made.id);
        ensure!(machine.name == request.name, "{from} names it {}, not {}", machine.name, request.name);
        ensure!(machine.token == request.token, "{from} tells another token: {}", machine.token);
        for (key, value) in &request.tags {
            ensure!(
                machine.tags.get(key) == Some(value),
                "{from} tells tags without {key}={value}: {:?}",
                machine.tags
            );
        }
    }
    ensure!(listed.addresses == running.addresses, "list and wait_running tell different addresses");
    ensure!(bench.list().await?.len() == 1, "one machine was made and more are listed");
    Ok(())
}

pub(super) async fn the_same_token_makes_no_second_machine(bench: &Bench) -> Verdict {
    let request = bench.request(1);
    let first = bench.create(&request).await?;
    let early = bench.create(&request).await?;
    bench.wait_running(&first.id).await?;
    let late = bench.create(&request).await?;
    ensure!(early.id == first.id, "asked again at once, {} came beside {}", early.id, first.id);
    ensure!(late.id == first.id, "asked again while it ran, {} came beside {}", late.id, first.id);
    only(bench, &[&first]).await
}

pub(super) async fn the_same_token_at_once_makes_one_machine(bench: &Bench) -> Verdict {
    let request = bench.request(1);
    let made = join_all((0..CALLERS).map(|_| bench.create(&request))).await;
    let made = made.into_iter().collect::<Verdict<Vec<Machine>>>()?;
    let ids: BTreeSet<_> = made.iter().map(|machine| &machine.id).collect();
    ensure!(ids.len() == 1, "{CALLERS} callers with one token got {ids:?}");
    only(bench, &[&made[0]]).await
}

pub(super) async fn the_same_token_finds_a_stopped_machine(bench: &Bench) -> Verdict {
    bench.needs_stop_start()?;
    let machine = bench.running(1).await?;
    bench.provider().stop(&machine.id).await?;
    let again = bench.create(&bench.request(1)).await?;
    ensure!(again.id == machine.id, "asked again while it was stopped, {} came beside {}", again.id, machine.id);
    only(bench, &[&machine]).await
}

pub(super) async fn lists_keep_to_all_the_tags(bench: &Bench) -> Verdict {
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut red = bench.request(1);
    red.tags.extend([tag("colour", "red"), tag("shape", "round")]);
    let mut blue = bench.request(2);
    blue.tags.extend([tag("colour", "blue"), tag("shape", "round")]);
    let (red, blue) = (bench.create(&red).await?, bench.create(&blue).await?);
    for (asked, expected) in [
        (vec![], vec![&red.id, &blue.id]),
        (vec![tag("shape", "round")], vec![&red.id, &blue.id]),
        (vec![tag("shape", "round"), tag("colour", "blue")], vec![&blue.id]),
        (vec![tag("colour", "red")], vec![&red.id]),
        (vec![tag("colour", "green")], vec![]),
        (vec![tag("colour", "red"), tag("weight", "1")], vec![]),
    ] {
        let mut tags: Tags = bench.tags();
        tags.extend(asked.clone());
        let machines = bench.patiently("list machines", || bench.provider().list(&tags)).await?;
        let found: BTreeSet<_> = machines.iter().map(|machine| &machine.id).collect();
        ensure!(
            found == expected.iter().copied().collect() && machines.len() == expected.len(),
            "asked for {asked:?} of red {} and blue {}, the list has {found:?}",
            red.id,
            blue.id
        );
    }
    Ok(())
}

pub(super) async fn many_machines_at_once_are_apart(bench: &Bench) -> Verdict {
    let count = bench.provider().capabilities().concurrency_max.clamp(1, MACHINES);
    let numbers = 1..=u32::try_from(count).expect("few");
    let made = join_all(numbers.map(|number| bench.running(number))).await;
    let made = made.into_iter().collect::<Verdict<Vec<Machine>>>()?;
    let ids: BTreeSet<_> = made.iter().map(|machine| &machine.id).collect();
    let addresses: BTreeSet<_> = made.iter().map(|machine| machine.addresses[0]).collect();
    ensure!(ids.len() == count, "{count} machines share ids: {ids:?}");
    ensure!(addresses.len() == count, "{count} machines share addresses: {addresses:?}");
    only(bench, &made.iter().collect::<Vec<_>>()).await?;
    let gone = join_all(
        made.iter().map(|machine| bench.patiently("destroy a machine", move || bench.provider().destroy(&machine.id))),
    );
    gone.await.into_iter().collect::<Verdict<Vec<()>>>()?;
    only(bench, &[]).await
}

pub(super) async fn another_handle_finds_the_machines(bench: &Bench) -> Verdict {
    let Some(reopen) = bench.fixture.reopen.clone() else {
        return Err(Stop::Skip("the fixture cannot open a second handle".to_owned()));
    };
    let machine = bench.running(1).await?;
    let other = reopen().await?;
    let found = other.list(&bench.tags()).await?;
    ensure!(found.len() == 1 && found[0].id == machine.id, "another handle lists {found:?}");
    ensure!(found[0].addresses == machine.addresses, "another handle tells other addresses");
    let again = other.create(&bench.request(1)).await?;
    ensure!(again.id == machine.id, "another handle made {} for the token of {}", again.id, machine.id);
    other.destroy(&machine.id).await?;
    only(bench, &[]).await
}

pub(super) async fn a_running_machine_answers(bench: &Bench) -> Verdict {
    let probe = bench.probe()?;
    let machine = bench.running(1).await?;
    bench.answers(probe.as_ref(), &machine).await?;
    let dialer = bench.provider().dialer();
    let ping = tokio::time::timeout(bench.fixture.patience, dialer.ping(machine.addresses[0])).await;
    match ping {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Stop::Fail(format!("{} does not answer a ping: {error}", machine.id))),
        Err(_) => Err(Stop::Fail(format!("{} does not answer a ping", machine.id))),
    }
}

/// Exactly these machines are listed.
async fn only(bench: &Bench, expected: &[&Machine]) -> Verdict {
    let listed = bench.list().await?;
    let found: BTreeSet<_> = listed.iter().map(|machine| &machine.id).collect();
    let expected: BTreeSet<_> = expected.iter().map(|machine| &machine.id).collect();
    ensure!(found == expected && listed.len() == expected.len(), "there should be {expected:?}, listed are {found:?}");
    Ok(())
}
