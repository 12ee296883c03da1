//! Cluster files made from Occopus' files: they ask for the same, whatever the addresses are.

use std::path::{Path, PathBuf};

use muster_doc::{Diagnostic, report};
use muster_engine::compile::{Compiled, Rejected, differences};
use muster_occopus::Imported;

use super::common::compile_in;

fn sets() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/occopus/tests/files");
    let mut sets: Vec<PathBuf> =
        fs_err::read_dir(folder).expect("sets").map(|set| set.expect("a set").path()).collect();
    sets.sort();
    sets
}

fn infrastructure(set: &Path) -> PathBuf {
    let files = fs_err::read_dir(set).expect("a set").map(|file| file.expect("a file").path());
    let infra = |file: &PathBuf| {
        file.is_file() && file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("infra"))
    };
    files.filter(infra).next().expect("an infrastructure")
}

fn compiled(path: &Path) -> Result<Compiled, Box<Rejected>> {
    let text = fs_err::read(path).expect("a file");
    compile_in(path.parent().expect("a folder"), &path.display().to_string(), &text, Some("local"), &["local"])
}

fn good(result: Result<Compiled, Box<Rejected>>) -> Compiled {
    result.unwrap_or_else(|rejected| panic!("{}", report(&rejected.diagnostics, &rejected.sources, false, 100)))
}

/// Writes the files into a folder and compiles them.
fn written(imported: &Imported, folder: &Path) -> Result<Compiled, Box<Rejected>> {
    for (path, text) in &imported.files {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }
    let path = folder.join("cluster.yaml");
    fs_err::write(&path, &imported.cluster).expect("a file");
    compiled(&path)
}

/// An infrastructure and its definitions in a folder, imported; what was found, and the differences.
fn told(infrastructure: &str, definitions: &str) -> (String, String, Vec<Diagnostic>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::create_dir(folder.path().join("nodes")).expect("a folder");
    let path = folder.path().join("infra.yaml");
    fs_err::write(&path, infrastructure).expect("a file");
    fs_err::write(folder.path().join("nodes/node_definitions.yaml"), definitions).expect("a file");
    let mut original = good(compiled(&path));
    let (imported, found) = original.import(Some("local"), true);
    let Some(imported) = imported else { return (String::new(), String::new(), found) };
    let other = tempfile::tempdir().expect("a folder");
    let native = good(written(&imported, other.path()));
    assert_eq!(differences(&original, &native), Vec::new(), "{}", imported.cluster);
    let files: String = imported.files.values().map(String::as_str).collect();
    (imported.cluster, files, found)
}

#[test]
fn whole_sets_ask_for_the_same_once_they_are_imported() {
    let mut count = 0;
    for set in sets() {
        for files in [true, false] {
            let mut original = good(compiled(&infrastructure(&set)));
            let (imported, found) = original.import(Some("local"), files);
            let imported = imported.unwrap_or_else(|| panic!("{}", report(&found, &original.sources, false, 100)));
            assert!(files || imported.files.is_empty());
            let folder = tempfile::tempdir().expect("a folder");
            let native = good(written(&imported, folder.path()));
            assert_eq!(differences(&original, &native), Vec::new(), "{}:\n{}", set.display(), imported.cluster);
            // What is compared is there.
            assert!(native.occopus().is_none() && !native.spec.groups.is_empty());
            count += 1;
        }
    }
    assert!(count >= 38, "{count} imports");
}
