//! What one node is given, once the addresses that its templates use are known.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_api::{Check, CheckKind};
use muster_doc::read::Findings;
use muster_doc::template::Value;
use muster_doc::{Diagnostic, Key, Node, Tree, codes, emit};
use muster_spec::{HealthSpec, MysqlDatabase, OutsideSpec, read_health};
use muster_types::NodeName;
use sha2::{Digest, Sha256};

use super::context::{Asked, GroupFrame, NodeValue, Scope, World};
use super::desired::hex;
use super::group::Group;
use super::occopus::infra_id;
use super::{Compiled, Members, Outside, RenderFault, Rendered, merge, reloads};

/// What one node is given, before it becomes text.
pub(super) struct Draft {
    pub(super) config: Tree,
    pub(super) checks: Vec<Check>,
    /// What the file's own kind calls it, where that is not the config.
    pub(super) user_data: Option<String>,
    pub(super) outside: Option<Outside>,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Compiled {
    /// What a node is given. The same members give the same result, byte for byte.
    pub fn render(&self, node: &NodeName, members: &Members) -> Result<Rendered, RenderFault> {
        let world = Arc::new(self.world(members));
        let result = self.render_in(node, &world);
        let Asked { missing, follows, left_out } = world.notes.take();
        if !missing.is_empty() {
            return Err(RenderFault::Waiting(missing));
        }
        let result = result.map(|rendered| Rendered { left_out, follows, ..rendered });
        result.map_err(|found| RenderFault::Bad(self.without_secrets(found)))
    }

    /// Made from the name, unless the file has a chosen one.
    fn cluster_id(&self) -> String {
        self.occopus().map_or_else(|| infra_id(&self.spec.name.value), |foreign| foreign.infra_id.clone())
    }

    pub(super) fn world(&self, members: &Members) -> World {
        let groups = self.spec.groups.iter().filter_map(|spec| {
            let ports = &self.groups.get(&spec.name)?.ports;
            Some(GroupFrame { name: &spec.name, ports, recipe: spec.recipe.as_ref().map(|recipe| &recipe.value) })
        });
        World::new(groups, members, &self.cluster_id())
    }

    fn render_in(&self, name: &NodeName, world: &Arc<World>) -> Result<Rendered, Vec<Diagnostic>> {
        let Draft { config, checks, user_data, outside, .. } = self.draft(name, world)?;
        let document = format!("#cloud-config\n{}", emit(&config));
        let hash = hex(&Sha256::digest(&document));
        Ok(Rendered { document, hash, checks, user_data, outside, left_out: BTreeSet::new(), follows: false })
    }

    pub(super) fn draft(&self, name: &NodeName, world: &Arc<World>) -> Result<Draft, Vec<Diagnostic>> {
        let Some((node, group)) = world.node(name.as_str()).and_then(|node| {
            let group = self.groups.get(&node.group)?;
            Some((Arc::clone(node), group))
        }) else {
            let message = format!("`{name}` is not a node of this cluster");
            return Err(vec![Diagnostic::error(codes::GROUP_UNKNOWN, message, "name a node that the file describes")]);
        };
        if let Some(foreign) = &self.occopus {
            return self.foreign_draft(foreign, &node, world);
        }
        let scope = Value::from_object(self.scope(Arc::clone(&node), group, world));
        let mut out = Vec::new();
        let config = self.config(name, group, &scope, &mut out);
        // What is checked is shown to people, and a command stands in lists of processes.
        let scope = Value::from_object(self.scope(node, group, world).without_secrets());
        let (checks, outside) = self.checks(group, &scope, &mut out);
        if out.iter().any(Diagnostic::is_error) {
            return Err(out);
        }
        Ok(Draft { config, checks, user_data: None, outside, warnings: Vec::new() })
    }

    pub(super) fn scope(&self, node: Arc<NodeValue>, group: &Group, world: &Arc<World>) -> Scope {
        Scope {
            cluster: Value::from(self.spec.name.value.as_str()),
            provider: group.provider.clone(),
            vars: group.vars(node.name.index().unwrap_or(1)),
            secrets: self.secrets_of(group.origin.as_ref()),
            origin: group.origin.clone(),
            group: world.group(node.group.as_str()).cloned(),
            node: Some(node),
            world: Arc::clone(world),
        }
    }

    /// The group's cloud-configs, rendered for one node and put together.
    fn config(&self, name: &NodeName, group: &Group, scope: &Value, out: &mut Vec<Diagnostic>) -> Tree {
        let span = self.spec.name.span;
        let mut merged = Tree { node: Node::Map(Vec::new()), span };
        let index = name.index().unwrap_or(1);
        for part in group.parts(index) {
            match self.templates.render(part, scope, &self.sources) {
                Ok(tree) => merged = merge::merge(merged, tree, out),
                Err(mut found) => out.append(&mut found),
            }
        }
        reloads::forget(&mut merged, &group.left_out(index));
        if let Node::Map(entries) = &mut merged.node
            && !entries.iter().any(|(key, _)| key.text == "hostname" || key.text == "fqdn")
        {
            entries.insert(0, (Key { text: "hostname".to_owned(), span }, Tree::text(name.as_str(), span)));
        }
        merged
    }

    fn checks(&self, group: &Group, scope: &Value, out: &mut Vec<Diagnostic>) -> (Vec<Check>, Option<Outside>) {
        let health = match &group.health {
            None => HealthSpec::default(),
            Some(prepared) => match self.templates.render(prepared, scope, &self.sources) {
                Ok(tree) => {
                    let mut findings = Findings::default();
                    let health = read_health(&tree, &mut findings);
                    out.append(&mut findings.diagnostics);
                    health.unwrap_or_default()
                }
                Err(mut found) => {
                    out.append(&mut found);
                    return (Vec::new(), None);
                }
            },
        };
        out.extend(health.databases.first().map(unsupported_database));
        let outside = health.outside.clone().map(Outside::from);
        (checks(health), outside)
    }
}

impl From<OutsideSpec> for Outside {
    fn from(OutsideSpec { ping, ports, urls, timeout }: OutsideSpec) -> Self {
        Self { ping, ports, urls, timeout }
    }
}

fn unsupported_database(database: &MysqlDatabase) -> Diagnostic {
    let message = "logins to databases cannot be checked yet";
    let hint = "check it by a command, as in `command: mysql -u app -e \"select 1\"`";
    Diagnostic::error(codes::UNSUPPORTED, message, hint).at(database.span, "this check")
}

/// In the order in which they are tried: cheap ones and those with the clearest reasons first.
fn checks(health: HealthSpec) -> Vec<Check> {
    let timeout_ms = u64::try_from(health.timeout.as_millis()).unwrap_or(u64::MAX);
    let kinds = health
        .agent
        .then_some(CheckKind::Agent)
        .into_iter()
        .chain(health.ping.then_some(CheckKind::Ping))
        .chain(health.ports.into_iter().map(|port| CheckKind::Port { port }))
        .chain(health.urls.into_iter().map(|url| CheckKind::Url { url }))
        .chain(health.commands.into_iter().map(|command| CheckKind::Command { command }));
    kinds.map(|kind| Check { kind, timeout_ms }).collect()
}
