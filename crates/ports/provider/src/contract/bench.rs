//! What the cases work with: machines under a tag of their own, waits with a limit, and probes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_stdx::{Backoff, chain};
use muster_types::{ClientToken, MachineId, NodeName};

use super::fixture::{Fixture, Probe};
use crate::{Faults, Machine, MachineRequest, MachineState, Provider, ProviderError, Tags};

/// The tag by which a case finds its machines.
const TAG: &str = "muster.contract";

/// Tells apart the runs of one process; the process id tells apart the processes.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Why a case did not pass.
#[derive(Debug)]
pub enum Stop {
    Fail(String),
    Skip(String),
}

pub type Verdict<T = ()> = Result<T, Stop>;

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Self {
        Self::Fail(chain(&error))
    }
}

/// Ends a case that saw what must not be.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::contract::Stop::Fail(format!($($words)+)));
        }
    };
}
pub(super) use ensure;

/// One case's place of work.
pub struct Bench {
    pub(super) fixture: Fixture,
    /// Value of the tag; tokens begin with it.
    mark: String,
}

impl Bench {
    pub(super) fn new(case: &str, fixture: Fixture) -> Self {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self { fixture, mark: format!("{case}-{}-{run}", std::process::id()) }
    }

    pub(super) fn provider(&self) -> &dyn Provider {
        self.fixture.provider.as_ref()
    }

    pub(super) fn tags(&self) -> Tags {
        Tags::from([(TAG.to_owned(), self.mark.clone())])
    }

    /// The request for this case's machine of that number.
    pub(super) fn request(&self, number: u32) -> MachineRequest {
        let name = NodeName::new(format!("contract-{number}")).expect("a name");
        let mut request = (self.fixture.request)(&name);
        request.token = ClientToken::new(format!("{}-{number}", self.mark));
        request.tags.extend(self.tags());
        request
    }

    /// Makes a machine and waits until it runs.
    pub(super) async fn running(&self, number: u32) -> Verdict<Machine> {
        let made = self.create(&self.request(number)).await?;
        self.wait_running(&made.id).await
    }

    /// Makes a machine; a provider may ask for patience.
    pub(super) async fn create(&self, request: &MachineRequest) -> Verdict<Machine> {
        self.patiently("create a machine", || self.provider().create(request)).await
    }

    pub(super) async fn wait_running(&self, id: &MachineId) -> Verdict<Machine> {
        let machine = self.patiently("wait for a machine", || self.provider().wait_running(id)).await?;
        ensure!(machine.id == *id, "asked to wait for {id}, it waited for {}", machine.id);
        ensure!(
            machine.state == MachineState::Running,
            "{id} is {:?} and not running: {}",
            machine.state,
            machine.detail.as_deref().unwrap_or("no reason given")
        );
        ensure!(!machine.addresses.is_empty(), "{id} runs and has no address");
        Ok(machine)
    }

    pub(super) async fn list(&self) -> Verdict<Vec<Machine>> {
        self.patiently("list machines", || async { self.provider().list(&self.tags()).await }).await
    }

    pub(super) async fn listed(&self, id: &MachineId) -> Verdict<Machine> {
        let found: Vec<_> = self.list().await?.into_iter().filter(|machine| machine.id == *id).collect();
        ensure!(found.len() == 1, "{id} is listed {} times", found.len());
        Ok(found.into_iter().next().expect("just counted"))
    }

    /// Waits until the machine is listed in a state.
    pub(super) async fn becomes(&self, id: &MachineId, states: &[MachineState]) -> Verdict<Machine> {
        let mut last = None;
        self.until(&format!("{id} to be one of {states:?}"), async || {
            let machine = self.listed(id).await?;
            let there = states.contains(&machine.state);
            last = Some(machine);
            Ok(there)
        })
        .await?;
        last.ok_or_else(|| Stop::Fail(format!("{id} was never listed")))
    }

    pub(super) fn faults(&self) -> Verdict<&dyn Faults> {
        if !self.provider().capabilities().faults {
            return Err(Stop::Skip("the provider does not do faults on purpose".to_owned()));
        }
        self.provider().faults().ok_or_else(|| Stop::Fail("faults are claimed and not there".to_owned()))
    }

