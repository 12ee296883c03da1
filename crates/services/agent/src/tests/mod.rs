//! The agent over real sockets on loopback: one world per test, with a CA, an agent and clients of all kinds.

mod door;
mod enrolment;
mod impostors;
mod raw;
mod renewal;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_api::{BOOTSTRAP_VERSION, Bootstrap};
use muster_pki::{Authority, Identity, NodeKey, new_token, token_hash};
use muster_provider::Dialer;
use muster_stdx::{OnError, Supervisor};
use muster_transport::{AgentClient, AgentClients, AgentEndpoint, Credentials, Limits, TransportError};
use muster_types::{ClusterName, NodeName, Redacted, Timestamp};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{Agent, AgentConfig, AgentError, AgentLimits};

/// A wait for something that is sure to come; longer only when the machine is busy.
const PATIENCE: Duration = Duration::from_mins(1);

struct Loopback;

#[async_trait]
impl Dialer for Loopback {
    async fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    async fn ping(&self, _address: IpAddr) -> std::io::Result<()> {
        Ok(())
    }
}

/// A cluster of one node, `web-1`, as its owner sees it.
struct World {
    folder: TempDir,
    authority: Authority,
    token: Redacted<String>,
}

/// An agent that runs until it is stopped.
struct Running {
    address: SocketAddr,
    token: CancellationToken,
    supervisor: Supervisor,
}

fn cluster() -> ClusterName {
    ClusterName::new("demo").unwrap()
}

fn web_1() -> NodeName {
    NodeName::new("web-1").unwrap()
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("root")).unwrap();
        let authority = Authority::open_or_create(&folder.path().join("pki"), &cluster()).unwrap();
        Self { folder, authority, token: new_token().unwrap() }
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            version: BOOTSTRAP_VERSION,
            cluster: cluster(),
            node: web_1(),
            ca: self.authority.ca_pem().to_owned(),
            token_sha256: token_hash(self.token.expose()),
            port: 0,
        }
    }

    fn config(&self) -> AgentConfig {
        AgentConfig {
            state_dir: self.state_dir(),
            root: self.folder.path().join("root"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            boot_id: Some("this-start".to_owned()),
            ..AgentConfig::new(self.bootstrap())
        }
    }

    fn start(&self) -> Running {
        Self::start_with(self.config()).unwrap()
    }

    fn start_limited(&self, limits: AgentLimits) -> Running {
        Self::start_with(AgentConfig { limits, ..self.config() }).unwrap()
    }

    fn start_with(config: AgentConfig) -> Result<Running, AgentError> {
        let agent = Agent::build(config)?;
        let (address, token, supervisor) = (agent.address()?, CancellationToken::new(), Supervisor::new());
        supervisor.spawn("agent", OnError::Log, agent.run(token.clone()));
        Ok(Running { address, token, supervisor })
    }

    fn operator(&self) -> Identity {
        self.authority.operator_at("jane", Timestamp::now()).unwrap()
    }

    fn node_identity(&self, node: &str) -> Identity {
        let (key, node) = (NodeKey::generate().unwrap(), NodeName::new(node).unwrap());
        let certificate_pem = self.authority.sign_node(&key.csr(&node).unwrap(), &node).unwrap();
        Identity { certificate_pem, key_pem: key.pem() }
    }

    fn client(&self, address: SocketAddr) -> AgentClient {
        self.client_as(&self.operator(), address, Limits::default())
    }

    fn client_as(&self, identity: &Identity, address: SocketAddr, limits: Limits) -> AgentClient {
        let credentials = Credentials {
            ca_pem: self.authority.ca_pem().to_owned(),
            certificate_pem: identity.certificate_pem.clone(),
            key_pem: identity.key_pem.clone(),
        };
        let clients = AgentClients::with_limits(&credentials, Arc::new(Loopback), limits).unwrap();
        clients.node(AgentEndpoint { node: web_1(), address })
    }

    fn sign(&self, request: &str) -> Result<String, String> {
        self.authority.sign_node(request, &web_1()).map_err(|error| error.to_string())
    }

    async fn enrol(&self, client: &AgentClient) -> Result<(), TransportError> {
        client.enrol(&self.token, |offer| self.sign(&offer.csr)).await
    }

    /// An agent that is enrolled, and a client of it.
    async fn enrolled(&self) -> (Running, AgentClient) {
        let running = self.start();
        let client = self.client(running.address);
        self.enrol(&client).await.unwrap();
        (running, client)
    }
}

impl Running {
    async fn stop(self) {
        self.token.cancel();
        assert!(self.supervisor.shutdown(PATIENCE).await);
    }

    /// As a crash would: nothing gets to finish what it does.
    async fn crash(self) {
        assert!(self.supervisor.shutdown(PATIENCE).await);
    }
}
