//! What a shell leaves to the one that goes on after it: folder, variables, exports, mask and switches. Functions and
//! aliases are not carried over.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// More is not carried over.
pub(crate) const STATE_BYTES_MAX: usize = 256 << 10;

/// Variables that belong to one shell.
const OWN: &[&str] = &[
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "DIRSTACK",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OLDPWD",
    "OPTIND",
    "PIPESTATUS",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "UID",
    "_",
    "__muster",
];

/// Switches of `set` that are put back: exit on error, no globbing, exit on unset variables, trace, export all, no
/// clobbering.
const SWITCHES: &str = "efuxaC";

#[derive(Debug, PartialEq, Eq)]
struct Assignment<'a> {
    exported: bool,
    name: &'a str,
    /// In the shell's own quotes; `None` for a name that is only exported.
    value: Option<&'a str>,
}

/// Turns what a shell wrote of itself into a script that brings another to the same point. The text came from the
/// shell, quoted by it.
pub(crate) fn restore_text(state: &str) -> Option<String> {
    if state.len() > STATE_BYTES_MAX {
        return None;
    }
    let (switches, rest) = state.split_once('\n')?;
    let (mask, rest) = rest.split_once('\n')?;
    let mut text = String::new();
    let mut exported = BTreeSet::new();
    let mut folder = None;
    for Assignment { exported: export, name, value } in assignments(rest) {
        if name == "PWD" {
            folder = value;
        }
        if OWN.contains(&name) || name.starts_with("BASH_") || !is_name(name) {
            continue;
        }
        if export {
            exported.insert(name);
        }
        // An array of bash is no plain value.
        if let Some(value) = value.filter(|value| !export && !value.starts_with('(')) {
            writeln!(text, "{name}={value}").expect("a String takes everything");
        }
    }
    for name in exported {
        writeln!(text, "export {name}").expect("a String takes everything");
    }
    if let Some(folder) = folder {
        writeln!(text, "cd {folder} || :").expect("a String takes everything");
    }
    if mask.len() <= 4 && mask.bytes().all(|byte| byte.is_ascii_digit()) {
        writeln!(text, "umask {mask}").expect("a String takes everything");
    }
    for switch in switches.chars().filter(|switch| SWITCHES.contains(*switch)) {
        writeln!(text, "set -{switch}").expect("a String takes everything");
    }
    Some(text)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Cuts the output of `export -p` and `set` into assignments; quoted values may hold line breaks.
fn assignments(text: &str) -> Vec<Assignment<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = entry_end(rest);
        let (entry, tail) = rest.split_at(end);
        rest = tail.strip_prefix('\n').unwrap_or(tail);
        let bare = entry.strip_prefix("export ").or_else(|| entry.strip_prefix("declare -x "));
        let body = bare.unwrap_or(entry);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        found.push(Assignment { exported: bare.is_some(), name, value });
    }
    found
}

/// The first line break outside of quotes.
fn entry_end(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut before = '\n';
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else {
            match (quote, c) {
                (None, '\n') => return at,
                (None, '\'') => quote = Some(if before == '$' { '$' } else { '\'' }),
                (None, '"') => quote = Some('"'),
                (None | Some('"' | '$'), '\\') => escaped = true,
                (Some('\'' | '$'), '\'') | (Some('"'), '"') => quote = None,
                _ => {}
            }
        }
        before = c;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_kept_as_they_are() {
        let state = "eu\n0027\nexport A='1'\nexport EMPTY\ndeclare -x B=\"x\ny\"\nA='1'\nB='x\ny'\nC=$'it\\'s\n'\n\
                     D='it'\"'\"'s'\nE=plain\\ \nPPID='1'\nPWD='/a b'\nARRAY=([0]=\"x\")\nbad-name=1\n";
        let expected = "A='1'\nB='x\ny'\nC=$'it\\'s\n'\nD='it'\"'\"'s'\nE=plain\\ \nexport A\nexport B\nexport EMPTY\n\
                        cd '/a b' || :\numask 0027\nset -e\nset -u\n";
        assert_eq!(restore_text(state).unwrap(), expected);
        assert_eq!(restore_text("torn"), None);
        assert_eq!(restore_text(&"x".repeat(STATE_BYTES_MAX + 1)), None);
    }
}
