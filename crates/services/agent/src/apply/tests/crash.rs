//! Agents and machines that end at a bad moment.

use std::os::unix::process::CommandExt as _;

use super::{Agent, Node, last, request, within, word};
use crate::apply::ApplyRefusal;
use crate::apply::journal::{Journal, Memo, Started};

const DOCUMENT: &str = "\
write_files: [{path: /one, content: x}]
runcmd:
- echo first >> log; mkdir -p sub; cd sub; export A=1; B=\"it's\"
- echo $$ > ../pid; echo \"second $A$B\" >> ../log; read x < ../gate
- echo \"third $A$B $(pwd | sed s,.*/,,)\" >> ../log
";

/// Starts the document and waits until its second command runs.
async fn begin(node: &Node) -> Agent {
    let agent = node.agent();
    drop(agent.start(DOCUMENT).await);
    super::until(async || node.read("log").ends_with("it's\n")).await;
    agent
}

/// The agent ends in the middle of the second command, and with it the shell.
async fn crash(node: &Node) {
    begin(node).await.end().await;
    let pid: u32 = node.read("pid").trim().parse().unwrap();
    super::until(async || muster_sys::process::start_ticks(pid).is_err()).await;
}

async fn go_on(agent: &Agent) -> Vec<String> {
    agent.apply(DOCUMENT).await
}

#[tokio::test]
async fn an_agent_that_starts_again_goes_on_where_it_was() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    crash(&node).await;
    let agent = node.agent();
    gate.open();
    let words = go_on(&agent).await;
    assert_eq!(node.read("log"), "first\nsecond 1it's\nsecond 1it's\nthird 1it's sub\n");
    assert!(matches!(last(&words), "Done 4/4" | "Done 0/4"), "{words:?}");
    agent.end().await;
    let agent = node.agent();
    assert_eq!(agent.outcomes(), "Done: write_files[/one]=done runcmd[0]=done runcmd[1]=done runcmd[2]=done");
}

#[tokio::test]
async fn a_client_that_comes_after_the_crash_sees_all_of_it() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    crash(&node).await;
    let agent = node.agent();
    let mut events = agent.start(DOCUMENT).await;
    let first = [within(events.recv()).await, within(events.recv()).await, within(events.recv()).await];
    let first: Vec<String> = first.iter().flatten().map(word).collect();
    assert_eq!(first, ["write_files[/one] 0/4", "write_files[/one] done", "runcmd[0] 1/4"]);
    gate.open();
    assert_eq!(last(&super::told(events).await), "Done 4/4");
}

#[tokio::test]
async fn a_command_that_rebooted_the_machine_is_done() {
    let mut node = Node::new();
    let _gate = node.gate("gate");
    crash(&node).await;
    node.reboot("boot-2", true);
    let agent = node.agent();
    let words = go_on(&agent).await;
    assert_eq!(node.read("log"), "first\nsecond 1it's\nthird 1it's sub\n", "{words:?}");
    let detail = agent.applier.state().unwrap().steps[2].detail.clone();
    assert!(detail.is_none_or(|detail| detail.contains("rebooted from inside")));
}

#[tokio::test]
async fn a_command_that_a_crash_of_the_machine_ended_runs_again() {
    // A file system in memory, as /run is.
    let mut node = Node::on(tempfile::tempdir_in("/dev/shm").unwrap());
    let mut gate = node.gate("gate");
    crash(&node).await;
    node.reboot("boot-2", false);
    fs_err::remove_file(node.root().join("one")).unwrap();
    let agent = node.agent();
    gate.open();
    go_on(&agent).await;
    assert_eq!(node.read("log"), "first\nsecond 1it's\nsecond 1it's\nthird 1it's sub\n");
    assert_eq!(node.read("one"), "x", "what a reboot takes away comes back");
}

#[tokio::test]
async fn boot_commands_run_once_in_each_boot() {
    let mut node = Node::new();
    let document =
        "{bootcmd: [echo boot >> log], write_files: [{path: /run/x, content: x}], runcmd: [echo run >> log]}";
    let agent = node.agent();
    agent.apply(document).await;
    agent.apply(document).await;
    agent.end().await;
    node.agent().end().await;
    assert_eq!(node.read("log"), "boot\nrun\n");
    node.reboot("boot-2", false);
    fs_err::remove_dir_all(node.root().join("run")).unwrap();
    let agent = node.agent();
    super::until(async || agent.outcomes().starts_with("Done")).await;
    assert_eq!(agent.outcomes(), "Done: bootcmd[0]=done write_files[/run/x]=done runcmd[0]=unchanged");
    assert_eq!(last(&agent.apply(document).await), "Done 0/3");
    assert_eq!((node.read("log").as_str(), node.read("run/x").as_str()), ("boot\nrun\nboot\n", "x"));
}

#[tokio::test]
async fn a_new_document_waits_for_boot_commands() {
    let mut node = Node::new();
    let mut gate = node.gate("gate");
    let document = "bootcmd: ['[ ! -e booted ] || read x < gate; echo boot >> log; echo > booted']";
    let agent = node.agent();
    agent.apply(document).await;
    agent.end().await;
    node.reboot("boot-2", false);
    let agent = node.agent();
    let new = format!("{document}\nruncmd: [echo new >> log]");
    let (words, ()) = tokio::join!(agent.apply(&new), async { gate.open() });
    assert_eq!(last(&words), "Done 1/2");
    assert_eq!(node.read("log"), "boot\nboot\nnew\n");
}

