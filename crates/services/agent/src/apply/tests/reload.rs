//! Commands that follow files.

use super::{Agent, Node, exists, last, request, until, within, word};

/// Two services with a file each; the second one's is in memory.
fn document(a: &str, b: &str) -> String {
    format!(
        "write_files: [{{path: /a, content: {a}}}, {{path: /run/b, content: {b}}}]\n\
         runcmd: [echo ran >> log]\n\
         muster:\n  reload:\n\
         \x20 - {{name: a, files: [/a], command: 'echo \"a $(cat a) $INSTANCE_ID\" >> log'}}\n\
         \x20 - {{name: b, files: [/run/b], command: 'echo \"b $(cat run/b)\" >> log'}}\n\
         final_message: up\n"
    )
}

#[tokio::test]
async fn it_runs_at_first_and_when_a_file_of_its_own_changes() {
    let node = Node::new();
    let agent = node.agent();
    let words = agent.apply(&document("1", "1")).await;
    assert_eq!(last(&words), "Done 6/6", "{words:?}");
    assert_eq!(node.read("log"), "ran\na 1 web-1\nb 1\n");
    assert_eq!(last(&agent.apply(&document("1", "1")).await), "Done 0/6");
    assert_eq!(last(&agent.apply(&document("2", "1")).await), "Done 2/6");
    assert_eq!(node.read("log"), "ran\na 1 web-1\nb 1\na 2 web-1\n");
    let words = agent.apply(&document("2", "1").replace("echo \"b", "echo \"c")).await;
    assert_eq!(last(&words), "Done 1/6", "a changed command is a reason too: {words:?}");
    assert!(node.read("log").ends_with("a 2 web-1\nc 1\n"));
    let words =
        agent.apply("write_files: [{path: /a, content: 2}, {path: /run/b, content: 1}]\nruncmd: [echo ran >> log]\n");
    assert_eq!(last(&words.await), "Done 0/3", "one that is gone asks for nothing");
}

#[tokio::test]
async fn it_runs_when_a_file_was_put_back() {
    let node = Node::new();
    let agent = node.agent();
    agent.apply(&document("1", "1")).await;
    node.write("a", "other");
    let words = agent.apply(&document("1", "1")).await;
    assert_eq!(last(&words), "Done 2/6", "{words:?}");
    assert_eq!(node.read("log"), "ran\na 1 web-1\nb 1\na 1 web-1\n");
    assert_eq!(last(&agent.apply(&document("1", "1")).await), "Done 0/6");
}

#[tokio::test]
async fn one_that_failed_is_due_again() {
    let node = Node::new();
    let agent = node.agent();
    let with = |a: &str, command: &str| {
        format!(
            "write_files: [{{path: /a, content: {a}}}]\n\
             muster: {{reload: [{{name: x, files: [/a], command: '{command}'}}, \
             {{name: after, files: [/a], command: 'echo after >> log'}}]}}\nfinal_message: up\n"
        )
    };
    let good = "echo good >> log";
    agent.apply(&with("1", good)).await;
    let bad = "echo out; echo err >&2; echo bad >> log; (exit 7)";
    for _ in 0..2 {
        let words = agent.apply(&with("1", bad)).await;
        let failure = words.iter().find(|word| word.contains(" failed ")).unwrap();
        assert!(failure.starts_with("reload[x] failed Some(7) the command failed [\"out\", \"err\"]"), "{failure}");
        assert_eq!(last(&words), "Failed 0/4");
    }
    assert_eq!(
        agent.outcomes(),
        "Failed: write_files[/a]=unchanged reload[x]=failed reload[after]=pending final_message=pending"
    );
    let words = agent.apply(&with("1", good)).await;
    assert_eq!(last(&words), "Done 1/4", "what failed had begun, so the good one runs again: {words:?}");
    assert_eq!(node.read("log"), "good\nafter\nbad\nbad\ngood\n");
    // The same with a file that changes and changes back.
    assert_eq!(last(&agent.apply(&with("2", bad)).await), "Failed 1/4");
    assert_eq!(last(&agent.apply(&with("1", good)).await), "Done 3/4");
    assert_eq!(node.read("log"), "good\nafter\nbad\nbad\ngood\nbad\ngood\nafter\n");
}

/// What a service has loaded is what stands in its file.
const LOADS: &str = "write_files: [{path: /conf, content: CONTENT}, {path: /other, content: CONTENT}]\n\
                     muster: {reload: [{name: x, files: [/conf], command: 'echo >> runs; cat conf > loaded'}]}\n\
                     final_message: up\n";

#[tokio::test]
async fn a_crash_at_any_event_does_not_lose_it() {
    let (old, new) = (LOADS.replace("CONTENT", "old"), LOADS.replace("CONTENT", "new"));
    let mut crashes = 0;
    for count in 0.. {
        let node = Node::new();
        let agent = node.agent();
        agent.apply(&old).await;
        let mut events = agent.start(&new).await;
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
        // By itself, without being asked again.
        until(async || agent.outcomes().starts_with("Done")).await;
        assert_eq!((node.read("conf").as_str(), node.read("loaded").as_str()), ("new", "new"), "after {seen:?}");
        assert!((2..=3).contains(&node.read("runs").len()), "after {seen:?}: {:?}", node.read("runs"));
        crashes += 1;
        agent.end().await;
    }
    assert!(crashes > 5, "{crashes}");
}

