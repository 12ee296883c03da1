//! Health checks.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Node, Tree, codes};
use muster_types::Redacted;

use crate::model::{DEFAULT_CHECK_TIMEOUT, HealthSpec, MysqlDatabase, OutsideSpec};
use crate::values;

/// Reads a `health` block. While its templates are not rendered (`out.templates`), what they stand for is left out.
pub fn read_health(tree: &Tree, out: &mut Findings) -> Option<HealthSpec> {
    if out.pending(tree) {
        return None;
    }
    let mut map = MapReader::new(tree, "`health`", out)?;
    let default = HealthSpec::default();
    let spec = HealthSpec {
        agent: map.optional("agent", out).unwrap_or(default.agent),
        ping: map.optional("ping", out).unwrap_or(default.ping),
        ports: values::ports(&mut map, out),
        urls: urls(&mut map, out),
        commands: commands(&mut map, out),
        databases: databases(&mut map, out),
        outside: map.field("outside").filter(|field| !field.tree.is_null()).and_then(|field| outside(&field, out)),
        timeout: values::timeout(&mut map, DEFAULT_CHECK_TIMEOUT, out),
    };
    map.finish(out);
    Some(spec)
}

fn outside(field: &Field<'_>, out: &mut Findings) -> Option<OutsideSpec> {
    if out.pending(field.tree) {
        return None;
    }
    let mut map = MapReader::new(field.tree, "`outside`", out)?;
    let spec = OutsideSpec {
        ping: map.optional("ping", out).unwrap_or(false),
        ports: values::ports(&mut map, out),
        urls: urls(&mut map, out),
        timeout: values::timeout(&mut map, DEFAULT_CHECK_TIMEOUT, out),
    };
    map.finish(out);
    Some(spec)
}

fn urls(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<String> {
    const HINT: &str = "write the whole address, as in \"http://{{ node.address }}:8080/\"";
    let Some(field) = map.field("urls").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    let mut urls = Vec::new();
    for item in field.items(true, out) {
        let Some(scalar) = item.scalar("an address", HINT, out) else { continue };
        let host = scalar.text.strip_prefix("http://").or_else(|| scalar.text.strip_prefix("https://"));
        if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
            urls.push(scalar.text.clone());
        } else {
            let message = format!("`{}` is not the address of a web page", scalar.text);
            out.push(Diagnostic::error(codes::HEALTH, message, HINT).at(item.tree.span, "not http:// or https://"));
        }
    }
    urls
}

/// `command: test -e /x`, `command: [test, -e, /x]`, or several under `commands`.
fn commands(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<Vec<String>> {
    let one = map.field("command").and_then(|field| command(&field, out));
    let several = map.field("commands").filter(|field| !field.tree.is_null());
    let several = several.map_or_else(Vec::new, |field| field.items(false, out));
    one.into_iter().chain(several.iter().filter_map(|item| command(item, out)).collect::<Vec<_>>()).collect()
}

fn command(field: &Field<'_>, out: &mut Findings) -> Option<Vec<String>> {
    const HINT: &str = "write a command line, as in `command: test -e /etc/hello`, or a list of words";
    let words: Vec<String> = match &field.tree.node {
        Node::Scalar(scalar) => vec![scalar.text.clone()],
        Node::Seq(_) => field.list(false, out),
        _ => {
            field.wrong("a command", HINT, out);
            return None;
        }
    };
    if words.first().is_some_and(|word| !word.trim().is_empty()) {
        return Some(words);
    }
    out.push(Diagnostic::error(codes::HEALTH, "a command that is empty", HINT).at(field.tree.span, "empty"));
    None
}

fn databases(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<MysqlDatabase> {
    let Some(field) = map.field("mysqldbs").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    field.items(false, out).iter().filter_map(|item| database(item, out)).collect()
}

fn database(field: &Field<'_>, out: &mut Findings) -> Option<MysqlDatabase> {
    const HINT: &str = "write `name`, `user` and `pass`";
    let mut map = MapReader::new(field.tree, "a database", out)?;
    let name = map.required("name", HINT, out);
    let user = map.required("user", HINT, out);
    let password: Option<String> = map.required("pass", HINT, out);
    map.finish(out);
    Some(MysqlDatabase { span: field.tree.span, name: name?, user: user?, password: Redacted::new(password?) })
}
