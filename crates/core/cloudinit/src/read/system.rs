//! Mounts, names, time zone, and what stands at the end of a document.

use muster_doc::{Node, Tree, codes};

use super::commands::shell;
use super::is_field;
use crate::document::Draft;
use crate::fields::{Fields, plain_truth, present};
use crate::step::{EtcHosts, Hostname, Mount, PowerMode, PowerState, StepKind};

const MOUNT_FIELDS: usize = 6;
/// As cloud-init's, without its dependency on a unit of its own.
const MOUNT_DEFAULTS: [&str; MOUNT_FIELDS] = ["", "", "auto", "defaults,nofail", "0", "2"];
/// Longest delay before a change of power: a week.
const DELAY_MINUTES_MAX: u32 = 7 * 24 * 60;

pub(crate) fn mounts(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let mut defaults: Vec<String> = MOUNT_DEFAULTS.iter().map(|&field| field.to_owned()).collect();
    if let Some(given) = present(tree, "mount_default_fields").and_then(|t| fields.list(t, "`mount_default_fields`")) {
        for (default, item) in defaults.iter_mut().zip(given).filter(|(_, item)| !item.is_null()) {
            *default = fields.text(item, "a field of `mount_default_fields`").unwrap_or_default();
        }
    }
    let items = present(tree, "mounts").and_then(|tree| fields.list(tree, "`mounts`")).unwrap_or_default();
    items.iter().filter_map(|item| mount(fields, item, &defaults)).collect()
}

fn mount(fields: &mut Fields, item: &Tree, defaults: &[String]) -> Option<Draft> {
    let given = fields.list(item, "an item of `mounts`")?;
    if given.is_empty() || given.len() > MOUNT_FIELDS {
        fields.wrong(item, "an item of `mounts`", "a list of one to six fields, as in fstab");
        return None;
    }
    // A mount point of nothing takes back a mount that an earlier layer asked for; there is none here.
    if given.get(1).is_some_and(Tree::is_null) {
        fields.no_effect(item.span, "a mount without a mount point does nothing".to_owned(), "remove it");
        return None;
    }
    let mut values = defaults.to_vec();
    for (value, field) in values.iter_mut().zip(given).filter(|(_, field)| !field.is_null()) {
        *value = fields.text(field, "a field of a mount")?;
    }
    let [device, point, filesystem, options, dump, pass] = values.try_into().ok()?;
    let swap = filesystem == "swap";
    if !(swap || point.starts_with('/')) {
        let message = format!("the mount point `{point}` is not absolute");
        fields.error(codes::FILE_PATH, item.span, message, "write it as [DEVICE, /PATH, TYPE, OPTIONS]");
        return None;
    }
    if [&device, &point, &filesystem, &options, &dump, &pass]
        .iter()
        .any(|f| f.is_empty() || f.contains(char::is_control))
    {
        fields.unsuitable(item, "a field of a mount is empty or holds a line break".to_owned(), "see fstab(5)");
        return None;
    }
    let device = device_path(device);
    let name = if swap { format!("mounts[{device}]") } else { format!("mounts[{point}]") };
    let kind = StepKind::Mount(Mount { device, point, filesystem, options, dump, pass });
    Some(Draft::converge(name, kind))
}

/// `sdb1` means `/dev/sdb1`, as in cloud-init.
fn device_path(device: String) -> String {
    let short = ["sd", "hd", "vd", "xvd", "nvme"].iter().any(|prefix| device.starts_with(prefix));
    if short && device.chars().all(|c| c.is_ascii_alphanumeric()) { format!("/dev/{device}") } else { device }
}

pub(crate) fn hostname(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let given = fields.optional_text(tree, "hostname");
    let full = fields.optional_text(tree, "fqdn");
    for (key, name) in [("hostname", &given), ("fqdn", &full)] {
        if let (Some(name), Some(place)) = (name, present(tree, key))
            && !is_host_name(name)
        {
            fields.unsuitable(place, format!("`{name}` is not a host name"), "use letters, digits, dashes and dots");
            return Vec::new();
        }
    }
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let names = match (given, full) {
        (Some(short), Some(full)) => Some((short, full)),
        (None, Some(full)) => Some((first(&full), full)),
        (Some(name), None) => Some((first(&name), name)),
        (None, None) => None,
    };
    let prefer_full = fields.flag(tree, "prefer_fqdn_over_hostname", false);
    let preserve = fields.flag(tree, "preserve_hostname", false);
    let create_file = fields.flag(tree, "create_hostname_file", true);
    let mut drafts = Vec::new();
    if let Some((short, full)) = names.clone().filter(|_| !preserve) {
        let name = if prefer_full { full } else { short };
        drafts.push(Draft::converge("hostname", StepKind::Hostname(Hostname { name, create_file })));
    }
    if let Some(place) = present(tree, "manage_etc_hosts").filter(|place| manages_hosts(fields, place)) {
        match names {
            Some((hostname, fqdn)) => {
                drafts.push(Draft::converge("manage_etc_hosts", StepKind::EtcHosts(EtcHosts { hostname, fqdn })));
            }
            None => fields.no_effect(
                place.span,
                "`manage_etc_hosts` is set and no host name is given".to_owned(),
                "add `hostname: …`, or remove it: a node's own name is in /etc/hosts anyway",
            ),
        }
    }
    drafts
}

