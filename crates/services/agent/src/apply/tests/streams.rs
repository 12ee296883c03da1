//! Following a document while it is applied.

use std::sync::Arc;

use muster_api::ApplyEvent;
use muster_stdx::OnError;

use super::{Node, last, request, told, within, word};
use crate::apply::ApplyRefusal;
use crate::apply::run::Run;
use crate::apply::worker::Unwinding;

const WAITING: &str = "runcmd: [echo before, 'echo waiting; read x < gate; echo $x', echo after]";

/// Reads a stream up to the output of the step that waits.
async fn waits(events: &mut tokio::sync::mpsc::Receiver<ApplyEvent>) -> Vec<String> {
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "runcmd[1] > waiting") {
        words.push(word(&within(events.recv()).await.expect("the stream goes on")));
    }
    words
}

#[tokio::test]
async fn the_same_document_joins_from_the_start_and_another_is_refused() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    let mut first = agent.start(WAITING).await;
    let begun = waits(&mut first).await;
    let mut second = agent.start(WAITING).await;
    assert_eq!(waits(&mut second).await, begun);
    let refused = agent.applier.apply(request(1, "runcmd: [other]")).await.unwrap_err();
    assert!(matches!(refused, ApplyRefusal::Busy { .. }), "{refused}");
    drop(first);
    gate.open();
    let rest = told(second).await;
    let expected =
        ["runcmd[1] > go", "runcmd[1] done", "runcmd[2] 2/3", "runcmd[2] > after", "runcmd[2] done", "Done 3/3"];
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn the_work_goes_on_without_a_client() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    drop(agent.start(WAITING).await);
    gate.open();
    let words = agent.apply(WAITING).await;
    assert!(matches!(last(&words), "Done 3/3" | "Done 0/3"), "{words:?}");
    assert_eq!(agent.logged(None).await, ["before", "waiting", "go", "after"]);
}

#[tokio::test]
async fn logs_can_be_cut_and_followed() {
    let node = Node::new();
    let mut gate = node.gate("gate");
    let agent = node.agent();
    let mut events = agent.start(WAITING).await;
    waits(&mut events).await;
    let mut lines = agent.applier.logs(1, None, true).await.unwrap();
    let line = within(lines.recv()).await.unwrap();
    assert_eq!((line.step.as_str(), line.text.as_str()), ("runcmd[1]", "waiting"));
    gate.open();
    let mut rest = Vec::new();
    while let Some(line) = within(lines.recv()).await {
        rest.push(format!("{} {}", line.step, line.text));
    }
    assert_eq!(rest, ["runcmd[1] go", "runcmd[2] after"]);
    let mut lines = agent.applier.logs(2, None, false).await.unwrap();
    assert_eq!(within(lines.recv()).await.unwrap().text, "go");
}

#[tokio::test]
async fn endless_output_keeps_its_beginning_and_its_end() {
    let node = Node::new();
    let agent = node.agent();
    // About 6 MB.
    let document = "runcmd: ['echo first; i=0; while [ $i -lt 60000 ]; do i=$((i+1)); \
                    echo \"$i 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\"; done; \
                    echo last']";
    let events = agent.start(document).await;
    super::until(async || agent.outcomes().starts_with("Done")).await;
    let words = told(events).await;
    let lines = agent.logged(None).await;
    assert_eq!((lines.first().unwrap().as_str(), lines.last().unwrap().as_str()), ("first", "last"));
    assert_eq!(lines.iter().filter(|line| *line == crate::apply::log::LEFT_OUT).count(), 1);
    assert!(words.iter().any(|word| word.ends_with("> first")) && words.iter().any(|word| word.ends_with("> last")));
    let bytes: u64 = walk(&node.state_dir().join("apply/logs"));
    assert!((512 << 10..1200 << 10).contains(&bytes), "{bytes} bytes are kept");
}

fn walk(folder: &std::path::Path) -> u64 {
    let entries = fs_err::read_dir(folder).unwrap().map(Result::unwrap);
    let size = |entry: fs_err::DirEntry| {
        let found = entry.metadata().unwrap();
        if found.is_dir() { walk(&entry.path()) } else { found.len() }
    };
    entries.map(size).sum()
}

#[tokio::test]
async fn a_worker_that_panics_leaves_the_node_to_the_next_document() {
    let node = Node::new();
    let agent = node.agent();
    let document = "runcmd: [echo a >> log]";
    let parsed = muster_cloudinit::parse_document(document).unwrap();
    let run = Arc::new(Run::new(request(1, document).hash, &parsed, Vec::new()));
    let shared = Arc::clone(&agent.applier.shared);
    {
        let mut state = shared.lock();
        (state.run, state.busy) = (Some(Arc::clone(&run)), true);
    }
    run.started(0);
    let joined = agent.start(document).await;
    agent.supervisor.spawn("panics", OnError::Log, async move {
        let _unwinding = Unwinding { shared, run };
        tokio::task::yield_now().await;
        bug()
    });
    let words = told(joined).await;
    assert!(words[1].contains("an error of its own") && last(&words) == "Failed 0/1", "{words:?}");
    assert_eq!(last(&agent.apply(document).await), "Done 1/1");
    assert_eq!(node.read("log"), "a\n");
}

fn bug() -> Result<(), String> {
    panic!("as a bug would")
}

#[tokio::test]
async fn long_logs_are_counted_in_turns_with_others() {
    let node = Node::new();
    let agent = node.agent();
    agent.apply("runcmd: [seq 1 20000]").await;
    let mut lines = agent.applier.logs(1, None, false).await.unwrap();
    let mut turns = 0;
    let line = within(async {
        loop {
            tokio::select! {
                // Losing either is safe: a line is only taken by the receive that wins.
                biased;
                line = lines.recv() => return line,
                () = tokio::task::yield_now() => turns += 1,
            }
        }
    })
    .await;
    assert_eq!(line.unwrap().text, "20000");
    assert!(turns > 20, "{turns}");
}
