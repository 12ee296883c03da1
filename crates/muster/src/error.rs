//! What a command fails with: a message, a hint, an exit code.

use std::fmt;

use muster_doc::{Diagnostic, SourceMap};

use crate::exit::ExitStatus;

/// An error that ends a command. Printed by `main` only.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong; the chain says what, the hint what to do.
    Error { error: anyhow::Error, hint: String, status: ExitStatus },
    /// A file is wrong, in one or more places.
    Rejected { sources: SourceMap, diagnostics: Vec<Diagnostic> },
}

impl Failure {
    pub(crate) fn new(message: impl fmt::Display, hint: impl Into<String>, status: ExitStatus) -> Self {
        Self::Error { error: anyhow::anyhow!("{message}"), hint: hint.into(), status }
    }

    pub(crate) fn usage(message: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self::new(message, hint, ExitStatus::USAGE)
    }

    /// All of it in one line.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Error { error, .. } => muster_stdx::chain(error.as_ref()),
            Self::Rejected { diagnostics, .. } => {
                diagnostics.iter().map(|found| found.message.as_str()).collect::<Vec<_>>().join("; ")
            }
        }
    }

    pub(crate) fn status(&self) -> ExitStatus {
        match self {
            Self::Error { status, .. } => *status,
            Self::Rejected { .. } => ExitStatus::BAD_FILE,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error { error, hint: String::new(), status: ExitStatus::FAILED }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ExitStatus::NO_PERMISSION,
            _ => ExitStatus::FAILED,
        };
        Self::Error { error: error.into(), hint: String::new(), status }
    }
}

impl From<muster_engine::EngineError> for Failure {
    fn from(error: muster_engine::EngineError) -> Self {
        let (hint, status) = (error.hint(), ExitStatus(error.exit_code()));
        Self::Error { error: error.into(), hint, status }
    }
}

impl From<muster_store::StoreError> for Failure {
    fn from(error: muster_store::StoreError) -> Self {
        let hint = "check that the state folder can be written and is not full";
        Self::Error { error: error.into(), hint: hint.to_owned(), status: ExitStatus::FAILED }
    }
}

impl From<muster_provider::ProviderError> for Failure {
    fn from(error: muster_provider::ProviderError) -> Self {
        let status = if error.is_temporary() { ExitStatus::UNREACHABLE } else { ExitStatus::FAILED };
        let hint = error.hint.clone();
        Self::Error { error: error.into(), hint, status }
    }
}

impl From<muster_pki::PkiError> for Failure {
    fn from(error: muster_pki::PkiError) -> Self {
        let hint = "the cluster's keys are in `clusters/NAME/pki` of the state folder";
        Self::Error { error: error.into(), hint: hint.to_owned(), status: ExitStatus::FAILED }
    }
}