fn manages_hosts(fields: &mut Fields, tree: &Tree) -> bool {
    match tree.as_str() {
        Some("template" | "localhost") => true,
        _ => fields.boolean(tree, "`manage_etc_hosts`").unwrap_or(false),
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

pub(crate) fn timezone(fields: &mut Fields, tree: &Tree) -> Option<Draft> {
    let place = present(tree, "timezone")?;
    let zone = fields.text(place, "`timezone`")?;
    let good = |part: &str| {
        !part.is_empty()
            && part != ".."
            && part != "."
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-.".contains(c))
    };
    if !zone.split('/').all(good) {
        fields.unsuitable(place, format!("`{zone}` is not a time zone"), "write one such as Europe/Budapest or UTC");
        return None;
    }
    Some(Draft::converge("timezone", StepKind::Timezone(zone)))
}

pub(crate) fn final_message(fields: &mut Fields, tree: &Tree) -> Option<Draft> {
    let message = fields.optional_text(tree, "final_message")?;
    Some(Draft::once("final_message", StepKind::FinalMessage(message), true))
}

pub(crate) fn power_state(fields: &mut Fields, tree: &Tree) -> Option<Draft> {
    let place = present(tree, "power_state")?;
    let entries = fields.mapping(place, "`power_state`")?;
    let known = ["mode", "delay", "message", "timeout", "condition"];
    fields.unknown_keys(entries, "`power_state`", &known, &[]);
    let Some(mode) = present(place, "mode") else {
        fields.missing(place, "`power_state`", "mode");
        return None;
    };
    let mode = match mode.as_str() {
        Some("reboot") => PowerMode::Reboot,
        Some("poweroff") => PowerMode::PowerOff,
        Some("halt") => PowerMode::Halt,
        _ => {
            let message = "`mode` of `power_state` is not one that is known".to_owned();
            fields.error(codes::READ_CHOICE, mode.span, message, "write reboot, poweroff or halt");
            return None;
        }
    };
    let delay_minutes = match present(place, "delay") {
        Some(delay) => delay_minutes(fields, delay)?,
        None => 0,
    };
    let condition = match present(place, "condition") {
        None => None,
        Some(tree) => match plain_truth(tree) {
            Some(true) => None,
            Some(false) => return None,
            None if matches!(tree.node, Node::Map(_)) => {
                fields.wrong(tree, "`condition`", "true, false or a command");
                return None;
            }
            None => Some(shell(fields, "condition", tree)?),
        },
    };
    let message = fields.optional_text(place, "message");
    Some(Draft::once("power_state", StepKind::PowerState(PowerState { mode, delay_minutes, message, condition }), true))
}

/// `now`, `+5` or `5`: minutes.
fn delay_minutes(fields: &mut Fields, tree: &Tree) -> Option<u32> {
    let text = fields.text(tree, "`delay`")?;
    let minutes = match text.trim() {
        "now" => Some(0),
        digits => digits.trim_start_matches('+').parse().ok().filter(|minutes| *minutes <= DELAY_MINUTES_MAX),
    };
    if minutes.is_none() {
        let message = format!("`{text}` is not a delay");
        fields.error(codes::READ_DURATION, tree.span, message, "write `now`, or minutes such as `+5`");
    }
    minutes
}

/// A text that can stand in a file of fields, or a finding.
pub(crate) fn field(fields: &mut Fields, map: &Tree, key: &str) -> Option<String> {
    let tree = present(map, key)?;
    let text = fields.text(tree, &format!("`{key}`"))?;
    if !is_field(&text) {
        fields.unsuitable(tree, format!("`{key}` holds a colon or a line break"), "remove it");
        return None;
    }
    Some(text)
}
