//! The lists of packages: fetched once for many bakes, and handed to each as a snapshot.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::image::apt::Places;
use crate::image::order::Order;
use crate::image::runner::Runner;
use crate::image::store::remove_folder;
use crate::image::worker::{WorkError, system, tell};

/// Lists that are older are fetched again: servers drop packages that were superseded.
const AGE_MAX: Duration = Duration::from_mins(10);
/// Its age is that of the lists.
const STAMP: &str = "fetched";

/// Where apt works in this bake.
pub(crate) fn apt_folder(order: &Order) -> PathBuf {
    order.work.join("apt")
}

/// The lists as they were when this bake began.
pub(crate) fn snapshot(order: &Order) -> PathBuf {
    order.work.join("lists")
}

/// Fetches the lists unless those that are there will do, and takes a snapshot of them. Says whether it fetched.
pub(crate) fn update(order: &Order, runner: &Runner<'_>, anew: bool) -> Result<bool, WorkError> {
    let folder = apt_folder(order);
    let lock = order.lists.with_extension("lock");
    let lock = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(lock);
    let lock = lock.map_err(system("open the lock of the lists"))?.into_parts().0;
    // Waits for another bake that fetches them; the kernel lets go for one that dies.
    let held =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| system("lock the lists")(error.into()))?;
    for part in [folder.join("cache"), folder.join("log"), folder.join("state"), order.lists.join("partial")] {
        fs_err::create_dir_all(part).map_err(system("make a folder for apt"))?;
    }
    let stamp = order.lists.join(STAMP);
    let fetched = anew || !is_fresh(&stamp);
    if fetched {
        fetch(order, runner, &folder)?;
        fs_err::write(stamp, "").map_err(system("stamp the lists"))?;
    }
    write_sources(&folder, &order.apt.sources)?;
    copy(&order.lists, &snapshot(order)).map_err(system("take the lists"))?;
    drop(held);
    Ok(fetched)
}

/// After a failure: what the lists promise may be gone, or mended, and the next try looks.
pub(crate) fn distrust(order: &Order) {
    // Without a stamp there is nothing to distrust.
    fs_err::remove_file(order.lists.join(STAMP)).ok();
}

fn fetch(order: &Order, runner: &Runner<'_>, folder: &Path) -> Result<(), WorkError> {
    tell("fetching the lists of packages", "");
    let places = Places { folder, lists: &order.lists, archives: &order.archives, root: None };
    let configuration = folder.join("lists.conf");
    let text = order.apt.configuration(&places);
    fs_err::write(&configuration, text).map_err(system("write a configuration for apt"))?;
    let arguments: [&OsStr; 2] = ["update".as_ref(), "--error-on=any".as_ref()];
    let environment = [("APT_CONFIG", configuration.as_os_str())];
    let run = || runner.run("apt-get", "fetching the lists of packages", &arguments, &environment);
    write_sources(folder, &order.apt.sources)?;
    match run() {
        Err(WorkError::Run { .. }) if order.apt.is_mirror => {
            // A mirror need not have updates; without the release itself this fails again, and says so.
            let first = order.apt.sources.lines().next().unwrap_or_default();
            write_sources(folder, &format!("{first}\n"))?;
            run()
        }
        result => result,
    }
}

fn write_sources(folder: &Path, text: &str) -> Result<(), WorkError> {
    fs_err::write(folder.join("sources.list"), text).map_err(system("write a list of sources"))
}

fn is_fresh(stamp: &Path) -> bool {
    let age = stamp.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
    // A stamp of the future is one of a clock that was wrong.
    matches!(age, Ok(Ok(age)) if age < AGE_MAX)
}

/// The files, without what is half fetched.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove_folder(to)?;
    fs_err::create_dir_all(to.join("partial"))?;
    fs_err::create_dir_all(to.join("auxfiles"))?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs_err::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
