//! Checks against real ports, servers and commands.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use muster_api::{Check, CheckEvent, CheckKind, CheckState};
use muster_stdx::{OnError, Supervisor};
use muster_sys::process::start_ticks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Far more than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG_MS: u64 = 60_000;

/// Number of the check, its state, and the reason.
type Seen = (usize, CheckState, String);

fn check(kind: CheckKind, timeout_ms: u64) -> Check {
    Check { kind, timeout_ms }
}

fn words(words: &[&str]) -> CheckKind {
    CheckKind::Command { command: words.iter().map(|word| (*word).to_owned()).collect() }
}

fn start(checks: Vec<Check>) -> (mpsc::Receiver<CheckEvent>, Supervisor) {
    let supervisor = Supervisor::new();
    (super::run(checks, HERE, &supervisor), supervisor)
}

async fn next(events: &mut mpsc::Receiver<CheckEvent>) -> Option<Seen> {
    let event = timeout(PATIENCE, events.recv()).await.expect("no event came")?;
    Some((event.index, event.state, event.reason.unwrap_or_default()))
}

async fn all(checks: Vec<Check>) -> Vec<Seen> {
    let (mut events, _supervisor) = start(checks);
    let mut seen = Vec::new();
    while let Some(event) = next(&mut events).await {
        seen.push(event);
    }
    seen
}

fn waiting(reason: &str) -> Seen {
    (0, CheckState::Waiting, reason.to_owned())
}

fn passed() -> Seen {
    (0, CheckState::Passed, String::new())
}

async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "{what}: still not");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The process id that a command wrote into a file.
async fn pid_in(path: &Path) -> u32 {
    let mut pid = None;
    eventually("the command has started", || {
        let text = fs_err::read_to_string(path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    })
    .await;
    pid.unwrap()
}

async fn assert_gone(pid: u32) {
    eventually(&format!("process {pid} is gone"), || start_ticks(pid).is_err()).await;
}

/// A command that says who it is and then hangs, together with a child.
fn hanging(folder: &Path) -> CheckKind {
    words(&[&format!("echo $$ > {}/pid; sleep 1000 & sleep 1000", folder.display())])
}

#[tokio::test]
async fn a_port_that_opens_later_passes_then() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let (mut events, _supervisor) = start(vec![check(CheckKind::Port { port }, LONG_MS)]);
    let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.check.as_str(), event.reason.as_deref()), (&*format!("port {port}"), Some("connection refused")));
    let _listener = socket.listen(8).unwrap();
    assert_eq!(next(&mut events).await, Some(passed()));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_port_of_another_address_does_not_count() {
    // The number is held on both addresses and listened to on one. Somebody else may have it on one of them already.
    let held = async || {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        let port = listener.local_addr().unwrap().port();
        socket.bind((HERE, port).into()).ok().map(|()| (listener, socket, port))
    };
    let mut found = None;
    for _ in 0..100 {
        found = held().await;
        if found.is_some() {
            break;
        }
    }
    let (_listener, _socket, port) = found.expect("a number that is free on both addresses");
    let seen = all(vec![check(CheckKind::Port { port }, 0)]).await;
    assert_eq!(seen, [(0, CheckState::Failed, "connection refused".to_owned())]);
}

#[tokio::test]
async fn every_change_of_reason_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    fs_err::write(&path, "noise\none\n\n").unwrap();
    let tries = folder.path().join("tries");
    let script = format!("echo x >> {}; ! cat {} 2>/dev/null", tries.display(), path.display());
    let (mut events, _supervisor) = start(vec![check(words(&[&script]), LONG_MS)]);
    assert_eq!(next(&mut events).await, Some(waiting("one")));
    eventually("it was tried again", || fs_err::read_to_string(&tries).unwrap().len() >= 6).await;
    muster_stdx::write_atomic(&path, b"two", 0o600).unwrap();
    assert_eq!(next(&mut events).await, Some(waiting("two")));
    fs_err::remove_file(&path).unwrap();
    assert_eq!(next(&mut events).await, Some(passed()));
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_command_passes_when_its_file_appears() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a name with blanks");
    let kind = words(&["test", "-e", path.to_str().unwrap()]);
    let (mut events, _supervisor) = start(vec![check(kind, LONG_MS)]);
    assert_eq!(next(&mut events).await, Some(waiting("it ended with code 1")));
    fs_err::write(&path, "").unwrap();
    assert_eq!(next(&mut events).await, Some(passed()));
}

#[tokio::test]
async fn one_word_is_for_the_shell_and_several_are_not() {
    assert_eq!(all(vec![check(words(&["false; true"]), 0)]).await, [passed()]);
    let seen = all(vec![check(words(&["false", "; true"]), 0)]).await;
    assert_eq!(seen, [(0, CheckState::Failed, "it ended with code 1".to_owned())]);
    let seen = all(vec![check(words(&["kill -9 $$"]), 0)]).await;
    assert_eq!(seen, [(0, CheckState::Failed, "it was ended by signal 9".to_owned())]);
    let seen = all(vec![check(words(&["/no/such/program", "x"]), 0)]).await;
    assert!(seen[0].2.contains("No such file"), "{seen:?}");
}

#[tokio::test]
async fn the_last_reason_is_told_when_the_time_is_up() {
    let script =
        "head -c 300000 /dev/zero | tr '\\0' x; echo; echo to stdout; printf 'to\\033[31m stderr\\n' >&2; exit 3";
    let seen = all(vec![check(words(&[script]), 300)]).await;
    let states: Vec<CheckState> = seen.iter().map(|(_, state, _)| *state).collect();
    assert_eq!(states, [CheckState::Waiting, CheckState::Failed]);
    assert!(seen.iter().all(|(_, _, reason)| reason == "to [31m stderr"), "{seen:?}");
}

