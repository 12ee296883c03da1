//! Machines of the local provider, with the real program as shepherd and node, and agents that speak for them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use muster_api::{AGENT_PORT, BOOTSTRAP_VERSION, Bootstrap, ExecExit, ExecRequest, Frame, FrameKind};
use muster_pki::{Authority, token_hash};
use muster_provider::contract::{Fixture, Probe};
use muster_provider::{
    BakeRequest, BakeryContext, Dialer, Factory, Machine, MachineRequest, MachineState, OpenContext, Provider,
    ProviderError, Size, Tags,
};
use muster_provider_local::LocalFactory;
use muster_transport::{AgentClient, AgentClients, AgentEndpoint, Credentials, TransportError};
use muster_types::{ClientToken, ClusterName, NodeName, Redacted};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-the-tests";

/// Nodes need root; said once a test, and the test then has nothing to check.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        io::Write::write_all(&mut io::stderr(), b"skipped: sandbox nodes need root\n").unwrap();
    }
    root
}

/// What nodes of a test are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The machine's own programs under our own init.
    Plain,
    /// Debian under systemd.
    Systemd,
}

pub(crate) fn context(folder: &Path) -> OpenContext {
    OpenContext {
        scope: "contract".to_owned(),
        data_dir: folder.join("data"),
        runtime_dir: folder.join("run"),
        settings: None,
        images: images(),
    }
}

/// Baked once for all tests, and kept for the next run of them.
fn images() -> BakeryContext {
    let folder = muster_testkit::images();
    BakeryContext { images_dir: folder.join("images"), cache_dir: folder.join("cache") }
}

pub(crate) async fn open(folder: PathBuf) -> Result<Arc<dyn Provider>, ProviderError> {
    open_with(PathBuf::from(env!("CARGO_BIN_EXE_muster")), context(&folder)).await
}

/// `program` is what the shepherd is started by.
pub(crate) async fn open_with(program: PathBuf, context: OpenContext) -> Result<Arc<dyn Provider>, ProviderError> {
    LocalFactory { program }.open(context).await
}

/// Makes the image of such nodes, unless it is there.
async fn bake(provider: &dyn Provider, kind: Kind) {
    if let Some(image) = kind.image() {
        let request = BakeRequest { image: Some(image), ..BakeRequest::default() };
        provider.bakery().unwrap().bake(&request, &|_| ()).await.unwrap();
    }
}

impl Kind {
    fn image(self) -> Option<String> {
        (self == Self::Systemd).then(|| "debian-12".to_owned())
    }
}

pub(crate) fn authority(folder: &Path) -> Authority {
    Authority::open_or_create(&folder.join("pki"), &ClusterName::new("contract").unwrap()).unwrap()
}

pub(crate) fn request(kind: Kind, name: &NodeName, ca: &str) -> MachineRequest {
    let bootstrap = Bootstrap {
        version: BOOTSTRAP_VERSION,
        cluster: ClusterName::new("contract").unwrap(),
        node: name.clone(),
        ca: ca.to_owned(),
        token_sha256: token_hash(TOKEN),
        port: AGENT_PORT,
    };
    MachineRequest {
        name: name.clone(),
        token: ClientToken::new(format!("token-{name}")),
        tags: Tags::new(),
        image: kind.image(),
        packages: std::collections::BTreeSet::new(),
        shared_folders: std::collections::BTreeSet::new(),
        size: Size::default(),
        settings: None,
        user_data: Redacted::new(serde_json::to_string(&bootstrap).unwrap()),
    }
}

pub(crate) async fn fixture_of(kind: Kind) -> Fixture {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    assert!(is_root(), "the contract needs root: run the tests as root, as CI does");
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let ca = authority(folder.path()).ca_pem().to_owned();
    let provider = open(folder.path().to_owned()).await.unwrap();
    bake(provider.as_ref(), kind).await;
    let template = request(kind, &NodeName::new("template").unwrap(), &ca);
    let (again, left, probed) = (folder.path().to_owned(), folder.path().to_owned(), Arc::clone(&folder));
    let mut fixture = Fixture::new(provider, template);
    fixture.request = Arc::new(move |name| request(kind, name, &ca));
    fixture
        .probe(AgentProbe { folder: probed })
        .reopen(Arc::new(move || Box::pin(open(again.clone()))))
        .leftovers(move || leftovers(&left))
        .keep(folder)
}

/// Folders of the provider, and processes that were started for it: by what they are called with, and by their cgroup.
pub(crate) fn leftovers(folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(Some(folder.join("data").display().to_string()).filter(|_| folder.join("data").exists()));
    for entry in fs_err::read_dir(folder.join("run")).into_iter().flatten().flatten() {
        left.push(entry.path().display().to_string());
    }
    let scope = muster_provider_local::scope_name("contract", &folder.join("data"));
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        // Processes come and go while this is read.
        let Ok(command) = fs_err::read_to_string(entry.path().join("cmdline")) else { continue };
        let cgroups = fs_err::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        // Who has ended has no command, and stays in its cgroup until somebody looks after it.
        if command.is_empty() {
            continue;
        }
        if command.contains(&folder.display().to_string()) || cgroups.contains(&scope) {
            left.push(command.replace('\0', " "));
        }
    }
    left
}

/// Speaks with the agent of a machine, and writes to its disk by `exec`.
pub(crate) struct AgentProbe {
    pub(crate) folder: Arc<TempDir>,
}

