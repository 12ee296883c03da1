//! Before the first machine of a run is made: whether there is room for all of them.

use std::collections::BTreeMap;

use muster_plan::{Plan, Verb};
use muster_provider::MachineBatch;
use muster_types::NodeName;

use crate::compile::DesiredNode;
use crate::{EngineConfig, EngineError};

/// Asks the provider. Machines that run already count by what they use.
pub(crate) async fn check(config: &EngineConfig, plan: &Plan, desired: &[DesiredNode]) -> Result<(), EngineError> {
    let batches = batches(plan, desired);
    if batches.is_empty() {
        return Ok(());
    }
    let failed = |source| EngineError::Provider {
        provider: config.provider_name.clone(),
        operation: "take the machines of this plan",
        source: Box::new(source),
    };
    match tokio::time::timeout(config.limits.list, config.provider.preflight(&batches)).await {
        Ok(result) => result.map_err(failed),
        // Whoever cannot say so now says so at the first machine.
        Err(_) => Ok(()),
    }
}

fn batches(plan: &Plan, desired: &[DesiredNode]) -> Vec<MachineBatch> {
    let desired: BTreeMap<&NodeName, &DesiredNode> = desired.iter().map(|node| (&node.name, node)).collect();
    let mut batches: Vec<MachineBatch> = Vec::new();
    for action in plan.actions().iter().filter(|action| matches!(action.verb, Verb::Create | Verb::Start)) {
        let Some(node) = desired.get(&action.node) else { continue };
        let batch = MachineBatch {
            count: 1,
            image: node.image.clone(),
            size: node.size.clone(),
            shared_folders: node.shared_folders.clone(),
            settings: node.settings.clone(),
        };
        match batches.iter_mut().find(|known| MachineBatch { count: 1, ..(*known).clone() } == batch) {
            Some(known) => known.count += 1,
            None => batches.push(batch),
        }
    }
    batches
}
