//! Files of node definitions: `node_def:NAME`, each a list of ways to make a node.

use std::time::Duration;

use muster_doc::read::{Field, Findings, MapReader, Read as _, int};
use muster_doc::{Diagnostic, Key, SourceMap, Spanned, Tree, codes};

use crate::load::{Loader, load, plain_hints};
use crate::model::{ConfigManagement, Contextualisation, Definition, Definitions, HealthCheck, Implementation, Plugin};
use crate::resource::{self, kind};
use crate::schema::{Kind, check, may, must};

const PREFIX: &str = "node_def:";

/// Longest time that a health check may go on failing: ten days.
const TIMEOUT_SECONDS_MAX: i128 = 864_000;

/// Reads a file of node definitions, imports included. All mistakes at once; what could not be read is left out.
pub fn read_definitions(
    sources: &mut SourceMap,
    name: &str,
    text: &str,
    loader: &mut Loader<'_>,
) -> (Option<Definitions>, Vec<Diagnostic>) {
    let (tree, found) = load(sources, name, text, loader);
    let mut out = Findings { diagnostics: found, templates: true };
    let definitions = tree.and_then(|tree| {
        let map = MapReader::new(&tree, "the file of node definitions", &mut out)?;
        let entries = map.entries().iter();
        Some(Definitions(entries.filter_map(|(key, tree)| definition(key, tree, &mut out)).collect()))
    });
    plain_hints(&mut out.diagnostics, sources);
    (definitions, out.diagnostics)
}

fn definition(key: &Key, tree: &Tree, out: &mut Findings) -> Option<Definition> {
    let Some(name) = key.text.strip_prefix(PREFIX).filter(|name| !name.is_empty()) else {
        let message = format!("`{}` is not the name of a node definition", key.text);
        let hint = format!("write '{PREFIX}{}' in quotes", key.text.trim_start_matches(PREFIX));
        out.push(Diagnostic::error(codes::OCCOPUS_NODE_DEF, message, hint).at(key.span, "not node_def:NAME"));
        return None;
    };
    let what = format!("the node definition `{name}`");
    let Some(items) = tree.as_seq().filter(|items| !items.is_empty()) else {
        let message = format!("{what} must be a list of ways to make it");
        let hint = "write each way to make such a node as an item, beginning with `- resource:`";
        out.push(Diagnostic::error(codes::READ_TYPE, message, hint).at(tree.span, "not such a list"));
        return None;
    };
    let implementations = items.iter().filter_map(|tree| implementation(tree, &what, out)).collect();
    Some(Definition { name: Spanned { value: name.to_owned(), span: key.span }, implementations })
}

fn implementation(tree: &Tree, of: &str, out: &mut Findings) -> Option<Implementation> {
    let what = format!("an implementation in {of}");
    let mut map = MapReader::new(tree, &what, out)?;
    let resource = match map.field("resource") {
        Some(field) => resource::read(&field, out),
        None => {
            map.missing("resource", "say where the machine comes from, as in `resource: { type: ec2, … }`", out);
            None
        }
    };
    let contextualisation = match map.field("contextualisation") {
        Some(field) => contextualisation(&field, out),
        None => Some(Contextualisation::Basic { attributes: None }),
    };
    let config_management = match map.field("config_management") {
        Some(field) => config_management(&field, out),
        None => Some(ConfigManagement::None),
    };
    let health = map.field("health_check").map_or_else(HealthCheck::default, |field| health(&field, out));
    map.finish(out);
    let found = Implementation {
        span: tree.span,
        resource: resource?,
        contextualisation: contextualisation?,
        config_management: config_management?,
        health,
        tree: tree.clone(),
    };
    containers(&found, out);
    Some(found)
}

#[derive(Clone, Copy)]
enum Context {
    CloudInit,
    Docker,
    Basic,
}

fn contextualisation(field: &Field<'_>, out: &mut Findings) -> Option<Contextualisation> {
    let kinds = [("cloudinit", Context::CloudInit), ("docker", Context::Docker), ("basic", Context::Basic)];
    let (kind, _) = kind(field, "contextualisation", kinds, out)?;
    let tree = field.tree;
    let own = |key: &str| tree.get(key).filter(|value| !value.is_null()).cloned();
    match kind {
        Context::CloudInit => {
            let keys = [must("context_template", Kind::Any), may("attributes", Kind::Any)];
            check(tree, "the contextualisation by `cloudinit`", &keys, out);
            let template = tree.get("context_template")?;
            if template.as_seq().is_some() || template.is_null() {
                let hint = "write the cloud-config below the key, or import it: `!yaml_import { url: file://path }`";
                Field::new("context_template", template).wrong("a mapping or a text", hint, out);
                return None;
            }
            Some(Contextualisation::CloudInit { template: template.clone(), attributes: own("attributes") })
        }
        Context::Docker => {
            let keys = [must("env", Kind::List), may("command", Kind::Any), may("context_variables", Kind::Mapping)];
            check(tree, "the contextualisation by `docker`", &keys, out);
            let env = tree.get("env")?.clone();
            Some(Contextualisation::Docker { env, command: own("command"), variables: own("context_variables") })
        }
        Context::Basic => {
            check(tree, "the contextualisation by `basic`", &[must("attributes", Kind::Any)], out);
            Some(Contextualisation::Basic { attributes: own("attributes") })
        }
    }
}

