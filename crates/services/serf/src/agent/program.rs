//! The whole of `serf agent`: from its banner over its signals to its exit code.

use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::handle::Handle;
use super::log::{Level, Log};
use super::service::{Agent, Ended};
use super::settings::{AgentError, Settings};
use super::{Config, FileError, banner};

/// A leave that was asked for by a signal takes no longer.
const LEAVE_MAX: Duration = Duration::from_secs(3);
const DONE: u8 = 0;
const FAILED: u8 = 1;

/// Those that an agent minds.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Interrupt,
    Terminate,
    Reload,
    Figures,
}

/// Runs an agent to its end; the code is that of the process. `read` reads the configuration, at the start and whenever
/// the agent is told to read it again.
pub async fn run(read: impl Fn() -> Result<Config, FileError>, output: Box<dyn Write + Send>, signals: Signals) -> u8 {
    let log = Log::new(Level::Info, output);
    match start(&read, &log).await {
        Ok(agent) => Box::pin(live(agent, &read, signals, log)).await,
        Err(error) => {
            log.say(&format!("==> {error}"));
            FAILED
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

async fn start(read: &impl Fn() -> Result<Config, FileError>, log: &Log) -> Result<Agent, ProgramError> {
    let settings = Settings::resolve(read()?).await?;
    log.set_level(settings.log_level);
    log.say("==> Starting Serf agent...");
    let mut agent = Agent::build(settings, log.clone()).await?;
    log.say("==> Starting Serf agent RPC...");
    let rpc = agent.listen().await?;
    log.say("==> Serf agent running!");
    for fact in banner::facts(&agent, rpc) {
        log.say(&fact);
    }
    for (key, set) in [
        ("statsite_addr", agent.settings.config.statsite_addr.is_some()),
        ("statsd_addr", agent.settings.config.statsd_addr.is_some()),
    ] {
        if set {
            log.line(Level::Warn, format!("agent: {key} is not sent to: figures are shown at metrics_addr"));
        }
    }
    Ok(agent)
}

async fn live(agent: Agent, read: &impl Fn() -> Result<Config, FileError>, mut signals: Signals, log: Log) -> u8 {
    let handle = agent.handle();
    let (start_join, replay) = (agent.settings.config.start_join.clone(), agent.settings.config.replay_on_join);
    let leaves = Leaves {
        on_interrupt: !agent.settings.config.skip_leave_on_interrupt,
        on_terminate: agent.settings.config.leave_on_terminate,
    };
    let token = CancellationToken::new();
    let running = agent.run(token.clone());
    tokio::pin!(running);
    let joining = first_join(&handle, &start_join, replay, &log);
    tokio::pin!(joining);
    let mut joined = false;
    loop {
        // Signals are kept by their streams; the agent and the first join go on.
        let asked = tokio::select! {
            ended = &mut running => return if ended == Ended::Failed { FAILED } else { DONE },
            started = &mut joining, if !joined => {
                joined = true;
                if !started {
                    token.cancel();
                    running.as_mut().await;
                    return FAILED;
                }
                continue;
            }
            asked = signals.next() => asked,
        };
        match asked {
            Asked::Reload => reload(&handle, read, &log).await,
            Asked::Figures => {
                if let Ok(figures) = handle.figures().await {
                    log.say(figures.trim_end());
                }
            }
            Asked::Interrupt | Asked::Terminate => {
                return Ending { handle: &handle, leaves, log: &log }.end(asked, running, &mut signals, &token).await;
            }
        }
    }
}

impl Signals {
    async fn next(&mut self) -> Asked {
        // A signal that loses stays with its stream.
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.hang_up.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Figures,
        }
    }
}

/// Whether the agent may go on: it may not if nobody of those that it must join is there.
async fn first_join(handle: &Handle, addresses: &[String], replay: bool, log: &Log) -> bool {
    if !addresses.is_empty() {
        log.say(&format!("==> Joining cluster...(replay: {replay})"));
        match handle.join(addresses, replay).await {
            Ok(joined) => log.say(&format!("    Join completed. Synced with {joined} initial agents")),
            Err(error) => {
                log.say(&format!("==> {error}"));
                return false;
            }
        }
    }
    log.say("\n==> Log data will now stream in as it occurs:\n");
    log.release();
    true
}

async fn reload(handle: &Handle, read: &impl Fn() -> Result<Config, FileError>, log: &Log) {
    log.say("==> Reloading configuration...");
    let reloaded = match read() {
        Ok(config) => handle.reload(config).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = reloaded {
        log.say(&format!("==> Failed to reload configs: {error}"));
    }
}

#[derive(Debug, Clone, Copy)]
struct Leaves {
    on_interrupt: bool,
    on_terminate: bool,
}

struct Ending<'a> {
    handle: &'a Handle,
    leaves: Leaves,
    log: &'a Log,
}

impl Ending<'_> {
    async fn end(
        self,
        asked: Asked,
        mut running: std::pin::Pin<&mut impl Future<Output = Ended>>,
        signals: &mut Signals,
        token: &CancellationToken,
    ) -> u8 {
        let name = if asked == Asked::Interrupt { "interrupt" } else { "terminated" };
        self.log.say(&format!("==> Caught signal: {name}"));
        let graceful = if asked == Asked::Interrupt { self.leaves.on_interrupt } else { self.leaves.on_terminate };
        let mut code = FAILED;
        if graceful {
            self.log.say("==> Gracefully shutting down agent...");
            let leaving = tokio::time::timeout(LEAVE_MAX, self.handle.leave());
            // The agent has to run for the leave; a second signal ends the wait for it.
            tokio::select! {
                left = leaving => match left {
                    Ok(Ok(())) => code = DONE,
                    Ok(Err(error)) => self.log.say(&format!("==> Error: {error}")),
                    Err(_) => {}
                },
                _ = &mut running => return DONE,
                () = signals.end() => {}
            }
        } else {
            self.log.line(Level::Info, "agent: requesting serf shutdown");
            self.log.line(Level::Warn, "serf: Shutdown without a Leave");
        }
        token.cancel();
        running.await;
        code
    }
}

impl Signals {
    async fn end(&mut self) {
        while !matches!(self.next().await, Asked::Interrupt | Asked::Terminate) {}
    }
}
