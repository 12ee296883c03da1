//! The agent as a service.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use muster_api::BOOTSTRAP_VERSION;
use muster_stdx::Supervisor;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applier, ApplierConfig};
use crate::config::Ready;
use crate::identity::Identity;
use crate::routes::Shared;
use crate::{AgentConfig, AgentError, boot, facts, serve};

/// Built, listening, and not yet answering.
pub struct Agent {
    listener: TcpListener,
    shared: Arc<Shared>,
    ready: Option<Ready>,
}

impl Agent {
    /// Binds the port, loads or makes the key, and goes on with a configuration that was not finished. To be called
    /// within a tokio runtime; one with a single thread is enough.
    pub fn build(config: AgentConfig) -> Result<Self, AgentError> {
        let facts = facts::of(&config.root, &config.node_limits);
        let AgentConfig { bootstrap, state_dir, root, listen, boot_id, rebooted_from_inside, ready, limits, .. } =
            config;
        if bootstrap.version != BOOTSTRAP_VERSION {
            return Err(AgentError::Bootstrap { found: bootstrap.version, known: BOOTSTRAP_VERSION });
        }
        let boot = boot::this(boot_id).map_err(|source| AgentError::Boot { source })?;
        let listener = TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| AgentError::Listen { address: listen, source })?;
        let (cluster, node) = (bootstrap.cluster.clone(), bootstrap.node.clone());
        let identity = Identity::open(&state_dir, bootstrap)?;
        let supervisor = Supervisor::new();
        let boot_id = boot.id.clone();
        let applied = ApplierConfig { state_dir, root, node: node.clone(), boot_id, rebooted_from_inside };
        let applier = Applier::open(applied, supervisor.clone()).map_err(|source| AgentError::Applier { source })?;
        let execs = Arc::new(Semaphore::new(limits.execs));
        let identity = Arc::new(identity);
        let shared = Shared { cluster, node, boot, facts, identity, applier, supervisor, execs, limits };
        Ok(Self { listener, shared: Arc::new(shared), ready })
    }

    /// Where it listens; of use when the port was left to the system.
    pub fn address(&self) -> Result<SocketAddr, AgentError> {
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        self.listener.local_addr().map_err(|source| AgentError::Listen { address: unspecified, source })
    }

    /// Answers until the token is cancelled, then ends its tasks. Configuration steps that run are ended too and go on
    /// at the next start.
    pub async fn run(self, token: CancellationToken) -> Result<(), AgentError> {
        let address = self.address()?;
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|source| AgentError::Listen { address, source })?;
        let supervisor = self.shared.supervisor.clone();
        // Whoever drops this future ends its tasks too.
        let _ends_with_this = supervisor.token().drop_guard();
        tracing::info!(%address, node = %self.shared.node, "the agent listens");
        if let Some(ready) = self.ready {
            ready();
        }
        let failed = supervisor.token();
        let stopped = tokio::select! {
            // The listener has no state worth keeping; open connections belong to the supervisor.
            () = serve::accept(listener, Arc::clone(&self.shared)) => false,
            () = failed.cancelled() => false,
            () = token.cancelled() => true,
        };
        if !supervisor.shutdown(self.shared.limits.shutdown).await {
            tracing::warn!("some tasks of the agent did not end in time");
        }
        if stopped { Ok(()) } else { Err(AgentError::Task) }
    }
}
