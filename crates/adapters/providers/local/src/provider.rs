//! The provider: a client of the shepherd that starts one when it needs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_doc::{Diagnostic, Tree};
use muster_provider::{
    Bakery, BakeryContext, Capabilities, Dialer, Factory, Faults, Finding, Machine, MachineBatch, MachineRequest,
    MachineState, OpenContext, Provider, ProviderError, Tags,
};
use muster_stdx::create_private_dir;
use muster_sys::process;
use muster_types::MachineId;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::cgroup::Cgroups;
use crate::dialer::SwitchDialer;
use crate::image::{Baker, IMAGES, Layers, MachineRef, Store, StoreError, sweep_refs_if_idle};
use crate::layout::Layout;
use crate::protocol::{Identity, LINE_BYTES_MAX, Reply, Request, Verb};
use crate::serve::READY_LINE;
use crate::settings::{Init, Subnet};
use crate::shepherd::remove_traces;
use crate::{console, examine, preflight, record, request, settings};

/// Nodes at work at once: more than this only wait for the machine's processors.
const CONCURRENCY_MAX: usize = 16;

/// An order that was sent is carried out or lost with its connection; a busy shepherd may take that long to read it.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);

/// The registry's entry.
#[derive(Debug, Clone)]
pub struct LocalFactory {
    /// The program with the hidden commands `shepherd` and `node-init`: this one, but for tests.
    pub program: PathBuf,
}

#[async_trait]
impl Factory for LocalFactory {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, block: Option<&Tree>) -> Vec<Diagnostic> {
        settings::read(block).1
    }

    fn images(&self) -> Option<&[&str]> {
        Some(&IMAGES)
    }

    fn permitted(&self) -> Result<(), ProviderError> {
        if nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        Err(ProviderError::permanent("make a machine", "sandbox nodes need root").hint("run the command with sudo"))
    }

    fn examine(&self, state: &Path, images: &BakeryContext) -> Result<Vec<Finding>, ProviderError> {
        let unreadable = |source| ProviderError::permanent("look at this machine", "it cannot be read").source(source);
        examine::examine(state, images).map_err(unreadable)
    }

    async fn open(&self, context: OpenContext) -> Result<Arc<dyn Provider>, ProviderError> {
        let (settings, diagnostics) = settings::read(context.settings.as_ref());
        if let Some(diagnostic) = diagnostics.first() {
            return Err(ProviderError::permanent("open", &diagnostic.message).hint(&diagnostic.hint));
        }
        let layout = Layout::new(&context.scope, &context.data_dir, &context.runtime_dir);
        Ok(Arc::new(Local {
            program: self.program.clone(),
            scope: context.scope,
            subnet: settings.subnet,
            init: settings.init,
            dialer: Arc::new(SwitchDialer::new(layout.clone())),
            store: Store::new(&context.images),
            baker: Arc::new(Baker::new(&self.program, &context.images, settings.mirror)),
            layout,
            starting: tokio::sync::Mutex::new(()),
        }))
    }

    fn bakery(&self, context: BakeryContext) -> Result<Option<Arc<dyn Bakery>>, ProviderError> {
        Ok(Some(Arc::new(Baker::new(&self.program, &context, None))))
    }
}

struct Local {
    program: PathBuf,
    scope: String,
    subnet: Subnet,
    /// What the cluster's block says of all its nodes.
    init: Option<Init>,
    layout: Layout,
    store: Store,
    baker: Arc<Baker>,
    dialer: Arc<SwitchDialer>,
    /// One start of the shepherd at a time.
    starting: tokio::sync::Mutex<()>,
}

fn io_error(operation: &'static str, message: &str) -> impl FnOnce(io::Error) -> ProviderError {
    let message = message.to_owned();
    move |source| ProviderError::permanent(operation, message).source(source)
}

fn image_error(error: StoreError) -> ProviderError {
    ProviderError::permanent("create", "its image cannot be used").hint(error.hint()).source(error)
}

impl Local {
    /// What a new machine is stacked from, with its need of that written down.
    fn layers(&self, request: &MachineRequest) -> Result<Layers, ProviderError> {
        let image = request.image.as_deref().unwrap_or(IMAGES[0]);
        let layers = self.store.layers(image, &request.packages).map_err(image_error)?;
        let layers = layers.ok_or_else(|| {
            let packages: Vec<&str> = request.packages.iter().map(String::as_str).collect();
            let with = if packages.is_empty() { String::new() } else { format!(" --with {}", packages.join(",")) };
            ProviderError::permanent("create", format!("the image `{image}` is not made yet"))
                .hint(format!("make it: `muster image build {image}{with}`"))
        })?;
        let id = record::machine_id(&request.name, &request.token);
        let folder = self.layout.machine(&id).0;
        let shown = format!("{}:{}", self.scope, request.name);
        let machine = MachineRef { scope: self.layout.name.clone(), machine: id.to_string(), shown, folder };
        self.store.refer(&layers, &machine).map_err(image_error)?;
        Ok(layers)
    }

