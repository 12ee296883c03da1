//! What is run around a change of members, rendered for one node.

use std::sync::Arc;

use muster_doc::template::Value;
use muster_types::NodeName;

use super::context::{Asked, NodeValue, World};
use super::group::{Group, PreparedHook};
use super::{Compiled, Hook, Hooks, Member, Members, RenderFault};

impl Compiled {
    /// For a node of a group of the file, whether it should be or not. A group that the file does not have has none.
    pub fn hooks(&self, name: &NodeName, members: &Members) -> Result<Hooks, RenderFault> {
        let world = Arc::new(self.world(members));
        let Some(node) = world.node(name.as_str()).cloned().or_else(|| self.gone(name, &world)) else {
            return Ok(Hooks::default());
        };
        let Some(group) = self.groups.get(&node.group) else { return Ok(Hooks::default()) };
        // The command of a hook stands in lists of processes.
        let scope = Value::from_object(self.scope(node, group, &world).without_secrets());
        let hooks = Hooks {
            drain: group.drain.as_ref().map(|hook| self.hook(hook, name, group, (&scope, &world))).transpose()?,
            resume: group.resume.as_ref().map(|hook| self.hook(hook, name, group, (&scope, &world))).transpose()?,
        };
        let Asked { missing, .. } = world.notes.take();
        if missing.is_empty() { Ok(hooks) } else { Err(RenderFault::Waiting(missing)) }
    }

    /// A node that is not among the members any more.
    fn gone(&self, name: &NodeName, world: &World) -> Option<Arc<NodeValue>> {
        let index = name.index()?;
        let group = self.spec.groups.iter().find(|group| NodeName::of(&group.name, index).as_ref() == Ok(name))?;
        let member = Member { group: group.name.clone(), addresses: Vec::new(), facts: None };
        let (cluster_id, notes) = (Arc::clone(&world.cluster_id), Arc::clone(&world.notes));
        Some(Arc::new(NodeValue::new(name.clone(), &member, cluster_id, notes)))
    }

    fn hook(
        &self,
        hook: &PreparedHook,
        name: &NodeName,
        group: &Group,
        (scope, world): (&Value, &World),
    ) -> Result<Hook, RenderFault> {
        let bad = |found| RenderFault::Bad(self.without_secrets(found));
        let command = self.templates.render(&hook.command, scope, &self.sources).map_err(bad)?;
        let on = match (&hook.on, &group.origin) {
            (Some(role), Some(origin)) => {
                let groups = world.of_role(&origin.recipe, role);
                let nodes = groups.iter().flat_map(|group| &group.nodes).filter(|node| node.has_joined());
                nodes.map(|node| node.name.clone()).collect()
            }
            _ => vec![name.clone()],
        };
        Ok(Hook { on, command: command.as_str().unwrap_or_default().to_owned(), timeout: hook.timeout })
    }
}
