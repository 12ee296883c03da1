//! Why a document is not taken, and why the applier cannot work.

use std::io;
use std::path::PathBuf;

use muster_api::ApiError;
use muster_types::Generation;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("cannot open the record of the configuration in {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the configuration has no step `{step}`")]
    NoStep { step: String },
}

/// Why a request to apply a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplyRefusal {
    #[error("generation {offered} is older than {newest}, whose orders this node has taken")]
    Stale { offered: Generation, newest: Generation },
    #[error("the document is not the one that its hash names")]
    HashMismatch,
    #[error("another document is being applied: {hash}")]
    Busy { hash: String },
    #[error("this node has to be replaced for this document: {reason}")]
    Replace { steps: Vec<String>, reason: String },
    #[error("the document is not a cloud-config: {}", findings.join("; "))]
    Invalid { findings: Vec<String> },
    #[error("the node cannot write down what it is asked to do")]
    Journal(#[source] io::Error),
}

impl ApplyRefusal {
    /// Stable; part of the API's answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale_generation",
            Self::HashMismatch => "hash_mismatch",
            Self::Busy { .. } => "busy",
            Self::Replace { .. } => "replace_needed",
            Self::Invalid { .. } => "invalid_document",
            Self::Journal(_) => "journal",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "another command has taken over this cluster; run yours again",
            Self::HashMismatch => "send it again: it was changed on its way",
            Self::Busy { .. } => "wait until it is applied; if a command hangs, end it on the node with `muster exec`",
            Self::Replace { .. } => "mark the commands `rerun: true` if they may run again, or replace the node",
            Self::Invalid { .. } => "check the cluster file with `muster validate`",
            Self::Journal(_) => "see whether the node's disk is full",
        }
    }

    /// The HTTP status that fits: 409 for what depends on the node's state, 400 for the document, 500 for the node.
    pub fn status(&self) -> u16 {
        match self {
            Self::Stale { .. } | Self::Busy { .. } | Self::Replace { .. } => 409,
            Self::HashMismatch | Self::Invalid { .. } => 400,
            Self::Journal(_) => 500,
        }
    }

    pub fn api_error(&self) -> ApiError {
        ApiError { code: self.code().to_owned(), message: muster_stdx::chain(self), hint: self.hint().to_owned() }
    }
}
