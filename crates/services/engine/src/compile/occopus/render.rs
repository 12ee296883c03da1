//! What one node of an infrastructure is given: Occopus' result, and what an agent makes of it.

use std::sync::Arc;
use std::time::Duration;

use muster_api::Check;
use muster_doc::{Diagnostic, Key, Node, SourceMap, Tree, codes, emit};
use muster_occopus::{Context, Fault, HealthCheck, Implementation, Resolved, Target, resolve, resolve_health};
use muster_types::GroupName;
use sha2::{Digest, Sha256};

use super::lookup::Seen;
use super::{Foreign, container};
use crate::compile::context::{NodeValue, World};
use crate::compile::desired::hex;
use crate::compile::render::Draft;
use crate::compile::{Compiled, Outside};

/// Where cloud-init keeps a script that it was given, and what else it was given.
pub(super) const SCRIPT: &str = "/var/lib/cloud/instance/scripts/part-001";
const USER_DATA: &str = "/var/lib/cloud/instance/user-data.txt";

/// First words of what cloud-init knows and agents do not.
const KINDS: [&str; 8] = [
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "#upstart-job",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "## template:",
    "Content-Type: multipart",
];

impl Compiled {
    /// Nodes that are waited for are noted in `world`; there is nothing to give then.
    pub(in crate::compile) fn foreign_draft(
        &self,
        foreign: &Foreign,
        node: &Arc<NodeValue>,
        world: &World,
    ) -> Result<Draft, Vec<Diagnostic>> {
        let Some((at, way)) = foreign.way(node) else { return Err(Vec::new()) };
        let node_id = foreign.node_id(&node.name);
        let infrastructure = &foreign.infrastructure;
        let target =
            Target { infrastructure, node: at, implementation: way, infra_id: &foreign.infra_id, node_id: &node_id };
        let seen = Arc::new(Seen::new(foreign, world));
        // Texts that templates yield are sources of their own; nobody sees them once this is over.
        let mut sources = self.sources.clone();
        let resolved = resolve(&target, Arc::<Seen>::clone(&seen), &mut sources);
        let health = resolve_health(&target, Arc::<Seen>::clone(&seen), &sources);
        let mut found = Vec::new();
        let resolved = kept(resolved, &seen, world, &mut found);
        let health = kept(health, &seen, world, &mut found);
        let draft = resolved.zip(health).map(|(resolved, health)| draft(node, way, (resolved, health), &mut found));
        let found = found.into_iter().map(|found| placed(found, way, &self.sources)).collect::<Vec<_>>();
        match draft {
            Some(draft) if !found.iter().any(Diagnostic::is_error) => Ok(Draft { warnings: found, ..draft }),
            _ => Err(found),
        }
    }
}

fn kept<T>(result: Result<T, Fault>, seen: &Seen, world: &World, found: &mut Vec<Diagnostic>) -> Option<T> {
    match result {
        Ok(value) => return Some(value),
        Err(Fault::Waiting(ids)) => seen.names(&ids).iter().for_each(|name| world.notes.missing(name)),
        Err(Fault::Bad(mut errors)) => found.append(&mut errors),
    }
    None
}

/// What stands in a text that a template yielded is told at the implementation.
fn placed(mut found: Diagnostic, way: &Implementation, sources: &SourceMap) -> Diagnostic {
    if found.span.is_some_and(|span| sources.get(span.source).is_none()) {
        found.span = Some(way.span);
        found.related.retain(|(span, _)| sources.get(span.source).is_some());
    }
    found
}

fn draft(
    node: &NodeValue,
    way: &Implementation,
    (resolved, health): (Resolved, HealthCheck),
    out: &mut Vec<Diagnostic>,
) -> Draft {
    let Resolved { context, mut warnings, .. } = resolved;
    out.append(&mut warnings);
    let name = node.name.as_str();
    let mut checks: Vec<Check> = Vec::new();
    let mut config = config(&context, name, (&node.group, way), out);
    let user_data = match &context {
        Context::Container { env, command } => {
            let given = container::Given { env, command: command.as_ref(), node: name, group: &node.group, way };
            checks.extend(container::check(&given));
            Some(container::shown(&given))
        }
        Context::Nothing => Some(String::new()),
        _ => context.user_data(),
    };
    host_name(&mut config, name, way);
    Draft { config, checks, user_data, outside: Some(outside(health, out)), warnings: Vec::new() }
}

