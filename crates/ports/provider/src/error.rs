//! One error type for all providers.

use muster_types::MachineId;

/// Whether trying again can help. Nothing else decides retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Permanent,
    Temporary,
    /// It asks for fewer calls. Nothing was done, and it is tried again until the time for the call is up.
    Throttled,
}

#[derive(Debug, thiserror::Error)]
#[error("{operation}{}: {message}", machine.as_ref().map(|id| format!(" of machine {id}")).unwrap_or_default())]
pub struct ProviderError {
    /// What was tried, as a verb: `create`, `list`.
    pub operation: &'static str,
    pub machine: Option<MachineId>,
    pub status: Status,
    pub message: String,
    /// What the user can do; empty when there is nothing to say.
    pub hint: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    pub fn permanent(operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            operation,
            machine: None,
            status: Status::Permanent,
            message: message.into(),
            hint: String::new(),
            source: None,
        }
    }

    pub fn temporary(operation: &'static str, message: impl Into<String>) -> Self {
        Self { status: Status::Temporary, ..Self::permanent(operation, message) }
    }

    pub fn throttled(operation: &'static str, message: impl Into<String>) -> Self {
        Self { status: Status::Throttled, ..Self::permanent(operation, message) }
    }

    #[must_use]
    pub fn machine(mut self, id: &MachineId) -> Self {
        self.machine = Some(id.clone());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn is_temporary(&self) -> bool {
        self.status != Status::Permanent
    }
}
