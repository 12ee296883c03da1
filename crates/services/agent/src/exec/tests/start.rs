//! What a command starts with, and what is said when it does not start.

use std::os::unix::fs::PermissionsExt as _;

use muster_api::{ExecRequest, Frame, FrameKind};
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::timeout;

use super::client::{Client, PATIENCE, QUICK, on_terminal, request, run, shell};
use crate::exec::ExecError;

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

#[tokio::test]
async fn the_environment_is_clean_and_the_request_has_the_last_word() {
    let mut request = request(&["/usr/bin/env"]);
    request.env.insert("GREETING".to_owned(), "a=b c".to_owned());
    request.env.insert("SHELL".to_owned(), "/bin/other".to_owned());
    let outcome = run(&request).await;
    let mut names: Vec<&str> = outcome.text().lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GREETING", "HOME", "LOGNAME", "PATH", "SHELL", "USER"]);
    assert!(outcome.text().contains("GREETING=a=b c\n"));
    assert!(outcome.text().contains("SHELL=/bin/other\n"));
}

#[tokio::test]
async fn a_path_of_the_request_finds_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("only-here");
    fs_err::write(&program, "#!/bin/sh\necho found\n").unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut request = request(&["only-here"]);
    assert_eq!(run(&request).await.exit.code, 127);
    request.env.insert("PATH".to_owned(), folder.path().to_str().unwrap().to_owned());
    assert_eq!(run(&request).await.text(), "found\n");
}

#[tokio::test]
async fn signals_files_and_mask_are_those_of_a_login() {
    let outcome = run(&shell("umask; grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd")).await;
    let zero = "0000000000000000";
    // File 3 is the folder that `ls` reads.
    assert_eq!(outcome.text(), format!("0022\nSigBlk:\t{zero}\nSigIgn:\t{zero}\n0\n1\n2\n3\n"));
}

#[tokio::test]
async fn the_folder_is_the_one_asked_for_else_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let there = ExecRequest { cwd: Some(path.clone()), ..request(&["pwd"]) };
    assert_eq!(run(&there).await.text().trim(), path);
    let home = run(&shell("test \"$PWD\" = \"$HOME\" && echo home")).await;
    assert_eq!(home.text(), "home\n");
    let nowhere = ExecRequest { cwd: Some("/no/such/folder".to_owned()), ..request(&["pwd"]) };
    let exit = run(&nowhere).await.exit;
    assert_eq!(exit.code, 126);
    let error = exit.error.unwrap();
    assert!(error.contains("/no/such/folder") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_user_is_switched_to_with_its_groups_and_nothing_else() {
    if !is_root() {
        return;
    }
    let script = "id -u; id -g; id -G; echo $USER $LOGNAME $HOME; pwd; cat /etc/shadow";
    let nobody = ExecRequest { user: Some("nobody".to_owned()), ..shell(script) };
    for request in [nobody.clone(), ExecRequest { user: Some("65534".to_owned()), ..nobody }] {
        let outcome = run(&request).await;
        // The home of nobody is not there, so it starts at the root.
        assert_eq!(outcome.text(), "65534\n65534\n65534\nnobody nobody /nonexistent\n/\n");
        assert!(String::from_utf8_lossy(&outcome.stderr).contains("Permission denied"));
    }
}

#[tokio::test]
async fn the_terminal_of_another_user_is_its_own() {
    if !is_root() {
        return;
    }
    let request = ExecRequest { user: Some("nobody".to_owned()), ..shell("echo opened > $(tty); stat -c %U $(tty)") };
    assert_eq!(run(&on_terminal(request)).await.text(), "opened\r\nnobody\r\n");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs_err::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = ExecRequest { user: Some("no-such-user".to_owned()), ..request(&["true"]) };
    let mut name = request(&["true"]);
    name.env.insert("A=B".to_owned(), String::new());
    let cases = [
        (request(&[]), 127, "no command"),
        (request(&["", "x"]), 127, "no command"),
        (request(&["no-such-program"]), 127, "no folder of PATH on this node has `no-such-program`"),
        (request(&["/no/such/program"]), 127, "there is no `/no/such/program`"),
        (request(&["/etc/passwd/x"]), 127, "there is no `/etc/passwd/x`"),
        (request(&[script.to_str().unwrap()]), 127, "what its first line names"),
        (request(&["/etc/passwd"]), 126, "Permission denied"),
        (request(&["/etc"]), 126, "Permission denied"),
        (request(&["true", "a\0b"]), 126, "zero byte"),
        (user, 126, "no-such-user"),
        (name, 126, "`A=B`"),
    ];
    for (request, code, text) in cases {
        for request in [request.clone(), on_terminal(request)] {
            let outcome = run(&request).await;
            let error = outcome.exit.error.unwrap_or_default();
            assert_eq!(outcome.exit.code, code, "{request:?}: {error}");
            assert!(error.contains(text), "{request:?}: {error}");
            assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        }
    }
}

/// Sends these bytes first, and returns how the agent's end ended.
async fn first_bytes(bytes: &[u8]) -> ExecError {
    let (ours, theirs) = duplex(1024);
    let mut client = Client::silent(ours, theirs, QUICK);
    client.writer.write_all(bytes).await.unwrap();
    timeout(PATIENCE, client.served).await.unwrap().unwrap().unwrap_err()
}

fn wire(kind: FrameKind, payload: &'static str) -> Vec<u8> {
    let mut wire = bytes::BytesMut::new();
    Frame::new(kind, payload).encode(&mut wire);
    wire.to_vec()
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_request_is_refused() {
    assert!(matches!(first_bytes(&wire(FrameKind::Stdin, "x")).await, ExecError::Unexpected(FrameKind::Stdin)));
    assert!(matches!(first_bytes(&wire(FrameKind::Request, "{}")).await, ExecError::Request(_)));
    assert!(matches!(first_bytes(b"GET / HTTP/1.1\r\n").await, ExecError::Frame(_)));
    // Half a frame, and then silence.
    assert!(matches!(first_bytes(&[0, 0, 0]).await, ExecError::NoRequest));
}
