//! The one process that holds a cluster's switch and starts, reaps and reboots its nodes. Nodes die with it: nothing
//! is left running that nobody watches.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_provider::MachineState;
use muster_stdx::{OnError, Supervisor, chain};
use muster_types::MachineId;
use tokio::sync::{Notify, watch};

use crate::cgroup::Cgroups;
use crate::launch::{Launched, Launcher};
use crate::layout::{Layout, MachineFolder};
use crate::machine::{self, Ending, Machine, Wish, ending, reap};
use crate::protocol::{CreateRequest, Reply, Verb};
use crate::record::{NewRecord, Record};
use crate::settings::Subnet;
use crate::{hosts, record};

/// The shepherd's own cgroup.
pub(crate) const OWN_GROUP: &str = "shepherd";

/// What the hidden command `shepherd` is called with.
#[derive(Debug, Clone)]
pub struct ShepherdOptions {
    pub scope: String,
    pub data_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub subnet: String,
}

pub use crate::serve::run;

pub(crate) struct Shepherd {
    scope: String,
    pub(crate) layout: Layout,
    subnet: Subnet,
    launcher: Launcher,
    machines: Mutex<BTreeMap<MachineId, Arc<Machine>>>,
    supervisor: Supervisor,
    hosts: HostsState,
}

/// Hosts files follow the set of machines: changes are counted, and one task writes the newest state.
struct HostsState {
    wanted: watch::Sender<u64>,
    written: watch::Sender<u64>,
    wake: Notify,
}

