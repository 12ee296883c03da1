//! Habits that a compiler does not check, as a test: the whole project is read and every breach is told.

mod manifests;
mod sources;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::workspace;

/// A file of the project.
#[derive(Debug)]
struct File {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

/// Fails with every breach.
pub(crate) fn check() -> Result<()> {
    let mut complaints = sources::complaints(&read("rs")?);
    complaints.extend(manifests::complaints(&read("toml")?, &read("rs")?)?);
    complaints.extend(manifests::banned_crates()?);
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn read(extension: &str) -> Result<Vec<File>> {
    let wanted =
        workspace::files()?.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    wanted.map(|path| Ok(File { text: fs_err::read_to_string(workspace::root().join(&path))?, path })).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_project_is_tidy() {
        super::check().unwrap_or_else(|error| panic!("{error}"));
    }
}
