//! One run of a handler: what it is given, what it says, and how long it may take.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use muster_gossip::{Event, Member};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::spec::member_event_name;

/// The last bytes that are kept of what a handler says.
const OUTPUT_MAX: usize = 8 * 1024;
/// After a handler has ended: for what those say that it left behind.
const AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0}")]
    Start(std::io::Error),
    #[error("{}", status_text(*.status))]
    Status { status: ExitStatus },
    #[error("killed after {} s", .0.as_secs_f64())]
    Late(Duration),
}

/// Go's words.
fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unknown", nix::sys::signal::Signal::as_str);
            format!("signal: {}", name.trim_start_matches("SIG").to_lowercase())
        }
        (None, None) => "unknown".to_owned(),
    }
}

/// Who runs the handler.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) name: String,
    pub(crate) tags: std::sync::Arc<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) output: Vec<u8>,
    pub(crate) error: Option<RunError>,
}

/// The program gets a process group of its own: it outlives the agent, and is killed whole if it takes too long.
pub(crate) async fn run(script: &str, event: &Event, own: &Own, limit: Duration) -> Ran {
    let (reader, writer) = match std::io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return Ran { output: Vec::new(), error: Some(RunError::Start(error)) },
    };
    match start(script, event, own, (&reader, writer)) {
        Ok(child) => finish(child, reader, input(event), limit).await,
        Err(error) => Ran { output: Vec::new(), error: Some(RunError::Start(error)) },
    }
}

fn start(
    script: &str,
    event: &Event,
    own: &Own,
    (reader, output): (&std::io::PipeReader, std::io::PipeWriter),
) -> std::io::Result<tokio::process::Child> {
    // The program holds both ends: when the agent is gone, its next word must not be its last.
    let both = reader.try_clone()?;
    fcntl(&both, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).envs(environment(event, own)).process_group(0);
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    command.spawn()
}

async fn finish(mut child: tokio::process::Child, reader: std::io::PipeReader, input: Vec<u8>, limit: Duration) -> Ran {
    let mut output = Tail::default();
    let Ok(mut reader) = pipe::Receiver::from_owned_fd(reader.into()) else {
        return Ran { output: Vec::new(), error: Some(RunError::Start(std::io::ErrorKind::BrokenPipe.into())) };
    };
    let group = child.id();
    let stdin = child.stdin.take();
    let deadline = tokio::time::Instant::now() + limit;
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A handler need not read what it is given.
            stdin.write_all(&input).await.ok();
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        output.fill(&mut reader).await;
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        biased;
        // Neither feeding nor reading ends; what is not read yet is read below.
        () = feeding => None,
        status = child.wait() => Some(status),
        () = reading => None,
        () = tokio::time::sleep_until(deadline) => None,
    };
    let error = match ended {
        Some(Ok(status)) if status.success() => None,
        Some(Ok(status)) => Some(RunError::Status { status }),
        Some(Err(error)) => Some(RunError::Start(error)),
        None => {
            kill(group);
            child.wait().await.ok();
            Some(RunError::Late(limit))
        }
    };
    if !output.closed {
        // What it left behind may hold the pipe for ever.
        tokio::time::timeout(AFTER, output.fill(&mut reader)).await.ok();
    }
    Ran { output: output.bytes.into(), error }
}

