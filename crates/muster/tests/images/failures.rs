//! Each failure is one clear message, leaves nothing, and a second try works.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use muster_testkit::{Output, Sandbox, Traces};

use crate::repository::{Package, Repository};
use crate::{Images, base, build, run, sandbox};

#[track_caller]
fn says(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stderr.contains(part), "`{part}` is missing: {output}");
    }
    // One message, with what to do.
    let count = |word: &str| output.stderr.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("error:"), count("hint:")), (1, 1), "{output}");
}

#[test]
fn packages_that_cannot_be_had_or_installed_are_named() {
    let place = sandbox();
    let images = Images::with_base(&base(&place));
    let repository = Repository::new();
    let attempt = |packages: &str| {
        let mut command = build(&place, &repository, &["--with", packages]);
        command.env("MUSTER_IMAGES", images.path());
        run(command)
    };
    let before = Traces::take(&[images.path()]);
    says(&attempt("muster-missing").exits(1), &["Debian 12 has no package `muster-missing`", "hint: correct the name"]);
    says(&attempt("muster-*").exits(1), &["`muster-*` is no name of a package"]);

    let script = "echo the moon is in the wrong quarter\nexit 3";
    repository.add("muster-broken", &Package { script, ..Package::default() });
    let broken = attempt("muster-broken").exits(1);
    says(
        &broken,
        &[
            "the package `muster-broken` cannot be installed",
            "exit status 3",
            "the wrong quarter",
            "hint: the whole output",
        ],
    );
    assert_eq!((images.half_made(), images.layers()), (vec![], 1));
    assert_eq!(images.workers(), Vec::<String>::new());
    let after = Traces::take(&[images.path()]);
    let lines: Vec<String> = before.difference(&after).into_iter().filter(|line| !line.contains(" file ")).collect();
    assert_eq!(lines, Vec::<String>::new());

    repository.add("muster-broken", &Package { version: "2", ..Package::default() });
    attempt("muster-broken").success();
    assert_eq!((images.half_made(), images.layers()), (vec![], 2));
}

#[test]
fn servers_that_do_not_answer_are_told_with_the_ways_out() {
    let place = sandbox();
    let images = Images::empty();
    let mut command = place.command(&["image", "build", "--mirror", "http://127.0.0.1:9/debian"]);
    command.env("MUSTER_IMAGES", images.path());
    let output = run(command).exits(69);
    says(&output, &["the package servers cannot be reached", "127.0.0.1:9", "--mirror URL"]);
    assert_eq!((images.half_made(), images.layers()), (vec![], 0));
    let wrong = place.muster(&["image", "build", "--mirror", "deb.debian.org"]).exits(65);
    assert!(wrong.stderr.contains("M0905"), "{wrong}");
}

/// Runs in a mount namespace that the shell prepares first.
fn in_namespace(place: &Sandbox, prepare: &str, command: &Command) -> Output {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "--propagation", "private", "sh", "-c"]);
    wrapped.arg(format!("{prepare}; exec \"$@\"")).arg("sh").arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().current_dir(place.work());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(wrapped)
}

#[test]
fn a_full_disk_is_told_with_figures() {
    let place = sandbox();
    let id = base(&place);
    let images = Images::with_base(&id);
    let repository = Repository::new();
    repository.add("muster-large", &Package { noise_bytes: 24 << 20, ..Package::default() });
    let mut command = build(&place, &repository, &["--with", "muster-large"]);
    command.env("MUSTER_IMAGES", images.path());

    // A disk of its own that has room for the base and a little more.
    let path = images.path().display();
    let small = format!(
        "set -e; cp -al {path} {path}.kept; mount -t tmpfs -o size=$(($(du -sm {path}.kept | cut -f1) + 30))m tmpfs {path}; \
         cp -a {path}.kept/. {path}; rm -r {path}.kept; head -c 12m /dev/zero > {path}/filler"
    );
    let output = in_namespace(&place, &small, &command).exits(1);
    says(&output, &["the image needs 25 MB at", "MB are free", "hint: make room", "muster image prune"]);

    // No room for downloads.
    let cache = place.root().join("cache");
    command.env("XDG_CACHE_HOME", &cache);
    let small = format!("mount -t tmpfs -o size=8m tmpfs {}", cache.display());
    let output = in_namespace(&place, &small, &command).exits(1);
    says(&output, &["no space is left", "hint: make room", &cache.display().to_string()]);
    assert_eq!((images.half_made(), images.layers()), (vec![], 1));

    command.env_remove("XDG_CACHE_HOME");
    run(command).success();
    assert_eq!((images.half_made(), images.layers()), (vec![], 2));
}

#[test]
fn a_machine_that_is_short_of_memory_makes_layers_on_disk() {
    let place = sandbox();
    let images = Images::with_base(&base(&place));
    let repository = Repository::new();
    // Removes a folder of the base, so that what is on disk is known to hold more than files.
    repository.add("muster-disk", &Package { script: "rm -r /usr/share/doc/adduser", ..Package::default() });
    let mut command = build(&place, &repository, &["--with", "muster-disk", "--jsonl"]);
    command.env("MUSTER_IMAGES", images.path());
    let meminfo = place.write("meminfo", "MemTotal: 4000000 kB\nMemAvailable: 1500000 kB\n");
    let prepare = format!("mount --bind {} /proc/meminfo", meminfo.display());
    let lines = in_namespace(&place, &prepare, &command).success().json_lines();
    assert_eq!(lines[0]["step"], "starting, on disk: memory is short");
    let id = lines.last().unwrap()["images"][0]["id"].as_str().unwrap().to_owned();
    let whiteout = images.path().join("layers").join(id).join("root/usr/share/doc/adduser");
    let kind = fs_err::symlink_metadata(whiteout).unwrap().file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&kind));
    assert_eq!((images.half_made(), images.layers()), (vec![], 2));
}

#[test]
fn what_a_base_needs_of_the_machine_is_told_first() {
    let place = sandbox();
    let images = Images::empty();
    let mut command = place.command(&["image", "build"]);
    command.env("MUSTER_IMAGES", images.path());
    // The program is linked statically, so that it starts without anything of /usr.
    let output = in_namespace(&place, "mount -t tmpfs tmpfs /usr/bin", &command).exits(1);
    says(&output, &["mmdebstrap is missing", "apt-get install mmdebstrap"]);
    assert_eq!((images.half_made(), images.layers()), (vec![], 0));

    let program = place.root().join("work/muster");
    fs_err::copy(place.program(), &program).unwrap();
    let mut user = Command::new(&program);
    user.args(["image", "build"]).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Those who are nobody may not even see the sandbox's folders.
    open_for_all(&place);
    let output = run({
        user.uid(65_534).gid(65_534);
        user
    });
    says(&output.exits(77), &["need root", "hint: run the command with sudo"]);
}

fn open_for_all(place: &Sandbox) {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(place.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
}
