//! Nodes that Occopus would make as containers, on machines: the command runs with its environment, and its end is seen.
//!
//! The container's image stays behind: what the command needs has to be on the machine. `docs/decisions/0010` says more.

use std::fmt::Write as _;

use muster_api::{Check, CheckKind};
use muster_doc::{Diagnostic, Tree, codes, emit};
use muster_occopus::Implementation;
use muster_types::GroupName;

/// What a container is started with, rendered.
pub(super) struct Given<'a> {
    pub(super) env: &'a Tree,
    pub(super) command: Option<&'a Tree>,
    pub(super) node: &'a str,
    pub(super) group: &'a GroupName,
    pub(super) way: &'a Implementation,
}

const FOLDER: &str = "/etc/muster/container";

/// Succeeds while the command runs.
pub(super) const CHECK_COMMAND: [&str; 1] = ["/etc/muster/container/check"];

/// What every container finds in its environment.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Ends what ran before, as Docker stops a container: asked first, forced after ten seconds.
const START: &str = r#"#!/bin/sh
# Starts the command of this node anew.
state=/run/muster-container
mkdir -p "$state"
if read -r old <"$state/pid" 2>/dev/null && kill -0 "$old" 2>/dev/null; then
    kill -s TERM -- "-$old" 2>/dev/null
    tries=0
    while kill -s 0 -- "-$old" 2>/dev/null && [ "$tries" -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -s KILL -- "-$old" 2>/dev/null
fi
rm -f "$state/ended"
setsid /etc/muster/container/keep </dev/null >>/var/log/container.log 2>&1 &
echo "$!" >"$state/pid"
"#;

const KEEP: &str = r#"#!/bin/sh
# Runs the command of this node and notes how it ends.
/etc/muster/container/run
echo "$?" >/run/muster-container/ended.new
mv /run/muster-container/ended.new /run/muster-container/ended
"#;

/// A machine that was started anew has nothing below `/run`. A command that cannot be started ends in its first moments.
const CHECK: &str = r#"#!/bin/sh
# Succeeds while the command of this node runs. Starts it where it was not since the machine was.
state=/run/muster-container
[ -e "$state/pid" ] || /etc/muster/container/start
for moment in 1 2 3 4; do
    if [ -e "$state/ended" ]; then
        echo "its command ended with code $(cat "$state/ended"); /var/log/container.log ends: $(tail -n 1 /var/log/container.log)"
        exit 1
    fi
    if ! read -r pid <"$state/pid" || ! kill -0 "$pid" 2>/dev/null; then
        echo "its command does not run any more"
        exit 1
    fi
    sleep 0.05
done
"#;

/// What an agent does in place of Docker.
pub(super) fn config(given: &Given<'_>, out: &mut Vec<Diagnostic>) -> Tree {
    let span = given.way.span;
    let Some(run) = run(given, out) else { return Tree::map(Vec::<(&str, Tree)>::new(), span) };
    let file = |(name, text): (&str, String)| {
        let entries = [("path", format!("{FOLDER}/{name}")), ("permissions", "0755".to_owned()), ("content", text)];
        Tree::map(entries.map(|(key, value)| (key, Tree::text(value, span))), span)
    };
    let files = [("run", run), ("keep", KEEP.to_owned()), ("start", START.to_owned()), ("check", CHECK.to_owned())];
    let watched = ["run", "keep", "start"].map(|name| Tree::text(format!("{FOLDER}/{name}"), span));
    let reload = [
        ("name", Tree::text("container", span)),
        ("files", Tree::seq(watched.into(), span)),
        ("command", Tree::text(format!("{FOLDER}/start"), span)),
    ];
    let reload = Tree::seq(vec![Tree::map(reload, span)], span);
    let entries =
        [("write_files", Tree::seq(files.map(file).into(), span)), ("muster", Tree::map([("reload", reload)], span))];
    Tree::map(entries, span)
}

/// The command must still run once the node is configured; one that has ended does not come back.
pub(super) fn check(given: &Given<'_>) -> Option<Check> {
    let command = CHECK_COMMAND.map(str::to_owned).to_vec();
    given.command.map(|_| Check { kind: CheckKind::Command { command }, timeout_ms: 1_000 })
}

/// What Docker would be told.
pub(super) fn shown(given: &Given<'_>) -> String {
    let command = given.command.map(|command| ("command", command.clone()));
    emit(&Tree::map([("env", given.env.clone())].into_iter().chain(command), given.way.span))
}

/// The script that becomes the command.
fn run(given: &Given<'_>, out: &mut Vec<Diagnostic>) -> Option<String> {
    let Some(command) = given.command else {
        let message = format!("`{}` has no `command`, so nothing is run on it", given.group);
        let hint = "write the command that its image would run: the image itself is not used here";
        out.push(Diagnostic::warning(codes::CLOUD_NO_EFFECT, message, hint).at(given.env.span, "no command"));
        return None;
    };
    let words = words(command, out)?;
    let mut text = String::from("#!/bin/sh\n# What the container would run.\ncd /\nexec env -i");
    let own = [PATH.to_owned(), "HOME=/root".to_owned(), format!("HOSTNAME={}", given.node)];
    for entry in own.iter().map(String::as_str).chain(environment(given.env, out)) {
        write!(text, " {}", quote(entry)).expect("a String takes everything");
    }
    for word in words {
        write!(text, " {}", quote(&word)).expect("a String takes everything");
    }
    text.push('\n');
    Some(text)
}

fn environment<'t>(env: &'t Tree, out: &mut Vec<Diagnostic>) -> Vec<&'t str> {
    let items = env.as_seq().unwrap_or_default().iter();
    let good = items.filter_map(|item| {
        let entry = item.as_str().filter(|entry| entry.find('=').is_some_and(|at| at > 0));
        if entry.is_none() {
            let hint = "write NAME=VALUE; what the owner's environment holds is not handed on";
            let found = Diagnostic::warning(codes::CLOUD_NO_EFFECT, "this sets no variable", hint);
            out.push(found.at(item.span, "passed over"));
        }
        entry
    });
    good.collect()
}

