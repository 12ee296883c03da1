//! What a provider's tests hand to the suite.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use muster_types::NodeName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Dialer, Machine, MachineRequest, Provider, ProviderError};

/// Opens a second handle on the same machines, as another process would.
pub type Reopen = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Provider>, ProviderError>> + Send + Sync>;

/// Names what is still there of the provider's: processes, mounts, folders.
pub type Leftovers = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// A provider to be checked and what the checks need to know. Made anew for each case.
pub struct Fixture {
    pub provider: Arc<dyn Provider>,
    /// What a machine of that name is asked for with. The suite sets the token and adds a tag.
    pub request: Arc<dyn Fn(&NodeName) -> MachineRequest + Send + Sync>,
    pub probe: Option<Arc<dyn Probe>>,
    pub reopen: Option<Reopen>,
    pub leftovers: Option<Leftovers>,
    /// How long a change may take to be seen.
    pub patience: Duration,
    /// How long a machine that must not answer is listened to.
    pub silence: Duration,
    /// How long one case may take.
    pub limit: Duration,
    /// Dropped after the case: temporary folders and the like.
    pub keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// All machines are asked for as `template` says, but for name, token and tags.
    pub fn new(provider: Arc<dyn Provider>, template: MachineRequest) -> Self {
        Self {
            provider,
            request: Arc::new(move |name| MachineRequest { name: name.clone(), ..template.clone() }),
            probe: None,
            reopen: None,
            leftovers: None,
            patience: Duration::from_secs(30),
            silence: Duration::from_millis(300),
            limit: Duration::from_mins(2),
            keep: None,
        }
    }

    #[must_use]
    pub fn probe(mut self, probe: impl Probe + 'static) -> Self {
        self.probe = Some(Arc::new(probe));
        self
    }

    #[must_use]
    pub fn reopen(mut self, reopen: Reopen) -> Self {
        self.reopen = Some(reopen);
        self
    }

    #[must_use]
    pub fn leftovers(mut self, leftovers: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.leftovers = Some(Arc::new(leftovers));
        self
    }

    #[must_use]
    pub fn keep(mut self, keep: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }
}

/// Asks a machine for signs of life, and lets it keep a text.
#[async_trait]
pub trait Probe: Send + Sync {
    /// One exchange that needs a process of the machine's to run: an accepted connection alone says little, for a
    /// kernel accepts connections of processes that stand still.
    async fn answers(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<()>;

    /// Whether `put` and `get` work.
    fn keeps_data(&self) -> bool {
        false
    }

    /// The folder that `put` writes to; `None` where a machine has no such thing.
    fn kept_in(&self) -> Option<&Path> {
        None
    }

    /// Writes a text to the machine's disk.
    async fn put(&self, _dialer: &dyn Dialer, _machine: &Machine, _text: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads it back.
    async fn get(&self, _dialer: &dyn Dialer, _machine: &Machine) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Connects to a port, says something, and takes any reaction for an answer: a byte, or the end of the connection.
#[derive(Debug, Clone)]
pub struct TcpProbe {
    pub port: u16,
    pub say: Vec<u8>,
}

#[async_trait]
impl Probe for TcpProbe {
    async fn answers(&self, dialer: &dyn Dialer, machine: &Machine) -> io::Result<()> {
        let address = *machine.addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut stream = dialer.connect(SocketAddr::new(address, self.port)).await?;
        stream.write_all(&self.say).await?;
        let mut byte = [0; 1];
        match stream.read(&mut byte).await {
            Ok(_) => Ok(()),
            // A server that does not like what it hears may close so hard that it looks like this.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }
}