impl AgentProbe {
    pub(crate) fn client(&self, dialer: &dyn Dialer, machine: &Machine) -> AgentClient {
        let authority = authority(self.folder.path());
        let identity = authority.operator().unwrap();
        let credentials = Credentials {
            ca_pem: authority.ca_pem().to_owned(),
            certificate_pem: identity.certificate_pem.clone(),
            key_pem: identity.key_pem.clone(),
        };
        // The suite lends its dialler; the client wants to keep one, which the same folder gives.
        let _ = dialer;
        let provider = futures_util::FutureExt::now_or_never(open(self.folder.path().to_owned())).unwrap().unwrap();
        let clients = AgentClients::new(&credentials, provider.dialer()).unwrap();
        let address = (machine.addresses[0], AGENT_PORT).into();
        clients.node(AgentEndpoint { node: machine.name.clone(), address })
    }

    pub(crate) async fn joined(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<AgentClient> {
        let client = self.client(dialer, machine);
        if let Err(TransportError::NotEnrolled { .. }) = client.status().await {
            let authority = authority(self.folder.path());
            let name = machine.name.clone();
            let sign = |offer: &muster_api::EnrolOffer| {
                authority.sign_node(&offer.csr, &name).map_err(|error| error.to_string())
            };
            client.enrol(&Redacted::new(TOKEN.to_owned()), sign).await.map_err(io::Error::other)?;
        }
        Ok(client)
    }

    pub(crate) async fn sh(&self, dialer: &dyn Dialer, machine: &Machine, script: &str) -> io::Result<String> {
        let client = self.joined(dialer, machine).await?;
        let request = ExecRequest {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: std::collections::BTreeMap::new(),
            cwd: None,
            user: None,
            tty: None,
        };
        let mut stream = client.exec(&request).await.map_err(io::Error::other)?;
        stream.send(Frame::new(FrameKind::StdinClosed, "")).await.map_err(io::Error::other)?;
        let mut output = Vec::new();
        while let Some(frame) = stream.recv().await.map_err(io::Error::other)? {
            match frame.kind {
                FrameKind::Stdout => output.extend_from_slice(&frame.payload),
                FrameKind::Exit => {
                    let exit: ExecExit = serde_json::from_slice(&frame.payload)?;
                    if exit.code != 0 {
                        return Err(io::Error::other(format!("{script}: ended with {}: {:?}", exit.code, exit.error)));
                    }
                }
                _ => {}
            }
        }
        String::from_utf8(output).map_err(io::Error::other)
    }
}

#[async_trait]
impl Probe for AgentProbe {
    async fn answers(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<()> {
        match self.client(dialer, machine).status().await {
            Ok(_) | Err(TransportError::NotEnrolled { .. }) => dialer.ping(machine.addresses[0]).await,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn keeps_data(&self) -> bool {
        true
    }

    fn kept_in(&self) -> Option<&Path> {
        Some(Path::new("/srv"))
    }

    async fn put(&self, dialer: &dyn Dialer, machine: &Machine, text: &str) -> io::Result<()> {
        self.sh(dialer, machine, &format!("echo {text} > /srv/kept")).await.map(drop)
    }

    async fn get(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<String> {
        Ok(self.sh(dialer, machine, "cat /srv/kept").await?.trim().to_owned())
    }
}

/// A fixture with one running machine, and a shell on it.
pub(crate) struct OneNode {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) machine: Machine,
    pub(crate) probe: AgentProbe,
}

impl OneNode {
    pub(crate) async fn start(kind: Kind, size: Size) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let provider = open(folder.path().to_owned()).await.unwrap();
        Self::start_on(kind, provider, folder, |request| request.size = size).await
    }

    /// On a provider that was opened in this folder; `change` says what is asked for beyond the usual.
    pub(crate) async fn start_on(
        kind: Kind,
        provider: Arc<dyn Provider>,
        folder: Arc<TempDir>,
        change: impl FnOnce(&mut MachineRequest),
    ) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        bake(provider.as_ref(), kind).await;
        let ca = authority(folder.path()).ca_pem().to_owned();
        let mut asked = request(kind, &NodeName::new("node-1").unwrap(), &ca);
        change(&mut asked);
        let machine = provider.create(&asked).await.unwrap();
        let machine = provider.wait_running(&machine.id).await.unwrap();
        let node = Self { provider, machine, probe: AgentProbe { folder } };
        assert_eq!(node.machine.state, MachineState::Running, "{:?}", node.machine.detail);
        node
    }

    pub(crate) async fn sh(&self, script: &str) -> String {
        self.probe.sh(self.provider.dialer().as_ref(), &self.machine, script).await.unwrap()
    }

    pub(crate) async fn end(self) {
        self.provider.destroy(&self.machine.id).await.unwrap();
        self.provider.release().await.unwrap();
        assert_eq!(leftovers(self.probe.folder.path()), Vec::<String>::new());
    }
}

impl Drop for OneNode {
    /// A test that fails leaves nothing behind either.
    fn drop(&mut self) {
        if leftovers(self.probe.folder.path()).is_empty() {
            return;
        }
        let provider = Arc::clone(&self.provider);
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for machine in provider.list(&Tags::new()).await.unwrap() {
                    provider.destroy(&machine.id).await.unwrap();
                }
                provider.release().await.unwrap();
            });
        };
        // A thread of its own: this one may be inside a runtime. Its panic must not hide the test's.
        drop(std::thread::spawn(clean).join());
    }
}

pub(crate) async fn wait_for_another_boot(node: &OneNode, before: &str) -> String {
    let mut pauses = muster_stdx::Backoff::new(std::time::Duration::from_millis(10), std::time::Duration::from_secs(1));
    for _ in 0..40 {
        let client = node.probe.client(node.provider.dialer().as_ref(), &node.machine);
        if let Ok(status) = client.status().await
            && status.boot_id != before
        {
            return status.boot_id;
        }
        tokio::time::sleep(pauses.pause()).await;
    }
    panic!("the node did not come back: {:?}", node.provider.list(&Tags::new()).await);
}
