//! The local provider with the real program as shepherd and node: the provider contract, and what is particular to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use muster_api::{AGENT_PORT, BOOTSTRAP_VERSION, Bootstrap, ExecExit, ExecRequest, Frame, FrameKind};
use muster_pki::{Authority, token_hash};
use muster_provider::contract::{Fixture, Probe};
use muster_provider::{
    BakeryContext, Dialer, Factory, Machine, MachineRequest, OpenContext, Provider, ProviderError, Size, Tags,
};
use muster_provider_local::LocalFactory;
use muster_transport::{AgentClient, AgentClients, AgentEndpoint, Credentials, TransportError};
use muster_types::{ClientToken, ClusterName, NodeName, Redacted};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-the-tests";

/// Nodes need root; said once a test, and the test then has nothing to check.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        io::Write::write_all(&mut io::stderr(), b"skipped: sandbox nodes need root\n").unwrap();
    }
    root
}

fn context(folder: &Path) -> OpenContext {
    OpenContext {
        scope: "contract".to_owned(),
        data_dir: folder.join("data"),
        runtime_dir: folder.join("run"),
        settings: None,
        images: BakeryContext { images_dir: folder.join("images"), cache_dir: folder.join("cache") },
    }
}

async fn open(folder: PathBuf) -> Result<Arc<dyn Provider>, ProviderError> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_muster"));
    LocalFactory { program }.open(context(&folder)).await
}

fn authority(folder: &Path) -> Authority {
    Authority::open_or_create(&folder.join("pki"), &ClusterName::new("contract").unwrap()).unwrap()
}

fn request(name: &NodeName, ca: &str) -> MachineRequest {
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
        image: None,
        packages: std::collections::BTreeSet::new(),
        shared_folders: std::collections::BTreeSet::new(),
        size: Size::default(),
        settings: None,
        user_data: Redacted::new(serde_json::to_string(&bootstrap).unwrap()),
    }
}

async fn fixture() -> Fixture {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    assert!(is_root(), "the contract needs root: run the tests as root, as CI does");
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let ca = authority(folder.path()).ca_pem().to_owned();
    let provider = open(folder.path().to_owned()).await.unwrap();
    let template = request(&NodeName::new("template").unwrap(), &ca);
    let (again, left, probed) = (folder.path().to_owned(), folder.path().to_owned(), Arc::clone(&folder));
    let mut fixture = Fixture::new(provider, template);
    fixture.request = Arc::new(move |name| request(name, &ca));
    fixture
        .probe(AgentProbe { folder: probed })
        .reopen(Arc::new(move || Box::pin(open(again.clone()))))
        .leftovers(move || leftovers(&left))
        .keep(folder)
}

/// Folders of the provider, and processes that were started for it.
fn leftovers(folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(Some(folder.join("data").display().to_string()).filter(|_| folder.join("data").exists()));
    for entry in fs_err::read_dir(folder.join("run")).into_iter().flatten().flatten() {
        left.push(entry.path().display().to_string());
    }
    for entry in fs_err::read_dir("/proc").unwrap().flatten() {
        // Processes come and go while this is read.
        let Ok(command) = fs_err::read_to_string(entry.path().join("cmdline")) else { continue };
        if command.contains(&folder.display().to_string()) {
            left.push(command.replace('\0', " "));
        }
    }
    left
}

/// Speaks with the agent of a machine, and writes to its disk by `exec`.
struct AgentProbe {
    folder: Arc<TempDir>,
}