#[tokio::test]
async fn a_boot_command_that_reboots_does_so_once() {
    let mut node = Node::new();
    let _gate = node.gate("gate");
    let document = "{bootcmd: ['echo boot >> log; read x < gate', echo on >> log], runcmd: [echo run >> log]}";
    let agent = node.agent();
    drop(agent.start(document).await);
    super::until(async || node.read("log") == "boot\n").await;
    agent.end().await;
    node.reboot("boot-2", true);
    let agent = node.agent();
    super::until(async || agent.outcomes().starts_with("Done")).await;
    assert_eq!(node.read("log"), "boot\non\nrun\n");
}

#[tokio::test]
async fn a_shell_that_outlived_its_agent_is_ended_first() {
    let node = Node::new();
    let document = "runcmd: [echo ran >> log]";
    let mut stray = std::process::Command::new("/bin/sh");
    // A child of the test in place of one of an agent that was killed; it ends by the signal or never.
    let mut stray = stray.args(["-c", "exec sleep 1000"]).process_group(0).spawn().unwrap();
    let ticks = muster_sys::process::start_ticks(stray.id()).unwrap();
    let folder = node.state_dir().join("apply");
    fs_err::create_dir_all(&folder).unwrap();
    let (mut journal, _) = Journal::open(&folder).unwrap();
    let order = request(1, document);
    journal.begin(order.generation, &order.hash, order.document, Vec::new(), Vec::new()).unwrap();
    let parsed = muster_cloudinit::parse_document(document).unwrap();
    let started = Started {
        id: "runcmd[0]".to_owned(),
        hash: parsed.steps[0].hash.as_str().to_owned(),
        boot: node.boot.clone(),
        process: Some((stray.id(), ticks)),
        memo: Memo::default(),
    };
    journal.started(started).unwrap();
    drop(journal);
    let agent = node.agent();
    assert_eq!(last(&agent.apply(document).await), "Done 1/1");
    let ended = stray.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGKILL));
    assert_eq!(node.read("log"), "ran\n");
}

#[tokio::test]
async fn a_torn_journal_loses_its_last_line_only() {
    let node = Node::new();
    let agent = node.agent();
    agent.apply("runcmd: [echo a >> log, echo b >> log]").await;
    agent.end().await;
    let path = node.state_dir().join("apply/journal");
    let whole = fs_err::read(&path).unwrap();
    for (cut, log) in [(whole.len() - 3, "a\nb\n"), (whole.len() * 3 / 4, "a\nb\n")] {
        fs_err::write(&path, &whole[..cut]).unwrap();
        let agent = node.agent();
        super::until(async || agent.outcomes().starts_with("Done")).await;
        agent.end().await;
        let again = node.read("log");
        assert!(again.starts_with(log) && again.len() <= 6, "{again}");
    }
    fs_err::write(&path, "garbage\n").unwrap();
    let agent = node.agent();
    assert!(agent.applier.state().is_none());
    assert!(super::exists(&node.state_dir().join("apply/journal.unreadable")));
    assert_eq!(last(&agent.apply("runcmd: [echo c >> log]").await), "Done 1/1");
}

#[tokio::test]
async fn generations_only_grow_and_outlive_the_agent() {
    let node = Node::new();
    let agent = node.agent();
    let order = |generation| agent.applier.apply(request(generation, "runcmd: [echo x]"));
    drop(super::told(order(5).await.unwrap()).await);
    drop(super::told(order(5).await.unwrap()).await);
    drop(super::told(order(7).await.unwrap()).await);
    let refused = order(6).await.unwrap_err();
    assert!(matches!(refused, ApplyRefusal::Stale { newest, .. } if newest.0 == 7), "{refused}");
    let wrong = agent.applier.apply(request(9, "runcmd: {}")).await.unwrap_err();
    assert!(matches!(wrong, ApplyRefusal::Invalid { .. }), "{wrong}");
    agent.end().await;
    let agent = node.agent();
    assert_eq!(agent.applier.generation().0, 9, "a refused document shuts older owners out too");
    let mut order = request(9, "runcmd: [echo x]");
    order.hash = request(9, "runcmd: [echo y]").hash;
    assert!(matches!(agent.applier.apply(order).await.unwrap_err(), ApplyRefusal::HashMismatch));
}

#[tokio::test]
async fn a_crash_at_any_event_leaves_the_same_node() {
    let document = "\
bootcmd: [echo boot >> log]
write_files: [{path: /a, content: a}, {path: /b, content: \"add\\n\", append: true}, {path: /l, content: l, defer: true}]
runcmd: [mkdir -p d; cd d; X=1, echo one$X >> ../log, echo two$X >> ../log; pwd >> ../where, echo three >> ../log]
final_message: up
";
    let mut crashes = 0;
    for count in 0.. {
        let node = Node::new();
        node.write("b", "head\n");
        let agent = node.agent();
        let mut events = agent.start(document).await;
        let mut seen = Vec::new();
        while seen.len() < count
            && let Some(event) = within(events.recv()).await
        {
            seen.push(word(&event));
        }
        agent.end().await;
        if seen.len() < count {
            break;
        }
        let agent = node.agent();
        let words = agent.apply(document).await;
        assert!(last(&words).starts_with("Done"), "after {seen:?}: {words:?}");
        assert_eq!((node.read("a"), node.read("l")), ("a".to_owned(), "l".to_owned()), "after {seen:?}");
        assert_eq!(node.read("b"), "head\nadd\n", "after {seen:?}");
        assert!(node.read("where").ends_with("/root/d\n"), "after {seen:?}");
        let log = node.read("log");
        let mut lines: Vec<&str> = log.lines().collect();
        let ran = lines.len();
        lines.dedup();
        assert_eq!(lines, ["boot", "one1", "two1", "three"], "after {seen:?}");
        assert!(ran <= 5, "only the command that was cut off runs again, after {seen:?}: {log}");
        crashes += 1;
    }
    assert!(crashes > 15, "{crashes}");
}
