//! The providers there are: the one place that names them.

use std::sync::Arc;

use muster_provider::Factory;

use crate::error::Failure;
use crate::exit::ExitStatus;

pub(crate) fn factories() -> Result<Vec<Arc<dyn Factory>>, Failure> {
    // The running program, also when a newer one has been put in its place since.
    let program = std::env::current_exe()?;
    Ok(vec![Arc::new(muster_provider_local::LocalFactory { program })])
}

pub(crate) fn find(name: &str) -> Result<Arc<dyn Factory>, Failure> {
    let factories = factories()?;
    let names: Vec<&str> = factories.iter().map(|factory| factory.name()).collect();
    let hint = format!("providers of this program: {}", names.join(", "));
    factories
        .iter()
        .find(|factory| factory.name() == name)
        .cloned()
        .ok_or_else(|| Failure::new(format!("there is no provider `{name}`"), hint, ExitStatus::USAGE))
}
