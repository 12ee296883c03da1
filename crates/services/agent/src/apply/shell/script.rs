//! The script that a shell is given: the items, and between them lines that tell how each ended.
//!
//! The shell's standard input is a socket to the agent. The script moves it to file 9 and keeps its first standard
//! error as file 8; items see neither. It says `end N CODE` on the socket after each unit, and goes on when it reads
//! `go`. That wait is what keeps the output of neighbouring items apart.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use muster_types::NodeName;

/// The shell that runs commands.
pub(crate) const SHELL: &str = "/bin/sh";

/// What commands find in their environment beyond that of every program.
pub(crate) fn login(command: &mut Command, node: &NodeName) {
    command.env("INSTANCE_ID", node.as_str()).env("USER", "root").env("LOGNAME", "root").env("SHELL", SHELL);
}

/// The files around a script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// Where commands start. The shell itself is started elsewhere, so that it names the script by its bare name.
    pub(crate) start: &'a Path,
    /// Variables are written here after each unit.
    pub(crate) state: &'a Path,
    /// A script with those of an earlier shell.
    pub(crate) restore: Option<&'a Path>,
}

/// The text of the script.
pub(crate) fn script(units: &[String], places: Places<'_>) -> String {
    let Places { start, state, restore } = places;
    let mut text = format!("exec 8>&2 9<&0 </dev/null; cd {}; unset OLDPWD\n", quote(start));
    if let Some(restore) = restore {
        writeln!(text, ". {}", quote(restore)).expect("a String takes everything");
    }
    // The first unit waits as well: what is about to run is written down before it does.
    writeln!(text, "{{ printf 'ready\\n' >&9; {GO_ON}; }} 2>/dev/null").expect("a String takes everything");
    for (number, unit) in units.iter().enumerate() {
        let (group, report) = (group(unit), report(number, state));
        write!(text, "{group} 8>&- 9<&-\n{report}").expect("a String takes everything");
    }
    text
}

/// The unit as one compound command. Comments alone make none, so they get a `:`.
pub(super) fn group(unit: &str) -> String {
    let is_empty = unit.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    format!("{{ {}\n{unit}\n}}", if is_empty { ":" } else { "" })
}

/// A trap at the exit may speak, so it gets back the standard error that was there at the start.
const GO_ON: &str = "read -r __muster <&9; case $__muster in go) ;; *) exec 2>&8; exit 1 ;; esac";

/// Only builtins, so nothing is forked. What `set -x` would print of it goes nowhere.
fn report(number: usize, state: &Path) -> String {
    let state = quote(state);
    format!(
        "{{ __muster=$?; {{ printf '%s\\n' \"$-\"; umask; export -p; set; }} >|{state} || :; \
         printf 'end {number} %s\\n' \"$__muster\" >&9; {GO_ON}; }} 2>/dev/null\n"
    )
}

pub(crate) fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
