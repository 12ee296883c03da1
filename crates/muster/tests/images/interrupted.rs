//! Bakes that are cut off, and several at once.

use std::process::Command;
use std::time::Duration;

use muster_testkit::{Running, Sandbox, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::repository::{Package, Repository};
use crate::{Images, base, build, run, sandbox};

const TIMEOUT: Duration = Duration::from_mins(1);
/// Hangs where the one who bakes says so, until somebody writes to its pipe.
const HANGS: &str = "test \"$no_proxy\" != hang && exit 0\nmkfifo /tmp/gate\ncat /tmp/gate";

/// A bake of one package of the repository, which hangs or does not.
fn bake(place: &Sandbox, repository: &Repository, images: &Images, package: &str, hangs: bool) -> Command {
    let mut command = build(place, repository, &["--with", package, "--jsonl"]);
    command.env("MUSTER_IMAGES", images.path());
    if hangs {
        command.env("no_proxy", "hang");
    }
    command
}

fn is_step(line: &str, words: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap();
    event["step"].as_str().is_some_and(|step| step.starts_with(words))
}

/// The folder that a worker sees its package's root at.
fn gate(images: &Images) -> Option<std::path::PathBuf> {
    let mut entries = fs_err::read_dir("/proc").unwrap().flatten();
    let is_worker = |entry: &fs_err::DirEntry| {
        let command = fs_err::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        command.contains("image-worker") && command.contains(&images.path().display().to_string())
    };
    let worker = entries.find(is_worker)?;
    let making = images.half_made().into_iter().find(|name| name.starts_with(".making-"))?;
    let images = images.path().strip_prefix("/").unwrap();
    let gate = worker.path().join("root").join(images).join(making).join("work/root/tmp/gate");
    gate.exists().then_some(gate)
}

#[test]
fn a_bake_that_is_cut_off_leaves_nothing_and_the_next_one_works() {
    let place = sandbox();
    let images = Images::with_base(&base(&place));
    let repository = Repository::new();
    for package in ["muster-int", "muster-kill"] {
        repository.add(package, &Package { script: HANGS, ..Package::default() });
    }
    for (done, (package, signal, code)) in
        [("muster-int", Signal::SIGINT, 130), ("muster-kill", Signal::SIGKILL, 137)].into_iter().enumerate()
    {
        let mut running = Running::start(bake(&place, &repository, &images, package, true));
        running.wait_line(TIMEOUT, |line| is_step(line, "setting up 1 of 1")).expect("it sets the package up");
        wait_for("the script to hang", TIMEOUT, || gate(&images));
        running.signal(signal);
        running.wait().exits(code);
        // The kernel ends what it started, a moment later.
        wait_for("the end of the bake's processes", TIMEOUT, || images.workers().is_empty().then_some(()));
        assert_eq!(images.layers(), 1 + done);
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&images.path().display().to_string()), "{mounts}");

        run(bake(&place, &repository, &images, package, false)).success();
        assert_eq!((images.half_made(), images.layers()), (vec![], 2 + done));
    }
}

#[test]
fn two_who_want_the_same_image_make_it_once() {
    let place = sandbox();
    let images = Images::with_base(&base(&place));
    let repository = Repository::new();
    repository.add("muster-twice", &Package { script: HANGS, ..Package::default() });
    let first = Running::start(bake(&place, &repository, &images, "muster-twice", true));
    let gate = wait_for("the script to hang", TIMEOUT, || gate(&images));
    let mut second = Running::start(bake(&place, &repository, &images, "muster-twice", false));
    let waits = second.wait_line(TIMEOUT, |line| is_step(line, "another muster makes it: setting up 1 of 1"));
    assert!(waits.is_some(), "{}", second.stderr());
    // Nothing is removed under those who work.
    let mut prune = place.command(&["image", "prune", "--yes"]);
    prune.env("MUSTER_IMAGES", images.path());
    let busy = run(prune).exits(69);
    assert!(busy.stderr.contains("an image or a machine is being made"), "{busy}");
    fs_err::write(gate, "go on\n").unwrap();
    let (first, second) = (first.wait().success(), second.wait().success());
    let id = |lines: &[Value]| lines.last().unwrap()["images"][0]["id"].as_str().unwrap().to_owned();
    let (first, second) = (first.json_lines(), second.json_lines());
    assert_eq!(id(&first), id(&second));
    assert!(
        second.iter().all(|line| !line["step"].as_str().unwrap_or_default().starts_with("unpacking")),
        "{second:?}"
    );
    assert_eq!((images.half_made(), images.layers()), (vec![], 2));
    let mut prune = place.command(&["image", "prune", "--yes", "--json"]);
    prune.env("MUSTER_IMAGES", images.path());
    let pruned = run(prune).success().json();
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 2, "{pruned}");
    assert_eq!((images.half_made(), images.layers()), (vec![], 0));
}