/// The cloud-config that an agent is given in place of what Occopus gives the machine.
pub(super) fn config(
    context: &Context,
    node: &str,
    (group, way): (&GroupName, &Implementation),
    out: &mut Vec<Diagnostic>,
) -> Tree {
    match context {
        Context::CloudConfig(tree) | Context::Text { cloud_config: Some(tree), .. } => tree.clone(),
        Context::Text { text, cloud_config: None } => plain_text(text, (group, way), out),
        Context::Container { env, command } => {
            container::config(&container::Given { env, command: command.as_ref(), node, group, way }, out)
        }
        Context::Nothing => Tree { node: Node::Map(Vec::new()), span: way.span },
    }
}

/// Nodes find each other by their names, so a node that is given none has its own.
fn host_name(config: &mut Tree, name: &str, way: &Implementation) {
    let Node::Map(entries) = &mut config.node else { return };
    if !entries.iter().any(|(key, _)| key.text == "hostname" || key.text == "fqdn") {
        let key = Key { text: "hostname".to_owned(), span: way.span };
        entries.insert(0, (key, Tree::text(name, way.span)));
    }
}

/// A text that is no cloud-config: a script is run once, as cloud-init does; anything else is only put where it puts it.
fn plain_text(text: &str, (group, way): (&GroupName, &Implementation), out: &mut Vec<Diagnostic>) -> Tree {
    let span = way.span;
    let file = |path: &str, mode: &str| {
        let entries = [("path", path), ("permissions", mode), ("content", text)];
        let file = Tree::map(entries.map(|(key, value)| (key, Tree::text(value, span))), span);
        ("write_files", Tree::seq(vec![file], span))
    };
    if text.starts_with("#!") {
        // Another script is another command: it is not run on a machine that has run this one.
        let command = format!("{SCRIPT} # {}", &hex(&Sha256::digest(text))[..16]);
        let run = ("runcmd", Tree::seq(vec![Tree::text(command, span)], span));
        return Tree::map([file(SCRIPT, "0700"), run], span);
    }
    if let Some(kind) = KINDS.iter().find(|kind| text.starts_with(**kind)) {
        let message =
            format!("what `{group}` is given begins with `{kind}`, which only cloud-init itself can carry out");
        let hint = "write a cloud-config, or a script that begins with `#!`";
        out.push(Diagnostic::error(codes::UNSUPPORTED, message, hint).at(span, "made in this way"));
    } else if !text.trim().is_empty() {
        let message =
            format!("what `{group}` is given is neither a cloud-config nor a script, so nothing of it is carried out");
        let hint = format!("begin it with `#cloud-config` or `#!/bin/sh`; the node finds it in {USER_DATA}");
        out.push(Diagnostic::warning(codes::CLOUD_NO_EFFECT, message, hint).at(span, "made in this way"));
    }
    Tree::map([file(USER_DATA, "0600")], span)
}

/// What is looked at from outside. Logins to databases were refused when the file was read.
fn outside(health: HealthCheck, out: &mut Vec<Diagnostic>) -> Outside {
    let mut urls = Vec::new();
    for url in &health.urls {
        let text = url.as_str().map_or_else(|| emit(url).trim().to_owned(), str::to_owned);
        if text.starts_with("http://") || text.starts_with("https://") {
            urls.push(text);
        } else {
            let message = format!("`{text}` is not the address of a web page");
            let hint = "write the whole address, as in \"http://{{ip}}:8080/\"";
            out.push(Diagnostic::error(codes::HEALTH, message, hint).at(url.span, "not http:// or https://"));
        }
    }
    // A second is the least: what has just been started gets a second look.
    let timeout = health.timeout.max(Duration::from_secs(1));
    Outside { ping: health.ping, ports: health.ports, urls, timeout }
}
