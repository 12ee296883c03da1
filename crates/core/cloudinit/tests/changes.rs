//! Two documents in, the change out.

use muster_cloudinit::{Change, Document, StepId, diff, parse_document};

fn document(text: &str) -> Document {
    parse_document(text).unwrap_or_else(|found| panic!("{found:?}"))
}

/// `runcmd` lists in flow style in, ids to run out, or `replace: …`.
fn change(old: &str, new: &str) -> String {
    match diff(&document(old), &document(new)) {
        Change::None => "none".to_owned(),
        Change::Converge(steps) => steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(" "),
        Change::Replace { steps, reason } => {
            assert!(!steps.is_empty());
            format!("replace: {reason}")
        }
    }
}

fn run(old: &str, new: &str) -> String {
    change(&format!("runcmd: [{old}]"), &format!("runcmd: [{new}]"))
}

const AGAIN: &str = "{command: again, rerun: true}";
const ANEW: &str = "{command: anew, rerun: true}";

#[test]
fn commands_at_the_end_are_new() {
    assert_eq!(run("a, b", "a, b"), "none");
    assert_eq!(run("a, b", "a, b, c, d"), "runcmd[2] runcmd[3]");
    assert_eq!(change("hostname: x", "{hostname: x, runcmd: [a]}"), "runcmd[0]");
    assert_eq!(run("a", "a, a"), "runcmd[1]");
    assert_eq!(run("a, [b]", "a, null, [b]"), "none", "numbers change, the sequence does not");
}

#[test]
fn commands_that_have_run_stay_as_they_are() {
    assert_eq!(run("a, b", "a, c"), "replace: runcmd[1] was changed, and the old one has run");
    assert_eq!(run("a, b", "a"), "replace: runcmd[1] was removed, and it has run");
    assert_eq!(run("a, b", "c, a, b"), "replace: runcmd[0] was put before commands that have run");
    assert_eq!(run("a, b", "a, c, b, d"), "replace: runcmd[1] was put before commands that have run");
    assert!(run("a, b", "b, a").starts_with("replace: "), "{}", run("a, b", "b, a"));
    assert!(change("{bootcmd: [a], runcmd: [b]}", "{bootcmd: [b], runcmd: [a]}").starts_with("replace: bootcmd[0]"));
    assert_eq!(change("bootcmd: [a]", "runcmd: [a]"), "replace: bootcmd[0] was removed, and it has run");
}

#[test]
fn rerun_frees_a_command() {
    assert_eq!(run(&format!("a, {AGAIN}, b"), &format!("a, {ANEW}, b")), "runcmd[1]");
    assert_eq!(run("a, old, b", &format!("a, {ANEW}, b")), "runcmd[1]", "the new one is marked");
    assert_eq!(run(&format!("a, {AGAIN}, b"), "a, b"), "none", "nothing can be undone");
    assert_eq!(run("a, b", &format!("{ANEW}, a, b")), "runcmd[0]");
    assert_eq!(run(&format!("{AGAIN}, a, b"), &format!("a, b, {AGAIN}")), "none", "moved and not changed");
    assert_eq!(run("again", AGAIN), "none", "the mark alone is no change");
    assert_eq!(run(AGAIN, "plain"), "runcmd[0]", "the old one may have run any number of times");
    assert_eq!(
        run(&format!("a, {AGAIN}, b"), "a, plain, b"),
        "replace: runcmd[1] was put before commands that have run"
    );
    assert!(run("a, b, c", &format!("a, {ANEW}, c, d")).ends_with("runcmd[1] runcmd[3]"));
    assert_eq!(run("a, x, y, c", &format!("a, {ANEW}, c")), "replace: runcmd[2] was removed, and it has run");
}

#[test]
fn states_converge() {
    let old =
        "{hostname: a, packages: [x], timezone: UTC, write_files: [{path: /a, content: 1}, {path: /b}], runcmd: [r]}";
    let new =
        "{hostname: b, packages: [x], write_files: [{path: /c}, {path: /a, content: 2}, {path: /b}], runcmd: [r]}";
    assert_eq!(change(old, new), "write_files[/c] write_files[/a] hostname");
    assert_eq!(change(old, "runcmd: [r]"), "none", "what is no longer asked for is left as it is");
    assert_eq!(change("final_message: a", "final_message: b"), "final_message");
    let user = |more: &str| format!("users: [{{name: u, {more}}}]");
    assert_eq!(change(&user("gecos: a"), &user("gecos: b")), "users[u]");
    assert_eq!(change(&user("hashed_passwd: a"), &user("hashed_passwd: b")), "users[u].password");
}

#[test]
fn long_lists_are_compared_in_bounds() {
    let list = |range: std::ops::Range<u32>, step: usize| {
        let items: Vec<String> = range.step_by(step).map(|n| format!("c{n}")).collect();
        items.join(", ")
    };
    assert_eq!(run(&list(0..900, 1), &list(0..901, 1)), "runcmd[900]");
    assert!(run(&list(0..900, 1), &list(0..900, 2)).starts_with("replace: "));
    assert!(run(&list(0..900, 1), &list(900..1800, 1)).starts_with("replace: "));
}

#[test]
fn a_reload_follows_its_files() {
    let with = |a: &str, b: &str, reloads: &str| {
        format!(
            "{{write_files: [{{path: /a, content: {a}}}, {{path: /b, content: {b}}}, {{path: /c, content: {b}}}], \
             runcmd: [r], muster: {{reload: [{reloads}]}}}}"
        )
    };
    let (first, second) = ("{name: x, files: [/a], command: x}", "{name: y, files: [/b, /a], command: y}");
    let both = format!("{first}, {second}");
    let old = with("1", "1", &both);
    assert_eq!(change(&old, &with("1", "1", &format!("{second}, {first}"))), "none", "the order alone is no change");
    assert_eq!(
        change(&old, &with("1", "1", "{name: x, files: [/a], command: x}, {name: y, files: [/a, /b, /a], command: y}")),
        "none"
    );
    assert_eq!(change(&old, &with("2", "1", &both)), "write_files[/a] reload[x] reload[y]");
    assert_eq!(change(&old, &with("1", "2", &both)), "write_files[/b] write_files[/c] reload[y]");
    assert_eq!(change(&old, &with("1", "1", first)), "none", "one that is gone asks for nothing");
    assert_eq!(change(&old, &with("1", "1", &both.replace("command: y", "command: z"))), "reload[y]");
    assert_eq!(change(&old, &with("1", "1", &format!("{both}, {{name: z, files: [/c], command: z}}"))), "reload[z]");
    assert_eq!(change(&with("1", "1", ""), &old), "reload[x] reload[y]");
    let mode = old.replace("{path: /a, ", "{path: /a, permissions: '0600', ");
    assert_eq!(change(&old, &mode), "write_files[/a] reload[x] reload[y]");
}