impl Shepherd {
    pub(crate) fn new(
        scope: String,
        layout: Layout,
        subnet: Subnet,
        launcher: Launcher,
        supervisor: &Supervisor,
    ) -> io::Result<Arc<Self>> {
        let known = record::read_all(&layout)?;
        let machines = known.into_iter().map(|record| (record.id.clone(), Machine::new(record, MachineState::Stopped)));
        let shepherd = Arc::new(Self {
            scope,
            layout,
            subnet,
            launcher,
            machines: Mutex::new(machines.collect()),
            supervisor: supervisor.clone(),
            hosts: HostsState { wanted: watch::Sender::new(0), written: watch::Sender::new(0), wake: Notify::new() },
        });
        let writer = Arc::clone(&shepherd);
        supervisor.spawn("hosts", OnError::Shutdown, async move { writer.keep_hosts().await });
        Ok(shepherd)
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<MachineId, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Reply {
        Reply::Machines(self.machines().values().map(|machine| machine.listed()).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.machines().is_empty()
    }

    /// Makes a machine, or returns the one that carries the same token.
    pub(crate) fn create(self: &Arc<Self>, request: &CreateRequest) -> io::Result<Reply> {
        let machine = {
            let mut machines = self.machines();
            if let Some(machine) = machines.values().find(|machine| machine.record.token == request.token) {
                return Ok(Reply::Machine(machine.listed()));
            }
            let taken: Vec<u16> = machines.values().map(|machine| machine.record.index).collect();
            let Some(index) = (2..=self.subnet.index_max()).find(|index| !taken.contains(index)) else {
                return Ok(Reply::Failed {
                    message: format!("the network {} has no free address", self.subnet),
                    hint: "give the cluster a larger one: `local: { subnet: 10.77.0.0/16 }`".to_owned(),
                });
            };
            let id = record::machine_id(&request.name, &request.token);
            let address = self.subnet.address(index);
            let record = Record::new(NewRecord { id, index, address }, request);
            self.make_folder(&record)?;
            let machine = Machine::new(record, MachineState::Creating);
            machines.insert(machine.record.id.clone(), Arc::clone(&machine));
            machine
        };
        self.hosts.wanted.send_modify(|count| *count += 1);
        self.hosts.wake.notify_one();
        let listed = machine.listed();
        self.start_in_background(machine, false);
        Ok(Reply::Machine(listed))
    }

    /// The rename is the moment from which the machine exists.
    fn make_folder(&self, record: &Record) -> io::Result<()> {
        let making = self.layout.making(&record.id);
        for folder in [making.upper(), making.work(), making.root()] {
            fs_err::create_dir_all(folder)?;
        }
        if !record.lower.is_empty() {
            make_own(&making.upper())?;
        }
        record.write(&making)?;
        fs_err::rename(making.0, self.layout.machine(&record.id).0)
    }

    fn start_in_background(self: &Arc<Self>, machine: Arc<Machine>, rebooted: bool) {
        let shepherd = Arc::clone(self);
        self.supervisor.spawn("start", OnError::Log, async move {
            let _gate = machine.gate.lock().await;
            shepherd.start(&machine, rebooted).await;
            Ok::<(), io::Error>(())
        });
    }

    /// Starts the machine's process and waits until it is ready. The caller holds the machine's gate. What goes wrong
    /// is the machine's state.
    async fn start(self: &Arc<Self>, machine: &Arc<Machine>, rebooted: bool) {
        if machine.is_alive() || machine.wish() == Wish::Destroy {
            return;
        }
        machine.set_wish(Wish::Run);
        machine.set(MachineState::Creating, None);
        let folder = self.layout.machine(&machine.record.id);
        // The file must be there to be bound; it is filled before the node counts as ready.
        if let Err(error) = hosts::update(&folder.hosts(), &self.hosts_block()) {
            machine.set(MachineState::Failed, Some(error.to_string()));
            return;
        }
        let launched = match self.launcher.launch(&machine.record, &folder, rebooted).await {
            Ok(launched) => launched,
            Err(error) => {
                machine.set(MachineState::Failed, Some(chain(&error)));
                return;
            }
        };
        let Launched { child, hearing, terminal } = launched;
        let pidfd = machine.began(child.pidfd);
        if let Some(terminal) = terminal {
            let copy = terminal.copy(machine::ended(Arc::clone(&pidfd)));
            self.supervisor.spawn("console", OnError::Log, copy);
        }
        self.watch(Arc::clone(machine), pidfd);
        let outcome = hearing.wait_ready(machine).await;
        self.wait_hosts().await;
        match outcome {
            Ok(()) if machine.is_alive() => machine.set(MachineState::Running, None),
            Ok(()) => {}
            Err(error) => self.give_up(machine, chain(&error)).await,
        }
    }

    /// Ends a node that did not become ready. Whoever waits sees the reason, and nothing before it.
    async fn give_up(&self, machine: &Machine, reason: String) {
        tracing::warn!(machine = %machine.record.id, reason, "a node did not start");
        machine.set(MachineState::Creating, Some(reason.clone()));
        if let Err(error) = machine.end(Wish::Fail).await {
            tracing::warn!(%error, "cannot end a node that did not start");
        }
        machine.set(MachineState::Failed, Some(reason));
    }

    /// Waits for the end of a node's process, and does what that end means.
    fn watch(self: &Arc<Self>, machine: Arc<Machine>, pidfd: Arc<std::os::fd::OwnedFd>) {
        let shepherd = Arc::clone(self);
        self.supervisor.spawn("watch", OnError::Log, async move {
            let status = reap(pidfd).await?;
            shepherd.launcher.cgroups.remove(machine.record.id.as_str())?;
            let (state, detail, again) = match (machine.wish(), ending(&status)) {
                (Wish::Destroy, _) => (MachineState::Removing, None, None),
                (Wish::Stop, _) => (MachineState::Stopped, Some("stopped".to_owned()), None),
                (Wish::Fail, _) => (MachineState::Failed, machine.detail(), None),
                (Wish::Kill, _) => (MachineState::Stopped, Some("killed".to_owned()), None),
                (Wish::Reboot, _) => (MachineState::Creating, None, Some(false)),
                (Wish::Run, Ending::Reboot) => (MachineState::Creating, None, Some(true)),
                (Wish::Run, Ending::Stopped(reason)) => (MachineState::Stopped, Some(reason), None),
                (Wish::Run, Ending::Failed(reason)) => (MachineState::Failed, Some(reason), None),
            };
            machine.ended(state, detail);
            if let Some(rebooted) = again {
                shepherd.start_in_background(machine, rebooted);
            }
            Ok::<(), io::Error>(())
        });
    }

    /// Carries out an order about one machine.
    pub(crate) async fn order(self: &Arc<Self>, verb: Verb, id: &MachineId) -> io::Result<Reply> {
        let Some(machine) = self.machines().get(id).cloned() else { return Ok(Reply::NotFound) };
        match verb {
            Verb::WaitRunning => return Ok(Reply::Machine(machine.wait_settled().await)),
            Verb::Destroy => return self.destroy(&machine).await,
            Verb::Start => {
                let _gate = machine.gate.lock().await;
                if machine.state() == MachineState::Paused {
                    self.freeze(&machine, false)?;
                }
                self.start(&machine, false).await;
            }
            Verb::Stop | Verb::Kill => {
                let _gate = machine.gate.lock().await;
                if machine.is_alive() {
                    self.thaw_before_end(&machine)?;
                    machine.end(if verb == Verb::Stop { Wish::Stop } else { Wish::Kill }).await?;
                }
            }
            Verb::Reboot => {
                {
                    let _gate = machine.gate.lock().await;
                    self.thaw_before_end(&machine)?;
                    machine.end(Wish::Reboot).await?;
                }
                // The one who watches the process starts it again; a machine that was not running is started here.
                if !machine.is_alive() && machine.state() != MachineState::Creating {
                    self.start_in_background(Arc::clone(&machine), false);
                }
            }
            Verb::Pause => {
                let _gate = machine.gate.lock().await;
                return self.freeze(&machine, true);
            }
            Verb::Resume => {
                let _gate = machine.gate.lock().await;
                return self.freeze(&machine, false);
            }
            Verb::CutOff | Verb::Heal => {
                let _gate = machine.gate.lock().await;
                let port = crate::network::port_name(machine.record.index);
                let switched = self.launcher.switch.set_port(&port, verb == Verb::Heal).await;
                switched.map_err(|error| io::Error::other(chain(&error)))?;
            }
        }
        Ok(Reply::Done)
    }

    async fn destroy(self: &Arc<Self>, machine: &Arc<Machine>) -> io::Result<Reply> {
        machine.set_wish(Wish::Destroy);
        // A node that is just starting is ended too; its start gives up the gate soon.
        machine.kill()?;
        let _gate = machine.gate.lock().await;
        let id = machine.record.id.clone();
        // A start that was under way may have wished otherwise.
        machine.set_wish(Wish::Destroy);
        machine.set(MachineState::Removing, None);
        if machine.is_alive() {
            machine.kill()?;
            self.thaw_before_end(machine)?;
            machine.wait_ended().await;
        }
        self.launcher.cgroups.remove(id.as_str())?;
        let removing = self.layout.removing(&id);
        match fs_err::rename(self.layout.machine(&id).0, &removing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        self.machines().remove(&id);
        self.hosts.wanted.send_modify(|count| *count += 1);
        self.hosts.wake.notify_one();
        let removed = tokio::task::spawn_blocking(move || match fs_err::remove_dir_all(removing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        });
        removed.await.map_err(io::Error::other)??;
        Ok(Reply::Done)
    }

    /// A frozen process of cgroup v1 takes no signal, not even SIGKILL.
    fn thaw_before_end(&self, machine: &Machine) -> io::Result<()> {
        if machine.is_alive() {
            self.launcher.cgroups.freeze(machine.record.id.as_str(), false)?;
        }
        Ok(())
    }

    fn freeze(&self, machine: &Machine, frozen: bool) -> io::Result<Reply> {
        let (from, to) = if frozen {
            (MachineState::Running, MachineState::Paused)
        } else {
            (MachineState::Paused, MachineState::Running)
        };
        if machine.state() == to {
            return Ok(Reply::Done);
        }
        if machine.state() != from {
            return Ok(Reply::Failed {
                message: format!("it is {:?}", machine.state()).to_lowercase(),
                hint: "only a running machine can be paused, and a paused one continued".to_owned(),
            });
        }
        if !self.launcher.cgroups.freeze(machine.record.id.as_str(), frozen)? {
            return Ok(Reply::Failed {
                message: "this machine cannot freeze processes".to_owned(),
                hint: "it has no freezer among its cgroups".to_owned(),
            });
        }
        machine.set(to, None);
        Ok(Reply::Done)
    }

    fn hosts_block(&self) -> String {
        let machines = self.machines();
        hosts::block(
            &self.scope,
            machines.values().map(|machine| (machine.record.name.as_str(), machine.record.address)),
        )
    }

    /// Writes the hosts files whenever the set of machines has changed; several changes at once are one writing.
    async fn keep_hosts(&self) -> io::Result<()> {
        loop {
            self.hosts.wake.notified().await;
            let wanted = *self.hosts.wanted.borrow();
            let block = self.hosts_block();
            let folders: Vec<MachineFolder> = self.machines().keys().map(|id| self.layout.machine(id)).collect();
            for folder in folders {
                match hosts::update(&folder.hosts(), &block) {
                    // It is being removed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::warn!(%error, "cannot write a hosts file"),
                    Ok(()) => {}
                }
            }
            self.hosts.written.send_replace(wanted);
        }
    }

    /// Until the hosts files hold every machine that is there now.
    async fn wait_hosts(&self) {
        let wanted = *self.hosts.wanted.borrow();
        let mut written = self.hosts.written.subscribe();
        // The sender lives as long as the shepherd.
        written.wait_for(|count| *count >= wanted).await.ok();
    }
}

/// What is each machine's own, whatever its image has: no identity yet, and no resolver, since a look-up of an unknown
/// name is then refused at once. It may change these files later.
fn make_own(upper: &Path) -> io::Result<()> {
    let etc = upper.join("etc");
    fs_err::create_dir(&etc)?;
    for name in ["hostname", "hosts", "machine-id", "resolv.conf"] {
        fs_err::write(etc.join(name), "")?;
    }
    Ok(())
}

/// Everything of the scope that a shepherd that is no more may have left outside its folder.
pub(crate) fn remove_traces(layout: &Layout) -> io::Result<()> {
    Cgroups::detect(&layout.name)?.remove_all()?;
    for file in [layout.socket(), layout.identity()] {
        match fs_err::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}
