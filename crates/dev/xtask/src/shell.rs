//! Starting other programs, with errors that name the command.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Cargo as it runs this chore, in the workspace's folder.
pub(crate) fn cargo<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    command(&program, arguments)
}

pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(program: impl AsRef<std::ffi::OsStr>, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// Runs a command to its end, with its output shown.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", describe(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(&command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to stdout; stderr is shown.
pub(crate) fn read(mut command: Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", describe(&command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", describe(&command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote something else than text", describe(&command)))
}

pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
}
