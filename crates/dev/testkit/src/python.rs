//! A Python with libraries from its package index, made once below the target folder: for peers written in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter, or why there is none. `folder` is the caller's `CARGO_TARGET_TMPDIR`; a `name` stands for one list of
/// libraries, so it changes with the list.
pub fn python(folder: &str, name: &str, libraries: &[&str]) -> Result<PathBuf, String> {
    let folder = Path::new(folder);
    let made = folder.join(name);
    let python = made.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    let prefix = format!("{name}-");
    let beside = tempfile::Builder::new().prefix(&prefix).tempdir_in(folder).map_err(|error| error.to_string())?;
    run(Command::new("python3").args(["-m", "venv"]).arg(beside.path()))?;
    let mut install = Command::new(beside.path().join("bin/python"));
    run(install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(libraries))?;
    // Another run of the tests may have been quicker.
    match fs_err::rename(beside.path(), &made) {
        Ok(()) => drop(beside.keep()),
        Err(_) if python.exists() => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
