//! A command that must keep talking: one that hangs is shown and ended, rather than waited for.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::out::say;
use crate::shell::{command, describe, read};

/// Far more than the longest test takes, and than the slowest dependency takes to build.
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// Runs a command to its end with its output shown. When it says nothing for too long, tells what it and its children
/// are at, and ends them.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = describe(&command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let (sender, heard) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, io::stdout(), sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, io::stderr(), sender);
    }
    loop {
        match heard.recv_timeout(SILENCE_MAX) {
            Ok(()) => {}
            // Both streams have ended, and with them the command.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let hanging = descendants(child.id())?;
                say(&format!("{name} said nothing for {} s; it and its children:\n{hanging}", SILENCE_MAX.as_secs()));
                end(&hanging)?;
                child.wait()?;
                bail!("{name} hung and was ended");
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

fn forward(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static, heard: Sender<()>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // Nobody reads any more: the command is heard out all the same.
            to.write_all(&buffer[..count]).and_then(|()| to.flush()).ok();
            if heard.send(()).is_err() {
                return;
            }
        }
    });
}

/// The process and all that come from it, a line each: id, parent, state, where it waits in the kernel, command.
fn descendants(of: u32) -> Result<String> {
    let all = read(command("ps", &["-eLo", "pid=,ppid=,lwp=,stat=,etime=,wchan:24=,args="]))?;
    let mut family = BTreeSet::from([of]);
    loop {
        let before = family.len();
        for line in all.lines() {
            if let Some((pid, parent)) = ids(line)
                && family.contains(&parent)
            {
                family.insert(pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    let lines = all.lines().filter(|line| ids(line).is_some_and(|(pid, _)| family.contains(&pid)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn ids(line: &str) -> Option<(u32, u32)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn end(lines: &str) -> Result<()> {
    let pids: BTreeSet<String> = lines.lines().filter_map(ids).map(|(pid, _)| pid.to_string()).collect();
    let mut words = vec!["-KILL".to_owned()];
    words.extend(pids);
    // Some have ended by now.
    command("kill", &words).stderr(Stdio::null()).status().context("cannot start kill")?;
    Ok(())
}
