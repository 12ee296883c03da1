//! Functions and filters of templates: those that look up nodes (some are Occopus'), and what cloud-config needs.

use std::sync::Arc;

use base64::Engine as _;
use muster_doc::suggest;
use muster_doc::template::{Environment, Rest, TemplateError, TemplateErrorKind, Value};

use super::context::{GroupValue, NodeValue, Origin, Scope, World, list};

/// Filters and functions that need no nodes.
pub(super) fn configure(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", |text: &str| base64::engine::general_purpose::STANDARD.encode(text));
    environment.add_filter("pick", pick);
    environment.add_function("cut", |text: &str, start: usize, end: usize| -> String {
        text.chars().skip(start).take(end.saturating_sub(start)).collect()
    });
}

/// The items of a list, with these keys of theirs only: what a recipe lets people say of users, less what is its own.
fn pick(items: &Value, Rest(keys): Rest<String>) -> Result<Value, TemplateError> {
    let picked = items.try_iter()?.map(|item| {
        let value_of = |key: String| {
            let value = item.get_attr(&key).ok().filter(|value| !value.is_undefined())?;
            Some((key, value))
        };
        Value::from_pairs(keys.iter().cloned().filter_map(value_of))
    });
    Ok(picked.collect())
}

/// The functions that look up nodes.
pub(super) fn find(name: &str, scope: &Scope) -> Option<Value> {
    let world = Arc::clone(&scope.world);
    let origin = scope.origin.clone();
    let function = match name {
        "members" => Value::from_function(move |of: Value| {
            let group = group(&world, &of)?;
            Ok::<Value, TemplateError>(list(&world.joined(&[group])))
        }),
        "role_members" => Value::from_function(move |role: &str| {
            let groups = of_role(&world, origin.as_ref(), role)?;
            Ok::<Value, TemplateError>(list(&world.joined(&groups)))
        }),
        "role_nodes" => Value::from_function(move |role: &str| {
            let groups = of_role(&world, origin.as_ref(), role)?;
            let nodes: Vec<Arc<NodeValue>> = groups.iter().flat_map(|group| group.nodes.clone()).collect();
            Ok::<Value, TemplateError>(list(&nodes))
        }),
        "getip" => Value::from_function(move |of: Value| first(&world, &of).map(|node| node.address())),
        "getprivip" => Value::from_function(move |of: Value| first(&world, &of).map(|node| node.private_address())),
        "getipall" => Value::from_function(move |of: Value| {
            let nodes = nodes(&world, &of)?;
            Ok::<Value, TemplateError>(nodes.iter().map(|node| node.address()).collect())
        }),
        _ => return None,
    };
    Some(function)
}

/// The group that a name or a value stands for.
fn group(world: &World, of: &Value) -> Result<Arc<GroupValue>, TemplateError> {
    if let Some(group) = of.downcast_object::<GroupValue>() {
        return Ok(group);
    }
    let Some(name) = of.as_str() else {
        return Err(error("this function takes a group; put quotes around its name".to_owned()));
    };
    world.group(name).cloned().ok_or_else(|| {
        let hint = suggest::hint(name, &world.group_names(), "group");
        error(format!("there is no group `{name}`; {hint}"))
    })
}

/// The groups of the file with this role of the group's own recipe; there may be none.
fn of_role(world: &World, origin: Option<&Origin>, role: &str) -> Result<Vec<Arc<GroupValue>>, TemplateError> {
    let Some(Origin { recipe, roles, .. }) = origin else {
        let hint = "name a group with `members` or `groups`";
        return Err(error(format!("the group has no recipe, so there is no role `{role}`; {hint}")));
    };
    if roles.iter().any(|known| known == role) {
        return Ok(world.of_role(recipe, role));
    }
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let hint = suggest::hint(role, &roles, "role");
    Err(error(format!("the recipe `{recipe}` has no role `{role}`; {hint}")))
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
