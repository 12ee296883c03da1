//! The workspace as cargo and git see it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::shell::{cargo, command, read};

/// The folder with the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(3).expect("xtask is three folders below the root").to_owned()
}

/// What `cargo metadata --no-deps` says of a crate, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a plain one; else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for crates of this workspace.
    pub(crate) path: Option<PathBuf>,
}

impl Package {
    /// The crate's folder, relative to the root.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let folder = self.manifest_path.parent().context("a manifest lies in a folder")?;
        Ok(folder.strip_prefix(root()).context("a crate lies in the workspace")?.to_owned())
    }
}

pub(crate) fn packages() -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let text = read(cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read what `cargo metadata` says")?;
    Ok(metadata.packages)
}

/// Files that belong to the project: known to git, or new and not ignored. Without git, as in a source archive, all
/// files but those of builds.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let root = root();
    let mut files = Vec::new();
    if root.join(".git").exists() {
        let listed = read(command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        // A file that was just deleted is still listed.
        files.extend(listed.split_terminator('\0').map(PathBuf::from).filter(|path| root.join(path).is_file()));
    } else {
        walk(&root, Path::new(""), &mut files)?;
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs_err::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && path != Path::new("target") {
            walk(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The short id of the commit, with a `+` when the files are not as committed. The pages that chores write figures into
/// do not count.
pub(crate) fn commit() -> Result<String> {
    let id = read(command("git", &["rev-parse", "--short=10", "HEAD"]))?;
    let figures = [":!docs/BENCH.md", ":!docs/FAULTS.md"];
    let changed = read(command("git", &[&["status", "--porcelain", "--", "."][..], &figures].concat()))?;
    Ok(format!("{}{}", id.trim(), if changed.trim().is_empty() { "" } else { "+" }))
}

/// Today, in UTC, as 2026-01-31.
pub(crate) fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}