    /// One request to a running shepherd; `None` when none runs.
    async fn ask(&self, request: &Request) -> io::Result<Option<Reply>> {
        let stream = match UnixStream::connect(self.layout.socket()).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_vec(request).map_err(io::Error::other)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        if line.is_empty() {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the shepherd ended while it was asked"));
        }
        serde_json::from_str(&line).map(Some).map_err(io::Error::other)
    }

    /// Asks the shepherd, and starts it before if it does not run.
    async fn ask_or_start(&self, operation: &'static str, request: &Request) -> Result<Reply, ProviderError> {
        let asking =
            |error| ProviderError::temporary(operation, "the cluster's shepherd does not answer").source(error);
        if let Some(reply) = self.ask(request).await.map_err(asking)? {
            return Ok(reply);
        }
        self.start_shepherd().await?;
        let reply = self.ask(request).await.map_err(asking)?;
        reply.ok_or_else(|| ProviderError::temporary(operation, "the cluster's shepherd has ended again"))
    }

    async fn start_shepherd(&self) -> Result<(), ProviderError> {
        let _one = self.starting.lock().await;
        if UnixStream::connect(self.layout.socket()).await.is_ok() {
            return Ok(());
        }
        let failed = io_error("start", "cannot start the cluster's shepherd");
        self.run_shepherd().await.map_err(failed)
    }

    async fn run_shepherd(&self) -> io::Result<()> {
        create_private_dir(&self.layout.data)?;
        create_private_dir(&self.layout.runtime)?;
        let log = muster_stdx::append_private(&self.layout.log())?;
        let mut child = tokio::process::Command::new(&self.program)
            .arg0("muster")
            .arg("shepherd")
            .args(["--scope", &self.scope])
            .arg("--data-dir")
            .arg(&self.layout.data)
            .arg("--runtime-dir")
            .arg(&self.layout.runtime)
            .args(["--subnet", &self.subnet.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.into_parts().0)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await?;
        }
        if line.trim_end() == READY_LINE {
            return Ok(());
        }
        let tail = console::tail(&self.layout.log(), 3)?.join(" | ");
        Err(io::Error::other(format!("{tail} (all of it: {})", self.layout.log().display())))
    }

    /// What is on disk when no shepherd runs: nodes die with it, so every machine is stopped.
    fn list_from_disk(&self) -> io::Result<Vec<Machine>> {
        let records = record::read_all(&self.layout)?;
        let detail = || Some("nothing runs since this machine or the cluster's shepherd ended".to_owned());
        Ok(records.iter().map(|record| record.machine(MachineState::Stopped, detail())).collect())
    }

    async fn order(&self, operation: &'static str, verb: Verb, id: &MachineId) -> Result<Reply, ProviderError> {
        let request = Request::Machine { verb, id: id.clone() };
        match self.ask_or_start(operation, &request).await? {
            Reply::NotFound => Err(ProviderError::permanent(operation, "there is no such machine").machine(id)),
            Reply::Failed { message, hint } => Err(ProviderError::permanent(operation, message).hint(hint).machine(id)),
            reply => Ok(reply),
        }
    }

    async fn do_order(&self, operation: &'static str, verb: Verb, id: &MachineId) -> Result<(), ProviderError> {
        self.order(operation, verb, id).await.map(drop)
    }

    /// Removes a machine that nobody runs.
    fn destroy_on_disk(&self, id: &MachineId) -> io::Result<()> {
        let removing = self.layout.removing(id);
        match fs_err::rename(self.layout.machine(id).0, &removing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        record::remove_left_overs(&self.layout)
    }

    /// Until the shepherd's process is gone: its namespace goes with it.
    async fn wait_end(&self, identity: &Identity) -> io::Result<()> {
        let mut backoff =
            muster_stdx::Backoff::new(std::time::Duration::from_millis(1), std::time::Duration::from_millis(50));
        for _ in 0..100 {
            if !process::is_alive(identity.pid, identity.start_ticks) {
                return Ok(());
            }
            tokio::time::sleep(backoff.pause()).await;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("the shepherd (process {}) does not end", identity.pid)))
    }

