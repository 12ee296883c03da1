//! Runs a program of a bake: its output is kept in the log, told in short, and read when it fails.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use muster_provider::BakeProgress;

use crate::image::order::Order;
use crate::image::output::{Follower, cause};
use crate::image::worker::{WorkError, system, tell};

/// A program that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_mins(15);
/// A process that a script left behind may hold the output open; the last lines are there long before.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
const LINE_BYTES_MAX: u64 = 64 << 10;
const LINES_WAITING_MAX: usize = 256;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) struct Runner<'a> {
    order: &'a Order,
    log: File,
}

enum Heard {
    Line(String),
    EndOfOutput,
    Exited(io::Result<ExitStatus>),
}

impl<'a> Runner<'a> {
    pub(crate) fn new(order: &'a Order) -> Result<Self, WorkError> {
        let log = muster_stdx::append_private(&order.log).map_err(system("open the log"))?;
        Ok(Self { order, log: log.into_parts().0 })
    }

    /// Runs it to its end. `what` is what it does, for people.
    pub(crate) fn run(
        &self,
        program: &'static str,
        what: &'static str,
        arguments: &[&OsStr],
        environment: &[(&str, &OsStr)],
    ) -> Result<(), WorkError> {
        let (reader, writer) = io::pipe().map_err(system("make a pipe"))?;
        let second = writer.try_clone().map_err(system("make a pipe"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("HOME", "/root"), ("DEBIAN_FRONTEND", "noninteractive")])
            .envs(self.order.environment.iter().cloned())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(second)
            .spawn()
            .map_err(|source| WorkError::NoProgram { program, source })?;
        let (sender, heard) = sync_channel(LINES_WAITING_MAX);
        let lines = sender.clone();
        std::thread::spawn(move || read_lines(reader, &lines));
        std::thread::spawn(move || sender.send(Heard::Exited(child.wait())).ok());
        let mut follower = Follower::default();
        let mut status = None;
        loop {
            let patience = if status.is_some() { LAST_LINES_TIMEOUT } else { SILENCE_MAX };
            match heard.recv_timeout(patience) {
                Ok(Heard::Line(line)) => self.take(&line, &mut follower)?,
                Ok(Heard::Exited(result)) => status = Some(result.map_err(system("wait for a program"))?),
                Ok(Heard::EndOfOutput) if status.is_none() => {}
                Err(RecvTimeoutError::Timeout) if status.is_none() => return Err(WorkError::Silent(program)),
                Ok(Heard::EndOfOutput) | Err(_) => break,
            }
        }
        match status {
            Some(status) if status.success() => Ok(()),
            _ => Err(WorkError::Run { what, cause: cause(&follower.tail) }),
        }
    }

    fn take(&self, line: &str, follower: &mut Follower) -> Result<(), WorkError> {
        writeln!(&self.log, "{line}").map_err(system("write the log"))?;
        if let Some(BakeProgress { step, detail }) = follower.take(line) {
            tell(&step, &detail);
        }
        Ok(())
    }
}

fn read_lines(reader: io::PipeReader, heard: &SyncSender<Heard>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    // An error of a pipe is its end.
    while matches!(reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        // dpkg draws over its line while it counts.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default().to_owned();
        line.clear();
        if heard.send(Heard::Line(text)).is_err() {
            return;
        }
    }
    // The one who runs may have given up.
    heard.send(Heard::EndOfOutput).ok();
}
