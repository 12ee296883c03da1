//! One run of the program: started, watched line by line, and ended, with a limit on every wait.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

/// Longer than any command of a test may take.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How long a file may stay open after the process that wrote to it has ended.
const END_OF_FILE_TIMEOUT: Duration = Duration::from_secs(10);
/// Output that is kept of each stream; a test that writes more is about something else.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// What a run of the program left: its exit code and its words.
#[derive(Debug, Clone)]
pub struct Output {
    pub command: String,
    /// As a shell shows it: 128 and the signal's number for a process that was ended by a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr, elapsed } = self;
        let seconds = elapsed.as_secs_f64();
        write!(f, "`{command}` ended with {code} after {seconds:.2} s\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

impl Output {
    /// Panics, showing everything, unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected {code}: {self}");
        self
    }

    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// The one document of `--json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self}"))
    }

    /// The events of `--jsonl`.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is not JSON: {error}"));
        self.stdout.lines().map(read).collect()
    }
}

#[derive(Default)]
struct Seen {
    stdout: Stream,
    stderr: Stream,
    ended: bool,
}

#[derive(Default)]
struct Stream {
    lines: Vec<String>,
    bytes: usize,
    closed: bool,
}

#[derive(Default)]
struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// False when the time is up before the condition holds.
    fn wait(&self, timeout: Duration, mut holds: impl FnMut(&mut Seen) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |seen| !holds(seen));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// A process of a test. It is killed, with its group, when this is dropped before its end was waited for.
pub struct Running {
    command: String,
    child: Child,
    board: Arc<Board>,
    start: Instant,
    /// Lines of stdout that `wait_line` has looked at.
    read: usize,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts any command; `Sandbox::command` gives one to change.
    pub fn start(mut command: Command) -> Self {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let program = command.get_program().to_owned();
        let name = std::path::Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        // A group of its own, so that a signal to it reaches neither this test nor its siblings.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.to_string_lossy()));
        let board = Arc::new(Board::default());
        let pid = Pid::from_raw(child.id().cast_signed());
        watch(&board, child.stdout.take().expect("it was piped"), |seen| &mut seen.stdout);
        watch(&board, child.stderr.take().expect("it was piped"), |seen| &mut seen.stderr);
        let waiting = Arc::clone(&board);
        std::thread::spawn(move || {
            // Does not reap: until `wait` does, the id is this process's and a signal cannot hit another one. An error
            // says that it has been reaped already.
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).ok();
            waiting.change(|seen| seen.ended = true);
        });
        Self { command: format!("{name} {words}"), child, board, start, read: 0, status: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether its process has not ended.
    pub fn is_running(&self) -> bool {
        !self.board.lock().ended
    }

    /// The next line of stdout for which `wanted` holds; `None` when stdout ends without one. Lines are looked at once.
    pub fn wait_line(&mut self, timeout: Duration, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
        let mut found = None;
        let read = &mut self.read;
        let in_time = self.board.wait(timeout, |seen| {
            while let (None, Some(line)) = (&found, seen.stdout.lines.get(*read)) {
                *read += 1;
                found = wanted(line).then(|| line.clone());
            }
            found.is_some() || seen.stdout.closed
        });
        assert!(in_time, "the line did not come within {timeout:?}: {}", self.so_far());
        found
    }

    /// What it has written to stderr until now.
    pub fn stderr(&self) -> String {
        self.board.lock().stderr.lines.concat()
    }

    /// Sends a signal to the process, not to its group.
    pub fn signal(&self, signal: Signal) {
        let result = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        result.unwrap_or_else(|error| panic!("cannot send {signal} to `{}`: {error}", self.command));
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(self) -> Output {
        self.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Waits until it has ended and everything that it wrote is read.
    pub fn wait(self) -> Output {
        self.wait_within(TIMEOUT)
    }

    /// As `wait`, for what takes longer: counted from its start.
    pub fn wait_within(mut self, limit: Duration) -> Output {
        let left = limit.saturating_sub(self.start.elapsed());
        assert!(self.board.wait(left, |seen| seen.ended), "it does not end: {}", self.so_far());
        self.status = Some(self.child.wait().expect("a child can be waited for"));
        let elapsed = self.start.elapsed();
        let closed = self.board.wait(END_OF_FILE_TIMEOUT, |seen| seen.stdout.closed && seen.stderr.closed);
        let output = Output { elapsed, ..self.so_far() };
        assert!(closed, "somebody still holds its output open: {output}");
        output
    }

    fn so_far(&self) -> Output {
        let seen = self.board.lock();
        let status = self.status;
        let code = status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
        Output {
            command: self.command.clone(),
            code: code.unwrap_or(-1),
            stdout: seen.stdout.lines.concat(),
            stderr: seen.stderr.lines.concat(),
            elapsed: self.start.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Not reaped yet, so both ids are still its own.
            kill(Pid::from_raw(-self.child.id().cast_signed()), Signal::SIGKILL).ok();
            self.child.wait().ok();
        }
    }
}

fn watch(board: &Arc<Board>, file: impl Read + Send + 'static, stream: fn(&mut Seen) -> &mut Stream) {
    let board = Arc::clone(board);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            board.change(|seen| {
                let stream = stream(seen);
                stream.bytes += line.len();
                assert!(stream.bytes <= OUTPUT_BYTES_MAX, "a test's program wrote more than {OUTPUT_BYTES_MAX} bytes");
                stream.lines.push(line);
            });
            bytes.clear();
        }
        board.change(|seen| stream(seen).closed = true);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start(command)
    }

    #[test]
    fn output_and_exit_code_are_kept() {
        let output = shell("echo one; echo two >&2; printf three; exit 3").wait().exits(3);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\nthree", "two\n"));
    }

    #[test]
    fn lines_are_seen_while_it_runs_and_a_kill_ends_it() {
        let mut running = shell("echo a; echo b; echo c; exec sleep 1000");
        let limit = Duration::from_secs(20);
        assert_eq!(running.wait_line(limit, |line| line == "b\n").as_deref(), Some("b\n"));
        assert_eq!(running.wait_line(limit, |_| true).as_deref(), Some("c\n"));
        assert!(running.is_running());
        let output = running.kill();
        assert_eq!((output.code, output.stdout.as_str()), (137, "a\nb\nc\n"));
    }

    #[test]
    fn a_line_that_never_comes_is_none_at_the_end() {
        let mut running = shell("echo a");
        assert_eq!(running.wait_line(Duration::from_secs(20), |line| line == "b\n"), None);
        running.wait().success();
    }

    #[test]
    fn dropping_ends_the_whole_group() {
        let mut running = shell("sleep 1000 & echo $!; wait");
        let line = running.wait_line(Duration::from_secs(20), |_| true).unwrap();
        drop(running);
        let stat = format!("/proc/{}/stat", line.trim());
        crate::wait_for("the child's end", Duration::from_secs(20), || {
            // Orphans become zombies until init reaps them.
            fs_err::read_to_string(&stat).map_or(true, |text| text.contains(") Z ")).then_some(())
        });
    }
}
