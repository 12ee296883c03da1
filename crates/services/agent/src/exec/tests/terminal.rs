//! Commands on a terminal.

use muster_api::{FrameKind, WindowSize};

use super::client::{Client, QUICK, on_terminal, request, run, shell};

#[tokio::test]
async fn a_terminal_echoes_and_its_input_ends() {
    let mut client = Client::start(&on_terminal(request(&["cat"])), QUICK).await;
    client.send(FrameKind::Stdin, "hello\r").await;
    assert_eq!(client.until("hello\r\nhello\r\n").await, "hello\r\nhello\r\n");
    client.send(FrameKind::StdinClosed, "").await;
    assert_eq!(client.finish().await.exit.code, 0);
}

#[tokio::test]
async fn input_that_ends_inside_a_line_is_not_lost() {
    let mut client = Client::start(&on_terminal(shell("stty -echo; echo ready; exec cat")), QUICK).await;
    client.until("ready\r\n").await;
    client.send(FrameKind::Stdin, "no line end").await;
    client.send(FrameKind::StdinClosed, "").await;
    let outcome = client.finish().await;
    assert_eq!((outcome.text(), outcome.exit.code), ("no line end", 0));
}

#[tokio::test]
async fn the_window_has_its_size_and_changes_it() {
    let mut client = Client::start(&on_terminal(shell("stty -echo; stty size; read line; stty size")), QUICK).await;
    assert_eq!(client.until("\n").await, "24 80\r\n");
    let size = WindowSize { columns: 132, rows: 50 };
    client.send(FrameKind::Resize, serde_json::to_vec(&size).unwrap()).await;
    client.send(FrameKind::Stdin, "\r").await;
    assert_eq!(client.finish().await.text(), "50 132\r\n");
}

#[tokio::test]
async fn a_program_is_told_that_its_window_changed() {
    let script = "trap 'stty size; exit' WINCH; echo ready; while :; do read line; done";
    let mut client = Client::start(&on_terminal(shell(script)), QUICK).await;
    client.until("ready\r\n").await;
    let size = WindowSize { columns: 100, rows: 30 };
    client.send(FrameKind::Resize, serde_json::to_vec(&size).unwrap()).await;
    assert_eq!(client.finish().await.text(), "30 100\r\n");
}

#[tokio::test]
async fn the_terminal_controls_the_session() {
    let mut request = on_terminal(shell("echo here > /dev/tty; tty; echo $TERM"));
    let outcome = run(&request).await;
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert_eq!((lines[0], lines[2]), ("here", "xterm"));
    assert!(lines[1].starts_with("/dev/pts/"), "{lines:?}");
    request.env.insert("TERM".to_owned(), "screen".to_owned());
    assert!(run(&request).await.text().ends_with("screen\r\n"));
}

#[tokio::test]
async fn signals_go_to_the_job_in_the_foreground() {
    // With job control a job has a group of its own; the shell lives on and tells how the job ended.
    let script = "set -m; sh -c 'echo ready; exec sleep 1000'; echo after $?";
    let mut client = Client::start(&on_terminal(shell(script)), QUICK).await;
    client.until("ready\r\n").await;
    client.send(FrameKind::Signal, "15").await;
    let outcome = client.finish().await;
    assert!(outcome.text().contains("after 143"), "{outcome:?}");
    assert_eq!(outcome.exit.code, 0);
}

#[tokio::test]
async fn control_c_is_a_key() {
    let script = "trap 'echo caught; exit 3' INT; stty -echo; echo ready; while :; do read line; done";
    let mut client = Client::start(&on_terminal(shell(script)), QUICK).await;
    client.until("ready\r\n").await;
    client.send(FrameKind::Stdin, vec![3]).await;
    let outcome = client.finish().await;
    assert_eq!((outcome.text(), outcome.exit.code), ("caught\r\n", 3));
}

#[tokio::test]
async fn the_last_words_of_a_short_command_are_not_lost() {
    for round in 0..50 {
        let outcome = run(&on_terminal(shell("printf 'first\nlast'"))).await;
        assert_eq!((outcome.text(), outcome.exit.code), ("first\r\nlast", 0), "round {round}");
    }
}