/// A list is the words; a text is split as a shell would, without its other powers.
fn words(command: &Tree, out: &mut Vec<Diagnostic>) -> Option<Vec<String>> {
    let words = match command.as_seq() {
        Some(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        None => command.as_str().and_then(split),
    };
    // `env` would take it for a variable.
    let good = |words: &Vec<String>| words.first().is_some_and(|word| !word.is_empty() && !word.contains('='));
    let words = words.filter(good);
    if words.is_none() {
        let hint = "write a list of words, such as [\"sh\", \"-c\", \"echo hello\"]; a text needs its quotes closed";
        let found = Diagnostic::error(codes::READ_TYPE, "this cannot be run as the command of a container", hint);
        out.push(found.at(command.span, "not a command"));
    }
    words
}

/// As Docker's client splits a text: blanks, both kinds of quotes, and backslashes.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quoted, c) {
            (Some(quote), c) if c == quote => quoted = None,
            (None, '\'' | '"') => {
                quoted = Some(c);
                word.get_or_insert_default();
            }
            (Some('"'), '\\') if characters.peek().is_some_and(|next| !matches!(next, '"' | '\\')) => {
                word.get_or_insert_default().push(c);
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quoted.is_none().then_some(words)
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_text_is_split_as_the_shell_splits_it() {
        let words = |text: &str| split(text).map(|words| words.join("|"));
        assert_eq!(words("ping 10.0.0.1").as_deref(), Some("ping|10.0.0.1"));
        assert_eq!(words(r#"sh -c "echo \"$a\" 'b'" 'c d'\ e ''"#).as_deref(), Some(r#"sh|-c|echo "$a" 'b'|c d e|"#));
        assert_eq!(words(r#"a "b\n" \'"#).as_deref(), Some(r"a|b\n|'"));
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a \\"), None);
        assert_eq!(words("").as_deref(), Some(""));
    }
}
