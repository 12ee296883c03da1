//! Cases about folders that machines share.

use std::path::Path;

use super::bench::{Bench, Stop, Verdict, ensure};
use crate::{Machine, MachineRequest};

fn sharing(bench: &Bench, number: u32, folder: &Path) -> MachineRequest {
    let mut request = bench.request(number);
    request.shared_folders.insert(folder.to_owned());
    request
}

pub(super) async fn shared_folders_are_refused_where_there_are_none(bench: &Bench) -> Verdict {
    let can = bench.provider().capabilities().shared_folders;
    // What no provider can give, and what this one does not claim to give.
    let folder = if can { Path::new("/proc") } else { Path::new("/srv") };
    let Err(error) = bench.provider().create(&sharing(bench, 1, folder)).await else {
        return Err(Stop::Fail(format!("a machine that shares {} was made", folder.display())));
    };
    ensure!(!error.is_temporary(), "that {} cannot be shared is told to be temporary: {error}", folder.display());
    ensure!(bench.list().await?.is_empty(), "the refused machine is listed");
    Ok(())
}

pub(super) async fn a_shared_folder_outlives_its_machines(bench: &Bench) -> Verdict {
    if !bench.provider().capabilities().shared_folders {
        return Err(Stop::Skip("the provider's machines share no folders".to_owned()));
    }
    let probe = bench.probe_with_data()?;
    let Some(folder) = probe.kept_in() else {
        return Err(Stop::Skip("the fixture's probe keeps its data in no folder".to_owned()));
    };
    let run = async |number| -> Verdict<Machine> {
        let made = bench.create(&sharing(bench, number, folder)).await?;
        bench.wait_running(&made.id).await
    };
    let (writer, reader) = (run(1).await?, run(2).await?);
    bench.put(probe.as_ref(), &writer, "for-everybody").await?;
    let read = bench.get(probe.as_ref(), &reader).await?;
    ensure!(read == "for-everybody", "in a shared folder one machine wrote `for-everybody`, the other read `{read}`");
    for machine in [writer, reader] {
        bench.provider().destroy(&machine.id).await?;
    }
    let later = run(3).await?;
    let read = bench.get(probe.as_ref(), &later).await?;
    ensure!(read == "for-everybody", "after both were destroyed, a third machine read `{read}` in the shared folder");
    bench.put(probe.as_ref(), &bench.running(4).await?, "for-nobody").await?;
    let read = bench.get(probe.as_ref(), &later).await?;
    ensure!(read == "for-everybody", "a machine that does not share the folder wrote to it: `{read}`");
    bench.provider().destroy(&later.id).await?;
    bench.clean().await?;
    let fresh = run(5).await?;
    bench.answers(probe.as_ref(), &fresh).await?;
    let read = probe.get(bench.provider().dialer().as_ref(), &fresh).await;
    ensure!(read.is_err(), "after the release a shared folder still holds `{}`", read.unwrap_or_default());
    Ok(())
}
