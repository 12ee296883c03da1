//! Functions and filters of templates: those of Occopus that look up nodes, and what cloud-config needs.

use std::sync::Arc;

use base64::Engine as _;
use muster_doc::suggest;
use muster_doc::template::{Environment, TemplateError, TemplateErrorKind, Value};

use super::context::{GroupValue, NodeValue, World};

/// Filters and functions that need no nodes.
pub(super) fn configure(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", |text: &str| base64::engine::general_purpose::STANDARD.encode(text));
    environment.add_function("cut", |text: &str, start: usize, end: usize| -> String {
        text.chars().skip(start).take(end.saturating_sub(start)).collect()
    });
}

/// The functions that look up nodes.
pub(super) fn find(name: &str, world: &Arc<World>) -> Option<Value> {
    let world = Arc::clone(world);
    match name {
        "getip" => Some(Value::from_function(move |of: Value| first(&world, &of).map(|node| node.address()))),
        "getprivip" => {
            Some(Value::from_function(move |of: Value| first(&world, &of).map(|node| node.private_address())))
        }
        "getipall" => Some(Value::from_function(move |of: Value| {
            let nodes = nodes(&world, &of)?;
            Ok::<Value, TemplateError>(nodes.iter().map(|node| node.address()).collect())
        })),
        _ => None,
    }
}

fn first(world: &World, of: &Value) -> Result<Arc<NodeValue>, TemplateError> {
    nodes(world, of)?.into_iter().next().ok_or_else(|| error(format!("`{of}` has no node; name a group that has one")))
}

/// The nodes that a name, a group or a node stands for.
fn nodes(world: &World, of: &Value) -> Result<Vec<Arc<NodeValue>>, TemplateError> {
    if let Some(node) = of.downcast_object::<NodeValue>() {
        return Ok(vec![node]);
    }
    if let Some(group) = of.downcast_object::<GroupValue>() {
        return Ok(group.nodes.clone());
    }
    let Some(name) = of.as_str() else {
        return Err(error("this function takes a group or a node; put quotes around a name".to_owned()));
    };
    if let Some(group) = world.group(name) {
        return Ok(group.nodes.clone());
    }
    if let Some(node) = world.node(name) {
        return Ok(vec![Arc::clone(node)]);
    }
    let hint = suggest::hint(name, &world.names(), "group or node");
    Err(error(format!("there is no group or node `{name}`; {hint}")))
}

fn error(message: String) -> TemplateError {
    TemplateError::new(TemplateErrorKind::InvalidOperation, message)
}