fn kill(group: Option<u32>) {
    if let Some(group) = group.and_then(|group| i32::try_from(group).ok()) {
        // It may have just ended.
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// The last bytes of an output.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    closed: bool,
}

impl Tail {
    /// Until the output is closed by all who have it.
    async fn fill(&mut self, reader: &mut pipe::Receiver) {
        let mut piece = [0; 4096];
        loop {
            match reader.read(&mut piece).await {
                Ok(0) | Err(_) => {
                    self.closed = true;
                    return;
                }
                Ok(len) => {
                    self.bytes.extend(&piece[..len]);
                    let excess = self.bytes.len().saturating_sub(OUTPUT_MAX);
                    self.bytes.drain(..excess);
                }
            }
        }
    }
}

fn environment(event: &Event, own: &Own) -> Vec<(String, String)> {
    let role = own.tags.get("role").cloned().unwrap_or_default();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut pairs = vec![pair("SERF_SELF_NAME", &own.name), pair("SERF_SELF_ROLE", &role)];
    pairs.extend(own.tags.iter().map(|(key, value)| (format!("SERF_TAG_{}", variable(key)), value.clone())));
    match event {
        Event::Members { kind, .. } => pairs.push(pair("SERF_EVENT", member_event_name(*kind))),
        Event::User { time, name, .. } => pairs.extend([
            pair("SERF_EVENT", "user"),
            pair("SERF_USER_EVENT", name),
            pair("SERF_USER_LTIME", &time.to_string()),
        ]),
        Event::Query { query, name, .. } => pairs.extend([
            pair("SERF_EVENT", "query"),
            pair("SERF_QUERY_NAME", name),
            pair("SERF_QUERY_LTIME", &query.time.to_string()),
        ]),
        _ => {}
    }
    // A process cannot be given what has a zero byte in it.
    pairs.retain(|(key, value)| !key.contains('\0') && !value.contains('\0'));
    pairs
}

fn variable(tag: &str) -> String {
    let keep = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    tag.to_uppercase().chars().map(keep).collect()
}

fn input(event: &Event) -> Vec<u8> {
    match event {
        Event::Members { members, .. } => members.iter().map(member_line).collect::<String>().into_bytes(),
        Event::User { payload, .. } | Event::Query { payload, .. } => {
            let mut bytes = payload.clone();
            if bytes.last().is_some_and(|byte| *byte != b'\n') {
                bytes.push(b'\n');
            }
            bytes
        }
        _ => Vec::new(),
    }
}

/// Name, address, role and tags, with tabs between.
fn member_line(member: &Member) -> String {
    let escape = |text: &str| text.replace('\t', "\\t").replace('\n', "\\n");
    let tags: Vec<String> = member.tags.iter().map(|(key, value)| escape(&format!("{key}={value}"))).collect();
    let role = member.tags.get("role").map(|role| escape(role)).unwrap_or_default();
    format!("{}\t{}\t{role}\t{}\n", escape(&member.name), member.address.ip(), tags.join(","))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn own() -> Own {
        let tags = BTreeMap::from([("my-tag.x".to_owned(), "1".to_owned()), ("role".to_owned(), "web".to_owned())]);
        Own { name: "n1".to_owned(), tags: Arc::new(tags) }
    }

    fn user(payload: &str) -> Event {
        Event::User { time: 7, name: "deploy".to_owned(), payload: payload.into(), coalesce: false }
    }

    #[tokio::test]
    async fn a_handler_is_told_what_serf_tells_it() {
        let script = "echo $SERF_EVENT $SERF_USER_EVENT $SERF_USER_LTIME $SERF_SELF_NAME $SERF_SELF_ROLE \
                      $SERF_TAG_MY_TAG_X; cat; echo err >&2";
        let ran = run(script, &user("abc"), &own(), LIMIT).await;
        assert_eq!(String::from_utf8_lossy(&ran.output), "user deploy 7 n1 web 1\nabc\nerr\n");
        assert!(ran.error.is_none());
    }

    #[tokio::test]
    async fn of_a_long_output_the_end_is_kept() {
        let ran = run("yes x | head -c 100000; echo end; exit 3", &user(""), &own(), LIMIT).await;
        assert_eq!(ran.output.len(), OUTPUT_MAX);
        assert!(ran.output.ends_with(b"end\n"));
        assert_eq!(ran.error.unwrap().to_string(), "exit status 3");
    }

    #[tokio::test]
    async fn who_takes_too_long_is_killed_with_all_it_started() {
        let limit = Duration::from_millis(200);
        let ran = run("echo here; sleep 1000 & sleep 1000", &user(""), &own(), limit).await;
        assert_eq!(ran.error.unwrap().to_string(), "killed after 0.2 s");
        assert_eq!(ran.output, b"here\n", "the pipe was closed, so nobody is left");
    }

    #[tokio::test]
    async fn nobody_has_to_read_his_input() {
        let ran = run("exec 0<&-; echo fine", &user(&"x".repeat(500)), &own(), LIMIT).await;
        assert_eq!((ran.output.as_slice(), ran.error.is_none()), (&b"fine\n"[..], true));
    }
}
