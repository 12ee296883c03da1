//! Machines that exist.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Key, Node, Tree, codes};

use crate::model::HostSpec;
use crate::values;

const HINT: &str = "write an address or a host name, as in `10.0.0.7` or `cn7.example.org`";

pub(crate) fn read(key: &Key, tree: &Tree, out: &mut Findings) -> Vec<HostSpec> {
    let field = Field::new("hosts", tree);
    let items = if tree.is_null() { Vec::new() } else { field.items(true, out) };
    let hosts: Vec<HostSpec> = items.iter().filter_map(|item| host(item, out)).collect();
    if items.is_empty() && (tree.is_null() || tree.as_seq().is_some()) {
        let found = Diagnostic::error(codes::READ_EMPTY, "`hosts` has no host", "list at least one address");
        out.push(found.at(key.span, "empty"));
    }
    for (index, host) in hosts.iter().enumerate() {
        if let Some(first) = hosts[..index].iter().find(|other| other.address == host.address) {
            let message = format!("the host `{}` is listed twice", host.address);
            let found = Diagnostic::error(codes::HOST, message, "remove one of the two; a host is one node");
            out.push(found.at(host.span, "again").related(first.span, "first"));
        }
    }
    hosts
}

fn host(field: &Field<'_>, out: &mut Findings) -> Option<HostSpec> {
    let span = field.tree.span;
    if let Node::Scalar(scalar) = &field.tree.node {
        let (user, address) = match scalar.text.split_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, scalar.text.as_str()),
        };
        let vars = values::empty(span);
        let address = check(address, field, out)?;
        return Some(HostSpec {
            span,
            address,
            user,
            port: None,
            mac: None,
            bmc: None,
            vars,
            capabilities: Vec::new(),
        });
    }
    let mut map = MapReader::new(field.tree, "a host", out)?;
    let address: Option<String> = map.required("address", HINT, out);
    let host = HostSpec {
        span,
        address: String::new(),
        user: map.optional("user", out),
        port: map.field("port").and_then(|field| values::port(&field, out)),
        mac: map.field("mac").and_then(|field| mac(&field, out)),
        bmc: map.get("bmc").cloned(),
        vars: values::vars(&mut map, out),
        capabilities: map.list("capabilities", true, out),
    };
    map.finish(out);
    let address = check(&address?, field, out)?;
    Some(HostSpec { address, ..host })
}

fn check(address: &str, field: &Field<'_>, out: &mut Findings) -> Option<String> {
    let fits = !address.is_empty()
        && address.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_' | '%'));
    if fits {
        return Some(address.to_owned());
    }
    let message = format!("`{address}` is not the address of a host");
    out.push(Diagnostic::error(codes::HOST, message, HINT).at(field.tree.span, "not an address"));
    None
}

fn mac(field: &Field<'_>, out: &mut Findings) -> Option<String> {
    const HINT: &str = "write six pairs of hexadecimal digits, as in \"52:54:00:12:34:56\"";
    let scalar = field.scalar("a hardware address", HINT, out)?;
    let parts: Vec<&str> = scalar.text.split([':', '-']).collect();
    let pair = |part: &&str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(pair) {
        return Some(parts.join(":").to_ascii_lowercase());
    }
    let message = format!("`{}` is not a hardware address", scalar.text);
    out.push(Diagnostic::error(codes::HOST, message, HINT).at(field.tree.span, "not a hardware address"));
    None
}
