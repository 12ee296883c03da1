//! What ends one node's way to ready, and leaves the others alone.

use muster_provider::ProviderError;
use muster_stdx::chain;

use crate::EngineError;

/// Last lines of output that are kept with a failure.
pub(crate) const LOG_LINES_MAX: usize = 20;

/// Why a node is not ready, with all that its user needs to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    /// The configuration step or check that failed.
    pub(crate) step: Option<String>,
    pub(crate) log: Vec<String>,
    pub(crate) hint: String,
    pub(crate) timed_out: bool,
    /// The provider may have done what it was asked for: the intent stays open.
    pub(crate) uncertain: bool,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into(), ..Self::default() }
    }

    pub(crate) fn timeout(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { timed_out: true, ..Self::new(reason, hint) }
    }

    pub(crate) fn provider(error: &ProviderError) -> Self {
        let hint = if error.hint.is_empty() {
            "run the same command again once the provider can do it; what was done is kept".to_owned()
        } else {
            error.hint.clone()
        };
        Self::new(chain(error), hint)
    }
}

/// Ends a node, or the whole run.
#[derive(Debug)]
pub(crate) enum Stop {
    Node(Box<Fault>),
    Run(Box<EngineError>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Node(Box::new(fault))
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Run(Box::new(error))
    }
}
