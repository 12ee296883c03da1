//! Getting a node a machine that runs.

use muster_api::{AGENT_PORT, BOOTSTRAP_VERSION, Bootstrap};
use muster_provider::{Machine, MachineRequest, MachineState};
use muster_stdx::chain;
use muster_store::{Intent, IntentAction};
use muster_types::{MachineId, Phase, Redacted, Timestamp};

use crate::EngineError;
use crate::fault::{Fault, LOG_LINES_MAX, Stop};
use crate::node::{NodeRun, new_token};
use crate::observe::{CLUSTER_TAG, GROUP_TAG, NODE_TAG};

impl NodeRun<'_> {
    /// Makes a machine, or finds the one that an earlier try with the same token made.
    pub(crate) async fn create(&mut self) -> Result<(), Stop> {
        let _slot = self.run.provider_slots.acquire().await;
        self.run.board.coming(self.name());
        let intent = self.begin_create().await?;
        let request = self.request()?;
        let provider = &self.run.config.provider;
        let machine = self.run.ask("create a machine", || provider.create(&request)).await?;
        self.record.machine = Some(machine.id.clone());
        self.record.addresses.clone_from(&machine.addresses);
        self.intent = None;
        self.fresh = true;
        self.enter(Phase::Booting, "").await;
        // Writing the result down and waiting for the machine do not depend on each other.
        let record = self.record.clone();
        let store = &self.run.config.store;
        let (written, booted) = tokio::join!(
            store.finish(&record.cluster, &intent.id, Some(&record), self.run.generation()),
            self.wait_running(&machine.id)
        );
        self.record.revision = written.map_err(EngineError::store("record what was done"))?;
        self.tell_recorded(IntentAction::Create).await;
        self.run_on(booted?).await
    }

    /// The record and the intent reach the disk in one go, before the provider is asked.
    async fn begin_create(&mut self) -> Result<Intent, EngineError> {
        if self.record.enrol_token.is_none() {
            let token = muster_pki::new_token();
            self.record.enrol_token = Some(
                token.map_err(|source| EngineError::Token { node: self.name().clone(), source: Box::new(source) })?,
            );
        }
        if let Some(desired) = self.desired {
            self.record.machine_hash.clone_from(&desired.machine_hash);
            self.record.group.clone_from(&desired.group);
        }
        self.record.machine = None;
        self.record.document = None;
        self.record.document_hash = None;
        self.record.facts = None;
        self.record.since = Timestamp::now();
        self.record.reason = String::new();
        self.enter(Phase::Creating, "").await;
        let intent = Intent {
            id: self.record.token.clone(),
            cluster: self.record.cluster.clone(),
            node: self.name().clone(),
            action: IntentAction::Create,
            machine: None,
            begun_at: Timestamp::now(),
        };
        self.open.retain(|open| open.id != intent.id);
        let generation = self.run.generation();
        let store = &self.run.config.store;
        let (saved, begun) = tokio::join!(store.put_node(&self.record, generation), store.begin(&intent, generation));
        self.record.revision = saved.map_err(EngineError::store("record a node"))?;
        begun.map_err(EngineError::store("write an intent down"))?;
        self.intent = Some(intent.clone());
        self.tell_intent(&intent).await;
        Ok(intent)
    }

    /// A create goes on with the token of an earlier one, or begins anew. A machine of before that is not listed may
    /// only be late: it is removed all the same, so that the node never has two.
    pub(crate) async fn choose_token(&mut self) -> Result<(), Stop> {
        if !self.token_chosen && self.action.token.is_none() && self.record.revision > 0 {
            if let Some(machine) = self.record.machine.clone() {
                let removal = self.remove_machine(&machine).await?;
                self.finish(&removal).await?;
            }
            self.begin_new_life();
        }
        self.token_chosen = true;
        Ok(())
    }

    /// The next machine is another one than any before.
    pub(crate) fn begin_new_life(&mut self) {
        self.maybe_made = false;
        // Peers may remember that it was drained, and take the new one for it.
        self.leaving = self.record.drained.take().is_some();
        self.record.token = new_token();
        self.record.machine = None;
        self.record.addresses = Vec::new();
        self.record.enrol_token = None;
        self.record.document = None;
        self.record.document_hash = None;
        self.record.facts = None;
        self.token_chosen = true;
    }

    fn request(&self) -> Result<MachineRequest, Stop> {
        let (Some(desired), Some(token)) = (self.desired, &self.record.enrol_token) else {
            return Err(
                Fault::new("it is not in the file, and no machine is made for it", "report this as a bug").into()
            );
        };
        let bootstrap = Bootstrap {
            version: BOOTSTRAP_VERSION,
            cluster: self.record.cluster.clone(),
            node: self.name().clone(),
            ca: self.run.config.ca_pem.clone(),
            token_sha256: muster_pki::token_hash(token.expose()),
            port: AGENT_PORT,
        };
        let user_data = serde_json::to_string(&bootstrap)
            .map_err(|source| EngineError::Bootstrap { node: self.name().clone(), source })?;
        let mut tags = desired.tags.clone();
        tags.insert(CLUSTER_TAG.to_owned(), self.run.owner_tag.to_owned());
        tags.insert(NODE_TAG.to_owned(), self.name().to_string());
        tags.insert(GROUP_TAG.to_owned(), desired.group.to_string());
        Ok(MachineRequest {
            name: self.name().clone(),
            token: self.record.token.clone(),
            tags,
            image: desired.image.clone(),
            packages: desired.packages.clone(),
            shared_folders: desired.shared_folders.clone(),
            size: desired.size.clone(),
            settings: desired.settings.clone(),
            user_data: Redacted::new(user_data),
        })
    }

    /// Starts the machine that is there.
    pub(crate) async fn start(&mut self) -> Result<(), Stop> {
        let _slot = self.run.provider_slots.acquire().await;
        let machine = self.machine_id()?;
        self.run.board.coming(self.name());
        let intent = self.begin(IntentAction::Start, Some(machine.clone())).await?;
        self.intent = Some(intent.clone());
        self.enter(Phase::Booting, "").await;
        let provider = &self.run.config.provider;
        let is_paused = self.machine.as_ref().is_some_and(|machine| machine.state == MachineState::Paused);
        match provider.faults().filter(|_| is_paused) {
            Some(faults) => self.run.ask("resume the machine", || faults.resume(&machine)).await?,
            None => self.run.ask("start the machine", || provider.start(&machine)).await?,
        }
        let booted = self.wait_running(&machine).await?;
        self.intent = None;
        self.finish(&intent).await?;
        self.run_on(booted).await
    }

    /// Goes on with the machine that is there.
    pub(crate) async fn take_up(&mut self) -> Result<(), Stop> {
        let machine = self.machine_id()?;
        let intent = self.begin(IntentAction::Configure, Some(machine.clone())).await?;
        self.intent = Some(intent);
        let running = self.machine.clone().filter(|found| found.state == MachineState::Running);
        let machine = if let Some(running) = running {
            running
        } else {
            self.enter(Phase::Booting, "").await;
            self.wait_running(&machine).await?
        };
        self.run_on(machine).await
    }

    fn machine_id(&self) -> Result<MachineId, Stop> {
        let machine = self.record.machine.clone();
        machine.ok_or_else(|| Fault::new("it has no machine", "run `muster up` again: it makes one").into())
    }

    async fn wait_running(&self, id: &MachineId) -> Result<Machine, Stop> {
        let provider = &self.run.config.provider;
        let call = ("wait for the machine", self.run.config.limits.boot);
        crate::run::ask(self.run.config, self.run.hold, call, || provider.wait_running(id)).await
    }

    /// Notes the machine, and lets the others know its address.
    async fn run_on(&mut self, machine: Machine) -> Result<(), Stop> {
        let failed = machine.state != MachineState::Running;
        self.record.addresses.clone_from(&machine.addresses);
        self.run.board.stand(self.name(), |standing| {
            standing.machine = Some(machine.id.clone());
            standing.addresses.clone_from(&machine.addresses);
        });
        let id = machine.id.clone();
        let detail = machine.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        self.machine = Some(machine);
        if failed {
            let console = self.run.config.provider.console(&id, LOG_LINES_MAX).await;
            let log = console.unwrap_or_else(|error| vec![format!("(the console cannot be read: {})", chain(&error))]);
            let hint = "the last lines of its console are above; `muster up` tries to start it again";
            return Err(Fault { log, ..Fault::new(format!("its machine {id} did not start{detail}"), hint) }.into());
        }
        if self.record.addresses.is_empty() {
            let hint = "check the network settings of the provider";
            return Err(Fault::new(format!("its machine {id} runs and has no address"), hint).into());
        }
        self.run.board.set_address(self.name(), &self.record.addresses);
        Ok(())
    }
}