/// Containers are started with an environment and a command, or not at all.
fn containers(found: &Implementation, out: &mut Findings) {
    if found.resource.plugin != Plugin::Docker {
        return;
    }
    let Contextualisation::Docker { env, command, .. } = &found.contextualisation else {
        let message = "a container of the plug-in `docker` needs the contextualisation `docker`";
        let hint = "write `contextualisation: { type: docker, env: [ … ], command: … }`";
        out.push(Diagnostic::error(codes::READ_MISSING, message, hint).at(found.resource.span, "this plug-in"));
        return;
    };
    let empty =
        |tree: &Tree| tree.is_null() || tree.as_seq().is_some_and(<[Tree]>::is_empty) || tree.as_str() == Some("");
    for (key, missing) in [("env", empty(env)), ("command", command.as_ref().is_none_or(empty))] {
        if missing {
            let message = format!("the container has no `{key}`; Occopus fails to make it then");
            let hint = format!("write a `{key}` into its contextualisation");
            out.push(Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(env.span, "in this section"));
        }
    }
}

#[derive(Clone, Copy)]
enum Manager {
    Chef,
    PuppetSolo,
}

fn config_management(field: &Field<'_>, out: &mut Findings) -> Option<ConfigManagement> {
    let kinds = [("chef", Manager::Chef), ("puppet_solo", Manager::PuppetSolo)];
    let (kind, _) = kind(field, "config_management", kinds, out)?;
    let tree = field.tree.clone();
    Some(match kind {
        Manager::Chef => {
            let keys = [must("endpoint", Kind::Single), must("run_list", Kind::List)];
            check(&tree, "the configuration management by `chef`", &keys, out);
            ConfigManagement::Chef { tree }
        }
        Manager::PuppetSolo => {
            let keys = [must("manifests", Kind::List), may("modules", Kind::List), may("attributes", Kind::List)];
            check(&tree, "the configuration management by `puppet_solo`", &keys, out);
            ConfigManagement::PuppetSolo { tree }
        }
    })
}

fn health(field: &Field<'_>, out: &mut Findings) -> HealthCheck {
    let default = HealthCheck::default();
    let Some(mut map) = MapReader::new(field.tree, "`health_check`", out) else { return default };
    if let Some(field) = map.field("type") {
        field.choice(&[("basic", ())], out);
    }
    let ping = map.field("ping").and_then(|field| bool::read(&field, out)).unwrap_or(default.ping);
    let ports = items(&mut map, "ports", out);
    let ports = ports.iter().filter_map(|item| int(item, 1, 65_535, out)?.try_into().ok()).collect();
    let urls = items(&mut map, "urls", out);
    for item in &urls {
        item.scalar("an address", "write the whole address, as in http://{{ip}}:8080/", out);
    }
    let urls = urls.iter().map(|item| item.tree).filter(|tree| tree.as_str().is_some()).cloned().collect();
    let databases = items(&mut map, "mysqldbs", out);
    let keys = [must("name", Kind::Single), must("user", Kind::Single), must("pass", Kind::Single)];
    for item in &databases {
        check(item.tree, "a database", &keys, out);
    }
    let databases = databases.iter().map(|item| item.tree.clone()).collect();
    let timeout = map.field("timeout").filter(|field| !field.tree.is_null());
    let timeout = timeout.and_then(|field| int(&field, 0, TIMEOUT_SECONDS_MAX, out)?.try_into().ok());
    let timeout = timeout.map_or(default.timeout, Duration::from_secs);
    map.finish(out);
    HealthCheck { span: Some(field.tree.span), ping, ports, urls, databases, timeout }
}

fn items<'t>(map: &mut MapReader<'t>, key: &'t str, out: &mut Findings) -> Vec<Field<'t>> {
    map.field(key).filter(|field| !field.tree.is_null()).map_or_else(Vec::new, |field| field.items(false, out))
}