impl AgentProbe {
    fn client(&self, dialer: &dyn Dialer, machine: &Machine) -> AgentClient {
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

    async fn joined(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<AgentClient> {
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

    async fn sh(&self, dialer: &dyn Dialer, machine: &Machine, script: &str) -> io::Result<String> {
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
                    assert_eq!(exit.code, 0, "{script}: {:?}", exit.error);
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

    async fn put(&self, dialer: &dyn Dialer, machine: &Machine, text: &str) -> io::Result<()> {
        self.sh(dialer, machine, &format!("echo {text} > /srv/kept")).await.map(drop)
    }

    async fn get(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<String> {
        Ok(self.sh(dialer, machine, "cat /srv/kept").await?.trim().to_owned())
    }
}

muster_provider::contract_suite!(fixture);

/// A fixture with one running machine, and a shell on it.
struct OneNode {
    provider: Arc<dyn Provider>,
    machine: Machine,
    probe: AgentProbe,
}

impl OneNode {
    async fn start(size: Size) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let provider = open(folder.path().to_owned()).await.unwrap();
        let ca = authority(folder.path()).ca_pem().to_owned();
        let name = NodeName::new("node-1").unwrap();
        let machine = provider.create(&MachineRequest { size, ..request(&name, &ca) }).await.unwrap();
        let machine = provider.wait_running(&machine.id).await.unwrap();
        Self { provider, machine, probe: AgentProbe { folder } }
    }

    async fn sh(&self, script: &str) -> String {
        self.probe.sh(self.provider.dialer().as_ref(), &self.machine, script).await.unwrap()
    }

    async fn end(self) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cannot_change_the_machine_it_runs_on() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Size::default()).await;
    let tries = [
        "touch /usr/written",
        "echo 1 > /proc/sys/vm/overcommit_memory",
        "echo h > /proc/sysrq-trigger",
        "touch /sys/written",
        "date -s 2001-01-01",
    ];
    for script in tries {
        let script = format!("if {script} >/dev/null 2>&1; then echo done; else echo refused; fi");
        assert_eq!(node.sh(&script).await.trim(), "refused", "{script}");
    }
    assert_eq!(node.sh("cat /proc/1/comm").await.trim(), "muster");
    assert_eq!(node.sh("hostname; ls /home; cat /etc/shadow | cut -d: -f2 | sort -u").await, "node-1\n*\n");
    node.sh("sysctl -q -w net.ipv4.ip_forward=1 || echo 1 > /proc/sys/net/ipv4/ip_forward").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_keeps_its_address_as_nodes_come() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Size::default()).await;
    // What the node knows of the switch is what it sends to; the owner has just spoken with it.
    let known = "awk '$1 == \"10.77.0.1\" { print $4 }' /proc/net/arp";
    let before = node.sh(known).await;
    let ca = authority(node.probe.folder.path()).ca_pem().to_owned();
    for index in 2..6 {
        let name = NodeName::new(format!("node-{index}")).unwrap();
        let machine = node.provider.create(&request(&name, &ca)).await.unwrap();
        node.provider.wait_running(&machine.id).await.unwrap();
        node.sh("ip neigh flush all 2>/dev/null; true").await;
        assert_eq!(node.sh(known).await, before, "after {name} came");
    }
    for machine in node.provider.list(&Tags::new()).await.unwrap() {
        if machine.id != node.machine.id {
            node.provider.destroy(&machine.id).await.unwrap();
        }
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_name_is_refused_at_once() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Size::default()).await;
    let hosts = node.sh("cat /etc/hosts").await;
    assert!(hosts.contains(&format!("{} node-1 node-1.contract", node.machine.addresses[0])), "{hosts}");
    // A dead resolver would hold this for ten seconds, and `timeout` would end it with 124.
    assert_eq!(node.sh("timeout 2 getent hosts nowhere.example; echo $?").await.trim(), "2");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_from_inside_comes_back_with_its_data() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Size::default()).await;
    node.sh("echo kept > /srv/kept").await;
    let before = node.probe.joined(node.provider.dialer().as_ref(), &node.machine).await.unwrap();
    let before = before.status().await.unwrap().boot_id;
    // The command is ended with the machine, so its exit is not looked at.
    drop(node.probe.sh(node.provider.dialer().as_ref(), &node.machine, "reboot -f").await);
    let after = wait_for_another_boot(&node, &before).await;
    assert_ne!(before, after);
    let address = node.machine.addresses[0].to_string();
    let octets: Vec<String> = address.split('.').map(|octet| format!("{:02x}", octet.parse::<u8>().unwrap())).collect();
    // What others know of the node is still right.
    assert_eq!(node.sh("cat /sys/class/net/eth0/address").await.trim(), format!("02:6d:{}", octets.join(":")));
    assert_eq!(node.sh("cat /srv/kept").await.trim(), "kept");
    node.end().await;
}

async fn wait_for_another_boot(node: &OneNode, before: &str) -> String {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_limited_where_the_machine_can() {
    if !is_root() {
        return;
    }
    let size = Size { memory: Some("64M".parse().unwrap()), cpus: Some(0.5), name: None };
    let node = OneNode::start(size).await;
    // `tail` keeps what it has read since the last line's end, so this grows until it is ended.
    let script = "head -c 200000000 /dev/zero | tail | wc -c; echo survived";
    let output = node.probe.sh(node.provider.dialer().as_ref(), &node.machine, script).await;
    let output = output.unwrap_or_default();
    assert!(!output.contains("200000000"), "200 MB were kept in 64 MB: {output}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_of_a_killed_shepherd_are_stopped_and_start_again() {
    if !is_root() {
        return;
    }
    let node = OneNode::start(Size::default()).await;
    node.sh("echo kept > /srv/kept").await;
    let identity = fs_err::read(node.probe.folder.path().join("data/shepherd.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(identity["pid"].as_i64().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).ok();
    let listed = node.provider.list(&Tags::new()).await.unwrap();
    assert_eq!(listed[0].state, muster_provider::MachineState::Stopped);
    node.provider.start(&node.machine.id).await.unwrap();
    let started = node.provider.wait_running(&node.machine.id).await.unwrap();
    assert_eq!(started.addresses, node.machine.addresses);
    assert_eq!(node.sh("cat /srv/kept").await.trim(), "kept");
    node.end().await;
}