    pub(super) fn needs_stop_start(&self) -> Verdict {
        if self.provider().capabilities().stop_start {
            return Ok(());
        }
        Err(Stop::Skip("the provider does not stop and start machines".to_owned()))
    }

    pub(super) fn probe(&self) -> Verdict<Arc<dyn Probe>> {
        self.fixture.probe.clone().ok_or_else(|| Stop::Skip("the fixture has no probe".to_owned()))
    }

    pub(super) fn probe_with_data(&self) -> Verdict<Arc<dyn Probe>> {
        let probe = self.probe()?;
        if probe.keeps_data() { Ok(probe) } else { Err(Stop::Skip("the fixture's probe keeps no data".to_owned())) }
    }

    /// Waits until the machine answers.
    pub(super) async fn answers(&self, probe: &dyn Probe, machine: &Machine) -> Verdict {
        let dialer = self.provider().dialer();
        let mut reason = "it was not asked".to_owned();
        let what = format!("{} to answer", machine.id);
        let answered = self.until(&what, async || {
            let answer = tokio::time::timeout(Duration::from_secs(2), probe.answers(dialer.as_ref(), machine)).await;
            match answer {
                Ok(Ok(())) => return Ok(true),
                Ok(Err(error)) => reason = error.to_string(),
                Err(_) => "no answer within 2 s".clone_into(&mut reason),
            }
            Ok(false)
        });
        answered.await.map_err(|stop| match stop {
            Stop::Fail(words) => Stop::Fail(format!("{words} ({reason})")),
            skip @ Stop::Skip(_) => skip,
        })
    }

    /// Listens for a while to a machine that must not answer.
    pub(super) async fn is_silent(&self, probe: &dyn Probe, machine: &Machine) -> Verdict {
        let dialer = self.provider().dialer();
        let answer = tokio::time::timeout(self.fixture.silence, probe.answers(dialer.as_ref(), machine)).await;
        ensure!(!matches!(answer, Ok(Ok(()))), "{} answers and must not", machine.id);
        Ok(())
    }

    pub(super) async fn put(&self, probe: &dyn Probe, machine: &Machine, text: &str) -> Verdict {
        self.answers(probe, machine).await?;
        io_verdict("keep a text", machine, probe.put(self.provider().dialer().as_ref(), machine, text).await)
    }

    pub(super) async fn get(&self, probe: &dyn Probe, machine: &Machine) -> Verdict<String> {
        self.answers(probe, machine).await?;
        io_verdict("read the text", machine, probe.get(self.provider().dialer().as_ref(), machine).await)
    }

    /// Asks again with growing pauses until it is so.
    pub(super) async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> Verdict<bool>) -> Verdict {
        let end = Instant::now() + self.fixture.patience;
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250));
        while !so().await? {
            ensure!(Instant::now() < end, "waited {} s in vain for {what}", self.fixture.patience.as_secs());
            tokio::time::sleep(backoff.pause()).await;
        }
        Ok(())
    }

    /// Tries again while the provider says that this may help.
    pub(super) async fn patiently<T, Fut>(&self, what: &str, mut attempt: impl FnMut() -> Fut) -> Verdict<T>
    where
        Fut: Future<Output = Result<T, ProviderError>>,
    {
        let end = Instant::now() + self.fixture.patience;
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250));
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_temporary() && Instant::now() < end => {
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(Stop::Fail(format!("cannot {what}: {}", chain(&error)))),
            }
        }
    }

    /// Takes away whatever the case made.
    pub(super) async fn clean(&self) -> Verdict {
        let machines = self.list().await?;
        let destroyed = join_all(
            machines
                .iter()
                .map(|machine| self.patiently("destroy a machine", move || self.provider().destroy(&machine.id))),
        );
        destroyed.await.into_iter().collect::<Verdict<Vec<()>>>()?;
        self.until("the list to be empty", async || Ok(self.list().await?.is_empty())).await?;
        self.patiently("release what is shared", || self.provider().release()).await
    }
}

fn io_verdict<T>(what: &str, machine: &Machine, result: io::Result<T>) -> Verdict<T> {
    result.map_err(|error| Stop::Fail(format!("{} did not {what}: {error}", machine.id)))
}
