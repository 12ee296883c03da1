//! The help of the commands, laid out as Go programs do.

use super::table::{COMMANDS, Command};

const WIDTH: usize = 79;
/// Where the explanations of flags begin.
const COLUMN: usize = 28;

/// What there is.
pub(crate) fn program(name: &str) -> String {
    let mut lines = vec![format!("Usage: {name} [--version] [--help] <command> [<args>]\n\nAvailable commands are:")];
    lines.extend(COMMANDS.iter().map(|command| format!("    {:<16}{}", command.name, command.synopsis)));
    lines.join("\n") + "\n"
}

pub(crate) fn command(program: &str, command: &Command) -> String {
    // Serf's `version` has no help either.
    if command.about.is_empty() {
        return String::new();
    }
    let mut out = format!("Usage: {program} {} {}", command.name, command.usage).trim_end().to_owned();
    out.push_str("\n\n");
    out.push_str(&wrapped(command.about, 2, 2));
    let flags: Vec<String> = command
        .flags()
        .map(|flag| {
            let head = format!("  -{}{}", flag.name, flag.value);
            let help = wrapped(flag.help, COLUMN, 0);
            if head.len() < COLUMN { format!("{head:COLUMN$}{help}") } else { format!("{head}\n{:COLUMN$}{help}", "") }
        })
        .collect();
    if !flags.is_empty() {
        out.push_str("\n\nOptions:\n\n");
        out.push_str(&flags.join("\n"));
    }
    out
}

/// Lines no longer than the width, all but the first behind this much space.
fn wrapped(text: &str, indent: usize, first: usize) -> String {
    let mut out = " ".repeat(first);
    let mut column = indent;
    for (at, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if at > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn every_command_is_explained_within_the_width() {
        for command in COMMANDS.iter().filter(|command| !command.about.is_empty()) {
            let text = super::command("serf", command);
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
            assert!(command.flags().all(|flag| text.contains(&format!("\n  -{}", flag.name))), "{text}");
        }
        assert!(program("serf").lines().count() == COMMANDS.len() + 3);
        assert!(table::find("members").is_some() && table::find("help").is_none());
    }
}