#[tokio::test]
async fn a_crash_at_any_record_does_not_lose_the_one_of_a_repair() {
    let document = LOADS.replace("CONTENT", "ours");
    let node = Node::new();
    let agent = node.agent();
    agent.apply(&document).await;
    let journal = node.state_dir().join("apply/journal");
    let before = fs_err::read(&journal).unwrap();
    node.write("conf", "theirs");
    assert_eq!(last(&agent.apply(&document).await), "Done 2/4");
    agent.end().await;
    let after = fs_err::read(&journal).unwrap();
    let records: Vec<&[u8]> = after[before.len()..].split_inclusive(|byte| *byte == b'\n').collect();
    let is = |record: &[u8], what: &str| String::from_utf8_lossy(record).contains(what);
    let due = records.iter().position(|record| is(record, "\"due\"")).unwrap();
    let done = |id: &str| records.iter().position(|record| is(record, "\"done\"") && is(record, id)).unwrap();
    assert!(due < done("[/conf]") && done("[/conf]") < done("reload[x]"), "{records:?}");
    for count in 0..=done("reload[x]") {
        // The file is written after it is said that the reload is due, and before it is said that the file is done.
        for repaired in [false, true] {
            if repaired && count <= due || !repaired && count > done("[/conf]") {
                continue;
            }
            fs_err::write(&journal, [&before, records[..count].concat().as_slice()].concat()).unwrap();
            node.write("conf", if repaired { "ours" } else { "theirs" });
            node.write("loaded", "theirs");
            let agent = node.agent();
            until(async || agent.outcomes().starts_with("Done")).await;
            if count > due {
                assert_eq!(node.read("loaded"), node.read("conf"), "the agent goes on by itself, {count} {repaired}");
            }
            agent.apply(&document).await;
            let (conf, loaded) = (node.read("conf"), node.read("loaded"));
            assert_eq!((conf.as_str(), loaded.as_str()), ("ours", "ours"), "{count} {repaired}");
            agent.end().await;
        }
    }
}

const WAITS: &str = "write_files: [{path: /a, content: x}]\n\
                     muster: {reload: [{name: x, files: [/a], command: 'echo $$ > pid; echo begin >> log; read x < gate; echo end >> log'}]}\n";

async fn begin(node: &Node) -> Agent {
    let agent = node.agent();
    drop(agent.start(WAITS).await);
    until(async || node.read("log") == "begin\n").await;
    agent
}

#[tokio::test]
async fn a_reload_that_ended_with_its_agent_runs_again() {
    let mut node = Node::new();
    let mut gate = node.gate("gate");
    begin(&node).await.end().await;
    let pid: u32 = node.read("pid").trim().parse().unwrap();
    until(async || muster_sys::process::start_ticks(pid).is_err()).await;
    node.reboot("boot-2", false);
    let agent = node.agent();
    gate.open();
    until(async || agent.outcomes().starts_with("Done")).await;
    assert_eq!(node.read("log"), "begin\nbegin\nend\n");
}

#[tokio::test]
async fn a_reload_that_rebooted_the_machine_is_done() {
    let mut node = Node::new();
    let _gate = node.gate("gate");
    begin(&node).await.end().await;
    node.reboot("boot-2", true);
    let agent = node.agent();
    until(async || agent.outcomes().starts_with("Done")).await;
    assert_eq!(node.read("log"), "begin\n");
    assert_eq!(last(&agent.apply(WAITS).await), "Done 0/2");
}

#[tokio::test]
async fn a_file_that_a_reboot_takes_away_is_reloaded() {
    let mut node = Node::on(tempfile::tempdir_in("/dev/shm").unwrap());
    let agent = node.agent();
    agent.apply(&document("1", "1")).await;
    agent.end().await;
    node.reboot("boot-2", false);
    fs_err::remove_file(node.root().join("run/b")).unwrap();
    let agent = node.agent();
    until(async || agent.outcomes().starts_with("Done")).await;
    assert_eq!(node.read("log"), "ran\na 1 web-1\nb 1\nb 1\n");
}

#[tokio::test]
async fn what_it_leaves_running_keeps_its_output() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    let document = "write_files: [{path: /a, content: x}]\n\
                    muster: {reload: [{name: x, files: [/a], command: '{ read x < gate; echo late; echo > ended; } & echo now'}]}\n";
    assert_eq!(last(&agent.apply(document).await), "Done 2/2");
    gate.open();
    until(async || exists(&node.root().join("ended"))).await;
    until(async || agent.logged(Some("reload[x]")).await == ["now", "late"]).await;
    let refused = agent.applier.apply(request(1, "muster: {reload: [{name: x, files: [/b], command: x}]}")).await;
    assert!(refused.unwrap_err().to_string().contains("no item of `write_files` writes `/b`"));
}