    fn remove_all(&self) -> io::Result<()> {
        Cgroups::detect(&self.layout.name)?.remove_all()?;
        remove_traces(&self.layout)?;
        match fs_err::remove_dir_all(&self.layout.data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sweep_refs_if_idle(&self.store)
    }
}

#[async_trait]
impl Provider for Local {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stop_start: true,
            faults: true,
            shared_folders: true,
            concurrency_max: CONCURRENCY_MAX,
            visible_within: VISIBLE_WITHIN,
        }
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Machine>, ProviderError> {
        let asking = |error| ProviderError::temporary("list", "the cluster's shepherd does not answer").source(error);
        let machines = match self.ask(&Request::List).await.map_err(asking)? {
            Some(Reply::Machines(machines)) => machines,
            Some(reply) => return Err(ProviderError::permanent("list", format!("the shepherd said {reply:?}"))),
            None => self.list_from_disk().map_err(io_error("list", "cannot read the machines' folders"))?,
        };
        let carries = |machine: &Machine| tags.iter().all(|(key, value)| machine.tags.get(key) == Some(value));
        Ok(machines.into_iter().filter(carries).collect())
    }

    async fn preflight(&self, wanted: &[MachineBatch]) -> Result<(), ProviderError> {
        let cgroups =
            Cgroups::detect(&self.layout.name).map_err(io_error("look at this machine's limits", "no cgroups"))?;
        preflight::check(wanted, self.init, &cgroups)
    }

    async fn create(&self, request: &MachineRequest) -> Result<Machine, ProviderError> {
        let is_baked = request.image.as_deref().is_some_and(|image| image != IMAGES[0]);
        // Held until the machine's folder is there: from then on its reference counts.
        let _held = if is_baked { Some(self.store.hold().await.map_err(image_error)?) } else { None };
        let layers = self.layers(request)?;
        let request = request::order(request, layers.lower, self.init)?;
        match self.ask_or_start("create", &Request::Create(request)).await? {
            Reply::Machine(machine) => Ok(machine),
            Reply::Failed { message, hint } => Err(ProviderError::permanent("create", message).hint(hint)),
            reply => Err(ProviderError::permanent("create", format!("the shepherd said {reply:?}"))),
        }
    }

    async fn wait_running(&self, id: &MachineId) -> Result<Machine, ProviderError> {
        match self.order("wait for", Verb::WaitRunning, id).await? {
            Reply::Machine(machine) => Ok(machine),
            reply => Err(ProviderError::permanent("wait for", format!("the shepherd said {reply:?}")).machine(id)),
        }
    }

    async fn destroy(&self, id: &MachineId) -> Result<(), ProviderError> {
        let request = Request::Machine { verb: Verb::Destroy, id: id.clone() };
        let asking =
            |error| ProviderError::temporary("destroy", "the cluster's shepherd does not answer").source(error);
        match self.ask(&request).await.map_err(asking)? {
            Some(Reply::Done | Reply::NotFound) => Ok(()),
            Some(Reply::Failed { message, hint }) => {
                Err(ProviderError::temporary("destroy", message).hint(hint).machine(id))
            }
            Some(reply) => Err(ProviderError::permanent("destroy", format!("the shepherd said {reply:?}")).machine(id)),
            None => self.destroy_on_disk(id).map_err(io_error("destroy", "cannot remove the machine's folder")),
        }
    }

    async fn start(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("start", Verb::Start, id).await
    }

    async fn stop(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("stop", Verb::Stop, id).await
    }

    async fn reboot(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("reboot", Verb::Reboot, id).await
    }

    fn dialer(&self) -> Arc<dyn Dialer> {
        Arc::clone(&self.dialer) as Arc<dyn Dialer>
    }

    async fn console(&self, id: &MachineId, lines: usize) -> Result<Vec<String>, ProviderError> {
        let path = self.layout.machine(id).console();
        console::tail(&path, lines).map_err(|error| {
            ProviderError::permanent("read the console", "it cannot be read").source(error).machine(id)
        })
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }

    fn bakery(&self) -> Option<Arc<dyn Bakery>> {
        Some(Arc::clone(&self.baker) as Arc<dyn Bakery>)
    }

    async fn release(&self) -> Result<(), ProviderError> {
        let failed = || io_error("release", "cannot remove what the cluster's machines shared");
        let identity: Option<Identity> =
            fs_err::read(self.layout.identity()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(Reply::Busy) = self.ask(&Request::Shutdown).await.map_err(failed())? {
            return Err(ProviderError::permanent("release", "machines are left"));
        }
        if let Some(identity) = identity {
            self.wait_end(&identity).await.map_err(failed())?;
        }
        if record::read_all(&self.layout).map_err(failed())?.is_empty() {
            return self.remove_all().map_err(failed());
        }
        Err(ProviderError::permanent("release", "machines are left"))
    }
}

#[async_trait]
impl Faults for Local {
    async fn pause(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("pause", Verb::Pause, id).await
    }

    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("resume", Verb::Resume, id).await
    }

    async fn kill(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("kill", Verb::Kill, id).await
    }

    async fn cut_off(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("cut off", Verb::CutOff, id).await
    }

    async fn heal(&self, id: &MachineId) -> Result<(), ProviderError> {
        self.do_order("heal", Verb::Heal, id).await
    }
}
