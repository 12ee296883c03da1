//! The resource sections of Occopus' plug-ins.

use muster_doc::read::{Field, Findings, MapReader};
use muster_doc::{Diagnostic, Tree, codes, suggest};

use crate::model::{Plugin, Resource};
use crate::schema::{KeyOf, Kind, check, may, must};

const EC2: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("regionname", Kind::Single),
    must("image_id", Kind::Single),
    must("instance_type", Kind::Single),
    may("key_name", Kind::Single),
    may("security_group_ids", Kind::List),
    may("subnet_id", Kind::Single),
    may("tags", Kind::Mapping),
    may("name", Kind::Single),
];

const NOVA: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("image_id", Kind::Single),
    must("flavor_name", Kind::Single),
    must("project_id", Kind::Single),
    may("server_name", Kind::Single),
    may("key_name", Kind::Single),
    may("security_groups", Kind::List),
    may("floating_ip", Kind::Any),
    may("floating_ip_pool", Kind::Single),
    may("name", Kind::Single),
    may("tenant_name", Kind::Idle("`project_id` says it")),
    may("user_domain_name", Kind::Single),
    may("network_id", Kind::Single),
    may("region_name", Kind::Single),
    may("volume_size", Kind::Count),
    may("volume_persist", Kind::Any),
];

const AZURE_VM: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("resource_group", Kind::Single),
    must("location", Kind::Single),
    must("vm_size", Kind::Single),
    must("publisher", Kind::Single),
    must("offer", Kind::Single),
    must("sku", Kind::Single),
    must("version", Kind::Single),
    must("username", Kind::Single),
    may("password", Kind::Single),
    may("ssh_key_data", Kind::Single),
    may("public_ip_needed", Kind::Bool),
    may("vnet_name", Kind::Single),
    may("subnet_name", Kind::Single),
    may("server_name", Kind::Single),
    may("customdata", Kind::Idle("machines are given the rendered context")),
    may("nic_name", Kind::Gone("remove it: Occopus' manual lists it, its plug-in makes a network card of its own")),
    may("name", Kind::Gone("remove it: this plug-in has no label; credentials are matched by the other keys")),
];

const AZURE_ACI: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("resource_group", Kind::Single),
    must("location", Kind::Single),
    must("cpu_cores", Kind::Number),
    must("memory", Kind::Number),
    must("image", Kind::Single),
    must("os_type", Kind::Word(&["linux", "windows"])),
    must("network_type", Kind::Word(&["public", "private"])),
    may("ports", Kind::List),
    may("gpu_type", Kind::Word(&["K80", "P100", "V100"])),
    may("gpu_count", Kind::Number),
    may("vnet_name", Kind::Single),
    may("subnet_name", Kind::Single),
];

const DOCKER: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("origin", Kind::Single),
    must("image", Kind::Single),
    must("tag", Kind::Single),
    may("name", Kind::Single),
    may("network_mode", Kind::Gone("remove it: Occopus took it away")),
];

const CLOUDSIGMA_SERVER: &[KeyOf] = &[
    must("cpu", Kind::Number),
    must("mem", Kind::Number),
    must("vnc_password", Kind::Single),
    may("drives", Kind::Idle("the drive is always a clone of `libdrive_id`")),
];

const CLOUDSIGMA: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("libdrive_id", Kind::Single),
    must("description", Kind::Open(CLOUDSIGMA_SERVER)),
    may("name", Kind::Single),
];

const CLOUDBROKER_INSTANCE: &[KeyOf] = &[must("deployment_id", Kind::Single), must("instance_type_id", Kind::Single)];

const CLOUDBROKER: &[KeyOf] = &[
    must("endpoint", Kind::Single),
    must("description", Kind::Open(CLOUDBROKER_INSTANCE)),
    may("name", Kind::Single),
    may("start_in_vpc", Kind::Idle("Occopus looks for it at another place")),
];

/// Plug-ins that Occopus once had.
const GONE: [(&str, &str); 1] = [("occi", "Occopus took this plug-in away in release 1.8; choose one that it has")];

fn keys(plugin: Plugin) -> &'static [KeyOf] {
    match plugin {
        Plugin::Ec2 => EC2,
        Plugin::Nova => NOVA,
        Plugin::AzureVm => AZURE_VM,
        Plugin::AzureAci => AZURE_ACI,
        Plugin::Docker => DOCKER,
        Plugin::CloudSigma => CLOUDSIGMA,
        Plugin::CloudBroker => CLOUDBROKER,
    }
}

pub(crate) fn read(field: &Field<'_>, out: &mut Findings) -> Option<Resource> {
    let (plugin, place) = kind(field, "resource", Plugin::ALL.map(|plugin| (plugin.name(), plugin)), out)?;
    let what = format!("the resource section of `{}`", plugin.name());
    check(field.tree, &what, keys(plugin), out);
    if plugin == Plugin::AzureVm && field.tree.get("password").or(field.tree.get("ssh_key_data")).is_none() {
        let message = format!("{what} has neither `password` nor `ssh_key_data`");
        let hint = "write one of the two, so that somebody can log in";
        out.push(Diagnostic::error(codes::READ_MISSING, message, hint).at(place.span, "one of them is missing here"));
    }
    Some(Resource { plugin, span: place.span, tree: field.tree.clone() })
}

/// The `type` of a section, one of those that there are, and where it stands.
pub(crate) fn kind<'t, T: Copy>(
    field: &Field<'t>,
    section: &str,
    kinds: impl IntoIterator<Item = (&'static str, T)>,
    out: &mut Findings,
) -> Option<(T, &'t Tree)> {
    let kinds: Vec<(&str, T)> = kinds.into_iter().collect();
    let words: Vec<&str> = kinds.iter().map(|(word, _)| *word).collect();
    let what = format!("`{section}`");
    let mut map = MapReader::new(field.tree, &what, out)?;
    map.get("type");
    let Some(tree) = field.tree.get("type") else {
        map.missing("type", &format!("write one of {}", words.join(", ")), out);
        return None;
    };
    let text = Field::new("type", tree).scalar("a word", &words.join(", "), out)?.text.as_str();
    if let Some((_, kind)) = kinds.iter().find(|(word, _)| *word == text) {
        return Some((*kind, tree));
    }
    let message = format!("`{section}` is of the type `{text}`, which Occopus does not have");
    let gone = GONE.iter().find(|(word, _)| *word == text);
    let hint = gone.map_or_else(|| suggest::hint(text, &words, "type"), |(_, hint)| (*hint).to_owned());
    out.push(Diagnostic::error(codes::OCCOPUS_TYPE, message, hint).at(tree.span, "no such type"));
    None
}
