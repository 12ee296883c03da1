//! Clients that go away or send what they may not.

use muster_api::{ExecRequest, FRAME_BYTES_MAX, Frame, FrameKind};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::client::{Client, PATIENCE, QUICK, eventually, is_running, loopback, on_terminal, shell};
use crate::exec::{ExecError, Timing};

/// Prints the ids of the shell and of its child, which live in one group.
const FAMILY: &str = "sleep 1000 & echo $$ $!; wait; wait";

async fn family(client: &mut Client<tokio::io::DuplexStream>) -> Vec<u32> {
    client.until("\n").await.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

async fn assert_gone(pids: &[u32]) {
    for pid in pids {
        // A process outlives its kill by a moment.
        eventually(&format!("process {pid} is gone"), || !is_running(*pid)).await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_command_along() {
    for request in [shell(FAMILY), on_terminal(shell(FAMILY))] {
        let mut client = Client::start(&request, QUICK).await;
        let pids = family(&mut client).await;
        assert_eq!(pids.len(), 2);
        assert!(pids.iter().all(|pid| is_running(*pid)));
        assert!(matches!(client.vanish().await, Err(ExecError::ClientGone | ExecError::Write(_))));
        assert_gone(&pids).await;
    }
}

#[tokio::test]
async fn one_that_ignores_the_hangup_is_killed() {
    for request in [shell(&format!("trap '' HUP; {FAMILY}")), on_terminal(shell(&format!("trap '' HUP; {FAMILY}")))] {
        let mut client = Client::start(&request, QUICK).await;
        let pids = family(&mut client).await;
        client.vanish().await.unwrap_err();
        assert_gone(&pids).await;
    }
}

#[tokio::test]
async fn a_child_that_ignores_the_hangup_is_killed_although_its_parent_has_ended() {
    let child = "sh -c 'trap \"\" HUP; echo $PPID $$; exec sleep 1000' & wait";
    let mut client = Client::start(&shell(child), QUICK).await;
    let pids = family(&mut client).await;
    client.vanish().await.unwrap_err();
    assert_gone(&pids).await;
}

/// `timeout` makes a group of its own.
#[tokio::test]
async fn groups_within_the_command_are_ended_too() {
    for script in [
        "timeout 1000 sh -c 'echo $PPID $$; sleep 1000 & wait' & wait",
        "timeout 1000 sh -c 'trap \"\" HUP; echo $PPID $$; exec sleep 1000' & wait",
        "(sh -c 'echo $PPID $$; exec timeout 1000 sleep 1000' & wait) & wait",
    ] {
        let mut client = Client::start(&shell(script), QUICK).await;
        let pids = family(&mut client).await;
        assert_eq!(pids.len(), 2, "{script}");
        client.vanish().await.unwrap_err();
        assert_gone(&pids).await;
    }
}

#[tokio::test]
async fn one_that_is_stopped_is_ended_too() {
    // The hangup itself ends it; nobody waits this long.
    let timing = Timing { hangup: 2 * PATIENCE, ..QUICK };
    let mut client = Client::start(&shell(FAMILY), timing).await;
    let pids = family(&mut client).await;
    client.send(FrameKind::Signal, libc::SIGSTOP.to_string()).await;
    let stat = format!("/proc/{}/stat", pids[0]);
    eventually("it has stopped", || fs_err::read_to_string(&stat).unwrap().contains(") T ")).await;
    client.vanish().await.unwrap_err();
    assert_gone(&pids).await;
}

#[tokio::test]
async fn a_command_may_clean_up_when_its_client_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'echo cleaned > done; exit' HUP; echo ready; while :; do sleep 0.01; done";
    let cwd = Some(folder.path().to_str().unwrap().to_owned());
    // The agent waits no longer than the command needs.
    let timing = Timing { hangup: PATIENCE, ..QUICK };
    let mut client = Client::start(&ExecRequest { cwd, ..shell(script) }, timing).await;
    client.until("ready\n").await;
    client.vanish().await.unwrap_err();
    assert_eq!(fs_err::read_to_string(folder.path().join("done")).unwrap(), "cleaned\n");
}

#[tokio::test]
async fn a_dropped_exec_leaves_no_process() {
    let mut client = Client::start(&shell(&format!("trap '' HUP TERM; {FAMILY}")), QUICK).await;
    let pids = family(&mut client).await;
    assert!(client.supervisor.shutdown(PATIENCE).await);
    assert_gone(&pids).await;
}

/// `cat > new && mv new old` must not take half of its input for the whole.
#[tokio::test]
async fn input_that_breaks_off_is_not_taken_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = format!("echo $$; while read line; do :; done; : > {}", mark.display());
    for round in 0..100 {
        let mut client = Client::start(&shell(&script), QUICK).await;
        let pid = client.pid().await;
        client.send(FrameKind::Stdin, "half of it").await;
        if round % 2 == 0 {
            client.vanish().await.unwrap_err();
        } else {
            assert!(client.supervisor.shutdown(PATIENCE).await);
        }
        assert_gone(&[pid]).await;
        assert!(!mark.exists(), "round {round}");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_with_input_under_way_is_noticed() {
    let (ours, theirs) = loopback().await;
    let mut client = Client::over(ours, theirs, &shell("echo $$; exec sleep 1000"), QUICK).await;
    let pid = client.pid().await;
    // Fills every buffer on the way: the agent does not read any more, so it does not see the end of the stream.
    let mut wire = bytes::BytesMut::new();
    Frame::new(FrameKind::Stdin, vec![0; FRAME_BYTES_MAX]).encode(&mut wire);
    let wait = std::time::Duration::from_millis(200);
    while timeout(wait, client.writer.write_all(&wire)).await.is_ok() {}
    assert!(matches!(client.vanish().await, Err(ExecError::Write(_) | ExecError::Read(_))));
    assert_gone(&[pid]).await;
}

#[tokio::test]
async fn frames_that_may_not_come_end_the_command() {
    let cases = [
        (FrameKind::Request, "{}"),
        (FrameKind::Stdout, "x"),
        (FrameKind::Exit, "{}"),
        (FrameKind::Signal, "KILL"),
        (FrameKind::Signal, "0"),
        (FrameKind::Signal, "65"),
        (FrameKind::Signal, "-9"),
        (FrameKind::Resize, "wide"),
    ];
    for (kind, payload) in cases {
        let mut client = Client::start(&shell(FAMILY), QUICK).await;
        let pids = family(&mut client).await;
        client.send(kind, payload).await;
        let error = timeout(PATIENCE, client.served).await.unwrap().unwrap().unwrap_err();
        let expected = matches!(&error, ExecError::Unexpected(found) | ExecError::Payload(found) if *found == kind);
        assert!(expected, "{kind:?} {payload}: {error}");
        assert_gone(&pids).await;
    }
}
