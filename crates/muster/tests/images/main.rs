//! Images for real: a base by mmdebstrap, layers from a repository of the test's own, and everything that can go wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod failures;
mod interrupted;
mod layers;
mod repository;

use std::path::{Path, PathBuf};
use std::process::Command;

use muster_testkit::{Output, Running, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use crate::repository::Repository;

fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_muster")).with_images()
}

/// The base that all tests share; made by the first of them.
fn base(place: &Sandbox) -> String {
    let output = place.muster(&["image", "build", "--json"]).success();
    output.json()["images"][0]["id"].as_str().unwrap().to_owned()
}

/// `muster image build` with packages of a repository.
fn build(place: &Sandbox, repository: &Repository, arguments: &[&str]) -> Command {
    let mut command = place.command(&[&["image", "build"], arguments].concat());
    command.env("APT_CONFIG", repository.configuration());
    command
}

fn run(command: Command) -> Output {
    Running::start(command).wait()
}

/// A folder of images with nothing but the shared base, as hard links.
struct Images {
    folder: TempDir,
}

impl Images {
    fn with_base(id: &str) -> Self {
        let images = Self::empty();
        let shared = muster_testkit::images().join("images");
        fs_err::create_dir_all(images.path().join("layers")).unwrap();
        fs_err::create_dir_all(images.path().join("current")).unwrap();
        let copy = |from: PathBuf, to: PathBuf| {
            let status = Command::new("cp").arg("-al").arg(from).arg(to).status().unwrap();
            assert!(status.success());
        };
        copy(shared.join("layers").join(id), images.path().join("layers").join(id));
        for entry in fs_err::read_dir(shared.join("current")).unwrap() {
            let entry = entry.unwrap();
            if fs_err::read_to_string(entry.path()).unwrap() == id {
                // Written anew by a refresh, never in place.
                copy(entry.path(), images.path().join("current").join(entry.file_name()));
            }
        }
        images
    }

    /// On the disk of the shared ones, so that links reach it.
    fn empty() -> Self {
        Self { folder: tempfile::Builder::new().prefix("own-").tempdir_in(muster_testkit::images()).unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is there besides whole images.
    fn half_made(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with('.')).collect()
    }

    fn layers(&self) -> usize {
        fs_err::read_dir(self.path().join("layers")).map(Iterator::count).unwrap_or_default()
    }

    /// Processes that work on an image here.
    fn workers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc").unwrap().flatten() {
            // Processes come and go while this is read.
            let Ok(command) = fs_err::read_to_string(entry.path().join("cmdline")) else { continue };
            if command.contains(&self.path().display().to_string()) {
                found.push(command.replace('\0', " "));
            }
        }
        found
    }
}

fn listed(place: &Sandbox, id: &str) -> Option<Value> {
    let document = place.muster(&["image", "ls", "--json"]).success().json();
    document["images"].as_array().unwrap().iter().find(|image| image["id"] == id).cloned()
}
