//! Runs the commands of one list that have not run yet, in one shell.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_api::LogStream;
use muster_cloudinit::{Section, StepKind};
use muster_stdx::OnError;

use super::journal::{Memo, Started};
use super::shell::{self, Places, SHELL, SessionEvent, Told, Unit};
use super::steps::StepError;
use super::tool::{self, Output, StepLog};
use super::worker::{Stop, Worker, broken, milliseconds, pending};

/// How long a shell may take to end after a command of it has failed; it may have a trap that cleans up.
const EXIT_WAIT: Duration = Duration::from_secs(10);

/// A unit that runs.
struct Current {
    unit: usize,
    log: StepLog,
    begun: Instant,
}

/// What is known of one list while its shell runs.
struct Script {
    /// Steps of the document, by their place in the list of what is to run.
    pending: Vec<usize>,
    units: Vec<Unit>,
    current: Option<Current>,
    /// The last unit has said that it ended well, and the shell is about to end.
    closing: bool,
    state: PathBuf,
    new_state: PathBuf,
}

impl Worker {
    pub(super) async fn commands(&mut self, section: Section, range: Range<usize>) -> Result<(), Stop> {
        let pending = pending(self, section, range.clone());
        for index in range.clone().filter(|index| !pending.contains(index)) {
            self.pass_over(index);
        }
        let Some(&first) = pending.first() else { return Ok(()) };
        self.commands_ran = true;
        let prepared = self.prepare(section, pending, first == range.start).await;
        let (mut script, command) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.fail_unstarted(first, error)),
        };
        self.drive(&mut script, command).await
    }

    fn fail_unstarted(&self, index: usize, error: io::Error) -> Stop {
        self.run.started(index);
        let error = broken(error);
        self.fail(index, 0, error.exit_code(), error.tell())
    }

    /// Writes the script. A shell that goes on after an earlier one is given that one's folder and variables.
    async fn prepare(&self, section: Section, pending: Vec<usize>, is_first: bool) -> io::Result<(Script, Process)> {
        let folder = &self.shared.scratch;
        let file = |suffix: &str| folder.join(format!("{}.{suffix}", section.key()));
        let (state, new_state, restore) = (file("state"), file("state-new"), file("restore"));
        let items: Vec<&str> = pending.iter().map(|index| self.text(*index)).collect();
        let units = shell::units(&items, &file("units")).await?;
        if is_first {
            remove(&state)?;
        }
        let restored = match fs_err::read(&state) {
            Ok(text) => shell::restore_text(&String::from_utf8_lossy(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(text) = &restored {
            shell::write_private(&restore, text)?;
        }
        let texts: Vec<String> = units.iter().map(|unit| unit.text.clone()).collect();
        // Its name is what the shell begins its complaints with.
        let path = folder.join(section.key());
        let restore = restored.is_some().then_some(restore.as_path());
        let places = Places { start: self.shared.machine.root(), state: &new_state, restore };
        shell::write_private(&path, &shell::script(&texts, places))?;
        let mut command = tool::command(Path::new(SHELL), &[]);
        command.arg(section.key()).current_dir(folder);
        shell::login(&mut command, self.shared.machine.node());
        Ok((Script { pending, units, current: None, closing: false, state, new_state }, command))
    }

    fn text(&self, index: usize) -> &str {
        match &self.document.steps[index].kind {
            StepKind::Command(command) => &command.text,
            _ => unreachable!("only commands are in a list of commands"),
        }
    }

    async fn drive(&self, script: &mut Script, command: Process) -> Result<(), Stop> {
        let mut session = match shell::Session::start(command) {
            Ok(session) => session,
            Err(error) => return Err(self.fail_unstarted(script.pending[0], error)),
        };
        let process = session.process_id();
        loop {
            let told = match session.next().await.map_err(|error| self.fail_current(script, &broken(error)))? {
                SessionEvent::Output(stream, length) => {
                    self.output(script, stream, session.bytes(stream, length))?;
                    continue;
                }
                SessionEvent::Told(told) => told,
            };
            match told {
                Told::Ready => self.begin(script, 0, process)?,
                Told::Ended { unit, code: 0 } => self.go_on(script, unit, process)?,
                Told::Ended { code, .. } => return Err(self.stop(script, session, code).await),
                Told::Exited(code) => {
                    self.exited(script, code)?;
                    if let Some(last) = script.units.last() {
                        self.keep_listening(script.pending[last.first], session.into_output());
                    }
                    return Ok(());
                }
            }
            session.answer(true).await.map_err(|error| self.fail_current(script, &broken(error)))?;
        }
    }

    /// Output before the first unit is the shell's own complaint about the script.
    fn output(&self, script: &mut Script, stream: LogStream, data: &[u8]) -> Result<(), Stop> {
        if script.current.is_none() {
            script.current = Some(self.current(script, 0)?);
        }
        let Some(current) = &mut script.current else { return Ok(()) };
        current.log.output(stream, data).map_err(|error| self.fail_current(script, &StepError::Log(error)))
    }

    fn current(&self, script: &Script, unit: usize) -> Result<Current, Stop> {
        let index = script.pending[script.units[unit].first];
        self.run.started(index);
        let begun = Instant::now();
        match self.shared.logs.writer(self.document.steps[index].id.as_str()) {
            Ok(writer) => Ok(Current { unit, log: StepLog::new(writer, Arc::clone(&self.run), index), begun }),
            Err(error) => Err(self.fail(index, 0, None, StepError::Log(error).tell())),
        }
    }

    /// Writes down that the commands of a unit are about to run, before they may.
    fn begin(&self, script: &mut Script, unit: usize, process: u32) -> Result<(), Stop> {
        if script.current.is_none() {
            script.current = Some(self.current(script, unit)?);
        }
        let ticks = muster_sys::process::start_ticks(process).ok();
        for place in script.units[unit].first..script.units[unit].end {
            let step = &self.document.steps[script.pending[place]];
            let started = Started {
                id: step.id.as_str().to_owned(),
                hash: step.hash.as_str().to_owned(),
                boot: self.shared.boot_id.clone(),
                process: ticks.map(|ticks| (process, ticks)),
                memo: Memo::default(),
            };
            let written = self.shared.journal(|journal| journal.started(started));
            written.map_err(|error| self.fail_current(script, &StepError::Journal(error)))?;
        }
        Ok(())
    }

    /// A unit has ended well. The last one is done only when the shell has ended: a trap may still speak.
    fn go_on(&self, script: &mut Script, unit: usize, process: u32) -> Result<(), Stop> {
        if let Err(error) = fs_err::rename(&script.new_state, &script.state) {
            // Without it a shell that goes on after a crash begins with nothing.
            tracing::debug!(%error, "the shell's state was not kept");
            remove(&script.state).ok();
        }
        if unit + 1 == script.units.len() {
            script.closing = true;
            return Ok(());
        }
        self.close(script, None)?;
        self.begin(script, unit + 1, process)
    }

    /// The commands of the current unit are done. Those after the first of a unit have no output of their own.
    fn close(&self, script: &mut Script, detail: Option<&str>) -> Result<(), Stop> {
        let Some(mut current) = script.current.take() else { return Ok(()) };
        let (unit, duration_ms) = (&script.units[current.unit], milliseconds(current.begun));
        let first = script.pending[unit.first];
        if let Err(error) = current.log.flush() {
            return Err(self.fail(first, duration_ms, None, StepError::Log(error).tell()));
        }
        self.done(first, duration_ms, true, detail.map(str::to_owned), Memo::default())?;
        for place in unit.first + 1..unit.end {
            let text = format!("run together with {}", self.document.steps[first].id);
            self.run.started(script.pending[place]);
            self.done(script.pending[place], 0, true, Some(text), Memo::default())?;
        }
        Ok(())
    }

    /// The shell has ended, by its end, by an `exit`, by `set -e`, or by a signal.
    fn exited(&self, script: &mut Script, code: i32) -> Result<(), Stop> {
        if script.current.is_none() {
            script.current = Some(self.current(script, 0)?);
        }
        let unit = script.current.as_ref().map_or(0, |current| current.unit);
        if code != 0 {
            return Err(self.fail_current(script, &StepError::Command { code }));
        }
        self.close(script, None)?;
        let rest = script.pending[script.units[unit].end..].to_vec();
        if rest.is_empty() {
            return Ok(());
        }
        let ended = &self.document.steps[script.pending[script.units[unit].first]].id;
        let message = format!("{ended} ended the script, so the {} commands after it did not run", rest.len());
        self.run.warn(message);
        for index in rest {
            self.done(index, 0, false, Some(format!("not run: {ended} ended the script")), Memo::default())?;
        }
        Ok(())
    }

    /// A unit has failed: the shell is told to end, and given a while for it.
    async fn stop(&self, script: &mut Script, mut session: shell::Session, code: i32) -> Stop {
        let ending = async {
            session.answer(false).await?;
            loop {
                match session.next().await? {
                    SessionEvent::Output(stream, length) => {
                        if let Some(current) = &mut script.current {
                            current.log.output(stream, session.bytes(stream, length))?;
                        }
                    }
                    SessionEvent::Told(Told::Exited(_)) => return Ok::<(), io::Error>(()),
                    SessionEvent::Told(_) => {}
                }
            }
        };
        if let Ok(Err(error)) = tokio::time::timeout(EXIT_WAIT, ending).await {
            tracing::debug!(%error, "a failed shell was not heard to its end");
        }
        self.fail_current(script, &StepError::Command { code })
    }

    fn fail_current(&self, script: &mut Script, error: &StepError) -> Stop {
        let Some(mut current) = script.current.take() else {
            return self.fail(script.pending[0], 0, None, error.tell());
        };
        // A log that cannot be written to its end does not change why the step failed.
        current.log.flush().ok();
        let unit = &script.units[current.unit];
        let id = |place: usize| &self.document.steps[script.pending[place]].id;
        let message = if unit.end - unit.first > 1 {
            format!("{} to {} are one piece of shell: {}", id(unit.first), id(unit.end - 1), error.tell())
        } else {
            error.tell()
        };
        self.fail(script.pending[unit.first], milliseconds(current.begun), error.exit_code(), message)
    }

    /// What a command has left running in the background keeps its output: without a reader it would end by a signal
    /// at its next line. The log keeps the end of it, until the step is done anew.
    pub(super) fn keep_listening(&self, index: usize, mut output: Output) {
        if output.is_closed() {
            return;
        }
        let step = self.document.steps[index].id.clone();
        let logs = self.shared.logs.clone();
        self.shared.supervisor.spawn("late output", OnError::Log, async move {
            let mut writer = logs.writer_after(step.as_str());
            while let Some((stream, length)) = output.next().await? {
                let written = writer.as_mut().map(|writer| writer.output(stream, output.bytes(stream, length)));
                if let Ok(Err(error)) = written {
                    tracing::debug!(%error, step = step.as_str(), "late output is heard and no longer kept");
                    writer = Err(error);
                }
            }
            writer?.flush()
        });
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
