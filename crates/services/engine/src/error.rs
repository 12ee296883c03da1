//! What ends a whole run. What ends one node is a [`crate::fault::Fault`].

use muster_doc::Diagnostic;
use muster_provider::ProviderError;
use muster_store::{Lease, StoreError};
use muster_types::{ClusterName, NodeName};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot {operation}")]
    Store {
        operation: &'static str,
        #[source]
        source: Box<StoreError>,
    },
    #[error("provider {provider} cannot {operation}")]
    Provider {
        provider: String,
        operation: &'static str,
        #[source]
        source: Box<ProviderError>,
    },
    #[error("cluster {} is being changed by process {} on {} ({}) since {}", lease.cluster, lease.holder.pid, lease.holder.host, lease.holder.command, lease.acquired_at)]
    Locked { lease: Box<Lease> },
    #[error("the lease of cluster {cluster} was lost: {reason}")]
    LeaseLost { cluster: ClusterName, reason: String },
    #[error("this engine holds the lease of cluster {held} and cannot work on {asked}")]
    OtherCluster { held: ClusterName, asked: ClusterName },
    #[error("the removal of cluster {cluster} was begun and is not finished")]
    BeingRemoved { cluster: ClusterName },
    #[error("the machines of cluster {cluster} are from provider {found}, not from {asked}")]
    OtherProvider { cluster: ClusterName, found: String, asked: String },
    #[error("the cluster changed after the plan was made, which now would also {}", actions.join(", "))]
    PlanChanged { actions: Vec<String> },
    #[error("the configuration of {node} cannot be rendered: {}", diagnostics.first().map(|d| d.message.as_str()).unwrap_or_default())]
    Render { node: NodeName, diagnostics: Vec<Diagnostic> },
    #[error("what node {node} starts with cannot be written down")]
    Bootstrap {
        node: NodeName,
        #[source]
        source: serde_json::Error,
    },
    #[error("no enrolment token can be made for node {node}")]
    Token {
        node: NodeName,
        #[source]
        source: Box<muster_pki::PkiError>,
    },
    #[error("the cluster's own credentials cannot be used")]
    Identity {
        #[source]
        source: Box<muster_pki::PkiError>,
    },
    #[error("the cluster's own credentials make no connections")]
    Credentials {
        #[source]
        source: Box<muster_transport::TransportError>,
    },
}

impl EngineError {
    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Store { source, .. } if matches!(**source, StoreError::Newer { .. }) => {
                "use the version of muster that wrote the state, or a newer one".to_owned()
            }
            Self::Store { .. } => {
                "check that the state folder is there, writable and not full, then run the command again".to_owned()
            }
            Self::Provider { source, .. } if !source.hint.is_empty() => source.hint.clone(),
            Self::Provider { provider, .. } => format!("check that provider {provider} can be reached from here"),
            Self::Locked { lease } => {
                format!("wait until it ends, or end process {} on {}", lease.holder.pid, lease.holder.host)
            }
            Self::LeaseLost { .. } => {
                "another process took over, or this one slept too long; look with `muster status`, then run it again"
                    .to_owned()
            }
            Self::OtherCluster { .. } => "use one engine for each cluster".to_owned(),
            Self::BeingRemoved { cluster } => format!("finish it with `muster down {cluster}`, then run `up` again"),
            Self::OtherProvider { found, cluster, .. } => {
                format!("use `--provider {found}`, or remove the cluster first with `muster down {cluster}`")
            }
            Self::PlanChanged { .. } => "look at the new plan and run the command again".to_owned(),
            Self::Render { diagnostics, .. } => diagnostics.first().map(|d| d.hint.clone()).unwrap_or_default(),
            Self::Bootstrap { .. } => "report this as a bug".to_owned(),
            Self::Token { source, .. } | Self::Identity { source } => source.hint().to_owned(),
            Self::Credentials { source } => source.hint().to_owned(),
        }
    }

    /// The exit code of the program, as in the README's table.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::LeaseLost { .. } => 5,
            Self::Render { .. } => 65,
            Self::Provider { source, .. } if source.is_temporary() => 69,
            _ => 1,
        }
    }

    pub(crate) fn store(operation: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |source| match source {
            StoreError::Leased { lease } => Self::Locked { lease },
            StoreError::Fenced { cluster, held } => {
                Self::LeaseLost { cluster, reason: format!("generation {held} is no longer the newest") }
            }
            source => Self::Store { operation, source: Box::new(source) },
        }
    }
}