#[tokio::test]
async fn a_long_last_line_is_cut() {
    let seen = all(vec![check(words(&["printf '%01000d' 0; exit 1"]), 0)]).await;
    assert_eq!(seen[0].2, format!("{}…", "0".repeat(200)));
}

#[tokio::test]
async fn a_command_that_hangs_is_ended_with_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let (mut events, _supervisor) = start(vec![check(hanging(folder.path()), 1000)]);
    let pid = pid_in(&folder.path().join("pid")).await;
    let (_, state, reason) = next(&mut events).await.unwrap();
    assert_eq!(state, CheckState::Failed);
    assert!(reason.starts_with("no answer within "), "{reason}");
    assert_gone(pid).await;
}

#[tokio::test]
async fn an_earlier_reason_says_more_than_that_the_time_ran_out() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!("test -e {0} && sleep 1000; touch {0}; echo not yet; exit 1", seen.display());
    let events = all(vec![check(words(&[&script]), 500)]).await;
    let states: Vec<CheckState> = events.iter().map(|(_, state, _)| *state).collect();
    assert_eq!(states, [CheckState::Waiting, CheckState::Failed]);
    assert!(events.iter().all(|(_, _, reason)| reason == "not yet"), "{events:?}");
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}", path.display());
    assert_eq!(all(vec![check(words(&[&script]), LONG_MS)]).await, [passed()]);
    assert_gone(pid_in(&path).await).await;
}

#[tokio::test]
async fn dropping_the_receiver_ends_the_checks() {
    let folder = tempfile::tempdir().unwrap();
    let (events, supervisor) = start(vec![check(hanging(folder.path()), LONG_MS)]);
    let pid = pid_in(&folder.path().join("pid")).await;
    drop(events);
    assert_gone(pid).await;
    assert!(supervisor.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn one_that_fails_for_good_ends_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let pid_path = folder.path().join("pid");
    let fails = words(&[&format!("test -e {} && exit 7; exit 8", pid_path.display())]);
    let seen = all(vec![check(hanging(folder.path()), LONG_MS), check(fails, 500)]).await;
    assert_eq!(seen.last(), Some(&(1, CheckState::Failed, "it ended with code 7".to_owned())));
    assert_gone(pid_in(&pid_path).await).await;
}

#[tokio::test]
async fn what_can_never_pass_fails_at_once() {
    for kind in [words(&[]), CheckKind::Url { url: "ftp://here/".to_owned() }, CheckKind::Url { url: String::new() }] {
        let seen = all(vec![check(kind.clone(), LONG_MS)]).await;
        assert!(matches!(&seen[..], [(0, CheckState::Failed, _)]), "{kind:?}: {seen:?}");
    }
}

#[tokio::test]
async fn ping_and_agent_pass_and_no_timeout_is_too_long() {
    assert_eq!(all(Vec::new()).await, []);
    let kinds = [CheckKind::Ping, CheckKind::Agent, words(&["true"])];
    let mut seen = all(kinds.into_iter().map(|kind| check(kind, u64::MAX)).collect()).await;
    seen.sort_by_key(|(index, _, _)| *index);
    let expected: Vec<_> = (0..3).map(|index| (index, CheckState::Passed, String::new())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn many_checks_at_once_all_get_their_turn() {
    let checks = (0..100).map(|_| check(words(&["true"]), LONG_MS)).collect();
    let seen = all(checks).await;
    assert_eq!(seen.len(), 100);
    assert!(seen.iter().all(|(_, state, _)| *state == CheckState::Passed));
}

/// Answers each connection with the next of these, and with the last from then on.
async fn serve(supervisor: &Supervisor, answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    supervisor.spawn("server", OnError::Log, async move {
        let mut served = 0;
        loop {
            let (mut stream, _) = listener.accept().await?;
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await? > 0 {}
            let answer = answers[served.min(answers.len() - 1)];
            served += 1;
            stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
        }
        #[expect(unreachable_code, reason = "it gives the block its type")]
        Ok::<(), std::io::Error>(())
    });
    address
}

#[tokio::test]
async fn a_url_passes_with_its_first_good_answer() {
    let servers = Supervisor::new();
    let address = serve(&servers, &["503 Busy", "503 Busy", "404 Not Found", "200 OK"]).await;
    let (mut events, _supervisor) = start(vec![check(CheckKind::Url { url: format!("http://{address}/x") }, LONG_MS)]);
    assert_eq!(next(&mut events).await, Some(waiting("it answers with status 503")));
    assert_eq!(next(&mut events).await, Some(waiting("it answers with status 404")));
    assert_eq!(next(&mut events).await, Some(passed()));
    assert!(servers.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn a_url_may_name_its_host_and_redirect() {
    let servers = Supervisor::new();
    let address = serve(&servers, &["302 Found"]).await;
    let url = format!("http://localhost:{}/", address.port());
    assert_eq!(all(vec![check(CheckKind::Url { url }, LONG_MS)]).await.last(), Some(&passed()));
    assert!(servers.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn urls_that_do_not_answer_say_why() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((HERE, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let silent = TcpListener::bind((HERE, 0)).await.unwrap();
    let cases = [
        (format!("http://127.0.0.1:{port}/"), "connection refused"),
        (format!("http://{}/", silent.local_addr().unwrap()), "no answer within 1 s"),
        ("http://-x/".to_owned(), "`-x` is not a host name"),
    ];
    for (url, reason) in cases {
        let seen = all(vec![check(CheckKind::Url { url: url.clone() }, 0)]).await;
        assert_eq!(seen, [(0, CheckState::Failed, reason.to_owned())], "{url}");
    }
}
