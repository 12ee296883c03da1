//! Which items of a list can be told apart. An item that opens what a later one closes (`if …; then`, a quote, a here
//! document) is run together with it.

use std::io;
use std::path::Path;

use super::script::{Places, SHELL, group, script};
use crate::apply::tool;
use crate::exec::{Process, exit_code};
use muster_sys::session::Session;

/// Items that run as one piece of shell: `first..end` of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Yes,
    No,
    /// Only a shell can tell.
    Unsure,
}

/// Cuts a list into units. Usually one look by `sh -n` at the whole script is enough.
pub(crate) async fn units(items: &[&str], scratch: &Path) -> io::Result<Vec<Unit>> {
    let mut alone = true;
    for item in items {
        alone &= match closed(item) {
            Closed::Yes => true,
            Closed::No => false,
            Closed::Unsure => is_complete(item, scratch).await?,
        };
        if !alone {
            break;
        }
    }
    if alone {
        let texts: Vec<String> = items.iter().map(|&item| item.to_owned()).collect();
        if passes(&script(&texts, Places { start: scratch, state: scratch, restore: None }), scratch).await? {
            let each = texts.into_iter().enumerate();
            return Ok(each.map(|(first, text)| Unit { first, end: first + 1, text }).collect());
        }
    }
    grouped(items, scratch).await
}

/// The shortest complete groups, from the front. What never becomes complete is one unit to the end, and the shell
/// will say why.
async fn grouped(items: &[&str], scratch: &Path) -> io::Result<Vec<Unit>> {
    let mut units = Vec::new();
    let mut first = 0;
    while first < items.len() {
        let mut text = String::new();
        let mut end = first;
        loop {
            if !text.is_empty() || end > first {
                text.push('\n');
            }
            text.push_str(items[end]);
            end += 1;
            if end == items.len() || is_complete(&text, scratch).await? {
                break;
            }
        }
        units.push(Unit { first, end, text });
        first = end;
    }
    Ok(units)
}

/// Whether a text ends outside of quotes, comments aside.
fn closed(text: &str) -> Closed {
    let substitutes = text.contains("$(") || text.contains('`') || text.contains("${");
    if text.contains("<<") || substitutes && text.contains(['"', '\'']) {
        return Closed::Unsure;
    }
    let mut quote = None;
    let mut comment = false;
    let mut escaped = false;
    let mut before = '\n';
    for c in text.chars() {
        if escaped {
            escaped = false;
        } else if comment {
            comment = c != '\n';
        } else {
            match (quote, c) {
                (None, '#') => comment = before.is_whitespace() || ";&|()".contains(before),
                (None, '\'' | '"') => quote = Some(c),
                (None | Some('"'), '\\') => escaped = true,
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
        }
        before = c;
    }
    if quote.is_none() && !escaped && !ends_in_backslash(text) { Closed::Yes } else { Closed::No }
}

/// A backslash at the end would join the text with the line after it.
fn ends_in_backslash(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Whether a shell finds the text whole, and would notice a bracket after it: a here document would swallow that.
async fn is_complete(text: &str, scratch: &Path) -> io::Result<bool> {
    let grouped = format!("{}\n", group(text));
    let followed = format!("{text}\n)\n");
    Ok(!ends_in_backslash(text) && passes(&grouped, scratch).await? && !passes(&followed, scratch).await?)
}

/// Whether `sh -n` takes a text. It is read from a file: arguments can be seen by others.
async fn passes(text: &str, scratch: &Path) -> io::Result<bool> {
    let path = scratch.with_extension("check");
    super::session::write_private(&path, text)?;
    let mut command = tool::command(Path::new(SHELL), &["-n"]);
    command.arg(&path).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let process = Process::start(Session::default(), command).map_err(io::Error::other)?;
    let end = process.ended().await?;
    Ok(exit_code(end) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(items: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let units = units(items, &folder.path().join("state")).await.unwrap();
        units.iter().map(|unit| format!("{}..{}", unit.first, unit.end)).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn whole_items_stand_alone() {
        let items = ["cd /", "# only a comment", "", "echo \"a'b\" 'c\"d' # it's", "for i in 1 2; do\necho $i\ndone\n"];
        assert_eq!(cut(&items).await, "0..1 1..2 2..3 3..4 4..5");
        let items =
            ["x=\"$(echo \"a b\")\"", "cat <<EOF\nit's\nEOF", "echo `date` ${x:-'y'}", "sleep 1 &", "a=$((1<<2))"];
        assert_eq!(cut(&items).await, "0..1 1..2 2..3 3..4 4..5");
    }

    #[tokio::test]
    async fn what_spans_items_runs_together() {
        for (items, expected) in [
            (&["echo a", "if true; then", "echo b", "fi", "echo c"][..], "0..1 1..4 4..5"),
            (&["echo 'a", "b'", "c"], "0..2 2..3"),
            (&["cat <<EOF", "text", "EOF", "echo"], "0..3 3..4"),
            (&["echo \"$(echo \"", "\")\"", "x"], "0..2 2..3"),
            (&["echo a \\", "b", "c"], "0..2 2..3"),
            (&["true &&", "false", "x"], "0..2 2..3"),
            (&["f() {", "echo f", "}", "f"], "0..3 3..4"),
            (&["case x in", "x) echo ;;", "esac"], "0..3"),
            (&["a", "echo )", "b"], "0..1 1..3"),
            (&["a", "{", "b"], "0..1 1..3"),
        ] {
            assert_eq!(cut(items).await, expected, "{items:?}");
        }
    }
}
