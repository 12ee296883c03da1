//! Data in both directions, and how commands end.

use std::time::Duration;

use bytes::Bytes;
use muster_api::{FRAME_BYTES_MAX, FrameKind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::timeout;

use super::client::{Client, PATIENCE, QUICK, eventually, is_running, loopback, request, run, shell};
use crate::exec::{ExecError, Timing};

/// Every byte value, and no period that a frame or a pipe could hide.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn ten_mebibytes_go_through_both_ways_unchanged() {
    let data = noise(10 << 20);
    let Client { reader, mut writer, served, supervisor, .. } = Client::start(&request(&["cat"]), QUICK).await;
    let send = async {
        for part in data.chunks(FRAME_BYTES_MAX) {
            let mut wire = bytes::BytesMut::new();
            muster_api::Frame::new(FrameKind::Stdin, Bytes::copy_from_slice(part)).encode(&mut wire);
            writer.write_all(&wire).await.unwrap();
        }
        let mut wire = bytes::BytesMut::new();
        muster_api::Frame::new(FrameKind::StdinClosed, "").encode(&mut wire);
        writer.write_all(&wire).await.unwrap();
        writer
    };
    let receive = async {
        let mut frames = crate::exec::wire::FrameReader::new(reader);
        let mut received = Vec::new();
        loop {
            let frame = frames.next().await.unwrap();
            match frame.kind {
                FrameKind::Stdout => received.extend_from_slice(&frame.payload),
                FrameKind::Exit => return (received, frame.payload),
                kind => panic!("the agent sent {kind:?}"),
            }
        }
    };
    let (writer, (received, exit)) = timeout(PATIENCE, async { tokio::join!(send, receive) }).await.unwrap();
    assert_eq!(&exit[..], br#"{"code":0,"error":null}"#);
    assert!(received == data, "{} bytes came back for {}", received.len(), data.len());
    drop(writer);
    timeout(PATIENCE, served).await.unwrap().unwrap().unwrap();
    assert!(supervisor.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn the_two_outputs_and_the_code_come_apart() {
    let outcome = run(&shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!((outcome.text(), &outcome.stderr[..]), ("out\n", &b"err\n"[..]));
    assert_eq!((outcome.exit.code, outcome.exit.error), (7, None));
}

#[tokio::test]
async fn an_end_by_a_signal_is_128_and_its_number() {
    for (script, code) in [("kill -TERM $$", 143), ("kill -KILL $$", 137), ("ulimit -c 0; kill -SEGV $$", 139)] {
        assert_eq!(run(&shell(script)).await.exit.code, code, "{script}");
    }
}

#[tokio::test]
async fn the_end_of_input_reaches_the_command() {
    let mut client = Client::start(&request(&["wc", "-c"]), QUICK).await;
    client.send(FrameKind::Stdin, "12345").await;
    client.send(FrameKind::Stdin, "").await;
    client.send(FrameKind::Stdin, "678").await;
    client.send(FrameKind::StdinClosed, "").await;
    assert_eq!(client.finish().await.text().trim(), "8");
}

#[tokio::test]
async fn a_command_that_does_not_read_slows_the_client_down_but_hears_signals() {
    let mut client = Client::start(&request(&["sleep", "1000"]), QUICK).await;
    let mut wire = bytes::BytesMut::new();
    muster_api::Frame::new(FrameKind::Stdin, vec![0; FRAME_BYTES_MAX]).encode(&mut wire);
    // One frame is in the pipe, one waits for it; the queue has room for these.
    for _ in 0..3 {
        client.writer.write_all(&wire).await.unwrap();
    }
    client.send(FrameKind::Signal, "15").await;
    assert_eq!(client.finish().await.exit.code, 143);

    let mut client = Client::start(&request(&["sleep", "1000"]), QUICK).await;
    let mut taken = 0;
    // The time only says when to stop looking: an end without a limit would take all hundred.
    while taken < 100 && timeout(Duration::from_millis(300), client.writer.write_all(&wire)).await.is_ok() {
        taken += 1;
    }
    assert!((3..12).contains(&taken), "{taken} frames were taken");
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_command_down() {
    let mut client = Client::start(&shell("echo $$; read go; exec cat /dev/zero"), QUICK).await;
    let pid = client.pid().await;
    client.send(FrameKind::Stdin, "go\n").await;
    let written = || -> u64 {
        let io = fs_err::read_to_string(format!("/proc/{pid}/io")).unwrap();
        io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
    };
    let (mut last, mut same) = (0, 0);
    eventually("the command has stopped writing", || {
        let now = written();
        same = if now == last && now > 4096 { same + 1 } else { 0 };
        last = now;
        same == 20
    })
    .await;
    assert!(last < 1 << 20, "{last} bytes were taken from the command");
    assert!(matches!(client.vanish().await, Err(ExecError::ClientGone | ExecError::Write(_))));
    assert!(!is_running(pid));
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_cost_the_exit() {
    let (ours, theirs) = loopback().await;
    let timing = Timing { linger: PATIENCE, ..QUICK };
    let mut client = Client::over(ours, theirs, &request(&["true"]), timing).await;
    let mut wire = bytes::BytesMut::new();
    muster_api::Frame::new(FrameKind::Stdin, vec![0; FRAME_BYTES_MAX]).encode(&mut wire);
    for _ in 0..256 {
        timeout(PATIENCE, client.writer.write_all(&wire)).await.expect("input is stuck").unwrap();
    }
    // A connection that was closed with input under way would have been reset by now, and the frame lost.
    assert_eq!(client.finish().await.exit.code, 0);
    client.vanish().await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_close_does_not_hold_the_agent() {
    let mut client = Client::start(&request(&["true"]), QUICK).await;
    assert_eq!(client.finish().await.exit.code, 0);
    timeout(PATIENCE, &mut client.served).await.expect("the agent still waits").unwrap().unwrap();
}

#[tokio::test]
async fn a_process_left_behind_holds_the_output_but_not_the_exit() {
    let outcome = run(&shell("sleep 1000 & echo $!; echo done; exit 5")).await;
    let (pid, rest) = outcome.text().split_once('\n').unwrap();
    assert_eq!((rest, outcome.exit.code), ("done\n", 5));
    let pid: u32 = pid.parse().unwrap();
    assert!(is_running(pid), "what goes on in the background is the command's own affair");
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    eventually("the sleeper is gone", || !is_running(pid)).await;
}

#[tokio::test]
async fn a_process_left_behind_that_writes_on_does_not_keep_the_exit_back() {
    let outcome = run(&shell("yes > /dev/stderr & echo $!; exit 6")).await;
    assert_eq!(outcome.exit.code, 6);
    let pid: u32 = outcome.text().trim().parse().unwrap();
    eventually("it met a closed pipe", || !is_running(pid)).await;
}

#[tokio::test]
async fn what_was_written_before_the_exit_arrives_at_a_slow_client() {
    // No grace at all, so that what is in the pipes is all there is. What the agent looks at first is left to chance,
    // hence the rounds.
    let timing = Timing { output: Duration::ZERO, ..QUICK };
    let script = "sleep 1000 & echo $! $$; read go; head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; exit 4";
    for _ in 0..40 {
        let (ours, theirs) = duplex(64);
        let mut client = Client::over(ours, theirs, &shell(script), timing).await;
        let text = client.until("\n").await;
        let pids: Vec<u32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        client.send(FrameKind::Stdin, "go\n").await;
        // Until then nothing more is read, so that the end of the command finds its output in the pipes.
        eventually("the command has ended", || !is_running(pids[1])).await;
        let outcome = client.finish().await;
        kill(Pid::from_raw(pids[0].cast_signed()), Signal::SIGKILL).unwrap();
        assert_eq!((outcome.stdout.len(), outcome.stderr.len(), outcome.exit.code), (60000, 60000, 4));
    }
}

#[tokio::test]
async fn outputs_that_are_closed_early_do_not_end_a_command() {
    let mut client = Client::start(&shell("exec >&- 2>&-; read line; exit $line"), QUICK).await;
    // A sign of life: the stream is open although nothing can come.
    assert_eq!((client.recv().await.kind, client.recv().await.payload.len()), (FrameKind::Stdout, 0));
    client.send(FrameKind::Stdin, "9\n").await;
    assert_eq!(client.finish().await.exit.code, 9);
}
