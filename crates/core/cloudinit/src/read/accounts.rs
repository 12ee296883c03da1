//! Groups, users, keys and passwords, and what they have to do with each other.

use std::collections::BTreeSet;

use muster_doc::{Key, Node, Tree};

use super::users::{UserDraft, is_account_name};
use super::{files, passwords, users};
use crate::document::Draft;
use crate::fields::{Fields, plain_truth, present};
use crate::step::{AuthorizedKeys, Group, Reload, StepKind};

/// Groups first, then users with their passwords, then keys and passwords that stand on their own.
pub(crate) fn read(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let mut groups = groups(fields, tree);
    let mut made = users::read(fields, tree);
    for group in &mut groups {
        give_members(group, &mut made);
    }
    let lone_keys = authorized_keys(fields, tree, &mut made);
    let default = made.iter().find(|user| user.default).map(|user| user.user.name.clone());
    let mut drafts: Vec<Draft> = groups
        .into_iter()
        .map(|group| Draft::converge(format!("groups[{}]", group.name), StepKind::Group(group)))
        .collect();
    for UserDraft { user, password, .. } in made {
        let name = format!("users[{}]", user.name);
        drafts.push(Draft::converge(&name, StepKind::User(user)));
        drafts.push(Draft::converge(format!("{name}.password"), StepKind::Password(password)));
    }
    drafts.extend(lone_keys);
    drafts.extend(host_keys(fields, tree));
    drafts.extend(passwords::read(fields, tree, default.as_deref()));
    drafts.extend(password_login(fields, tree));
    drafts
}

/// A user that the document makes is not there yet when the group is made, so it carries the group itself.
fn give_members(group: &mut Group, users: &mut [UserDraft]) {
    group.members.retain(|member| {
        let Some(user) = users.iter_mut().find(|user| user.user.name == *member) else { return true };
        if !user.user.groups.contains(&group.name) {
            user.user.groups.push(group.name.clone());
        }
        false
    });
}

/// A text cut at commas, a list of names and of mappings from name to members, or one such mapping.
fn groups(fields: &mut Fields, tree: &Tree) -> Vec<Group> {
    let mut groups = Vec::new();
    let Some(place) = present(tree, "groups") else { return groups };
    match &place.node {
        Node::Map(entries) => add_groups(fields, entries, &mut groups),
        Node::Seq(items) => {
            for item in items.iter().filter(|item| !item.is_null()) {
                match &item.node {
                    Node::Map(entries) => add_groups(fields, entries, &mut groups),
                    _ => {
                        for name in fields.texts(item, "`groups`", true) {
                            add_group(fields, item, name, Vec::new(), &mut groups);
                        }
                    }
                }
            }
        }
        _ => {
            for name in fields.texts(place, "`groups`", true) {
                add_group(fields, place, name, Vec::new(), &mut groups);
            }
        }
    }
    groups
}

fn add_groups(fields: &mut Fields, entries: &[(Key, Tree)], groups: &mut Vec<Group>) {
    for (key, members) in entries {
        let members = fields.texts(members, &format!("the members of `{}`", key.text), true);
        let place = Tree { node: Node::Null, span: key.span };
        add_group(fields, &place, key.text.clone(), members, groups);
    }
}

fn add_group(fields: &mut Fields, place: &Tree, name: String, members: Vec<String>, groups: &mut Vec<Group>) {
    if let Some(bad) = std::iter::once(&name).chain(&members).find(|name| !is_account_name(name)) {
        let message = format!("`{bad}` cannot be the name of a user or group");
        fields.unsuitable(place, message, "use lower-case letters, digits, dashes and underscores");
        return;
    }
    match groups.iter_mut().find(|group| group.name == name) {
        Some(group) => group.members.extend(members),
        None => groups.push(Group { name, members }),
    }
}

/// Keys of nobody in particular belong to the default user, or to root when the document names none.
fn authorized_keys(fields: &mut Fields, tree: &Tree, users: &mut [UserDraft]) -> Option<Draft> {
    let keys = ssh_keys(fields, present(tree, "ssh_authorized_keys")?);
    if keys.is_empty() {
        return None;
    }
    let index = users.iter().position(|user| user.default);
    let index = index.or_else(|| users.iter().position(|user| user.user.name == "root"));
    let Some(index) = index else {
        let keys = AuthorizedKeys { user: "root".to_owned(), keys };
        return Some(Draft::converge("ssh_authorized_keys", StepKind::AuthorizedKeys(keys)));
    };
    let own = &mut users[index].user.ssh_authorized_keys;
    own.extend(keys.into_iter().filter(|key| !own.contains(key)).collect::<Vec<_>>());
    None
}

/// Keys, one a line each, without doubles.
pub(crate) fn ssh_keys(fields: &mut Fields, tree: &Tree) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for text in fields.texts(tree, "`ssh_authorized_keys`", false) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line.contains(char::is_control) {
                fields.unsuitable(
                    tree,
                    "a key holds a control character".to_owned(),
                    "paste the line of the .pub file",
                );
            } else if !keys.iter().any(|key| key == line) {
                keys.push(line.to_owned());
            }
        }
    }
    keys
}

/// The host's own keys: `ed25519_private`, `ed25519_public`, `rsa_certificate`….
fn host_keys(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let entries = present(tree, "ssh_keys").and_then(|tree| fields.mapping(tree, "`ssh_keys`")).unwrap_or_default();
    for (key, value) in entries {
        let split = key.text.rsplit_once('_').filter(|(kind, _)| kind.chars().all(|c| c.is_ascii_alphanumeric()));
        let (suffix, mode) = match split {
            Some((_, "private")) => ("", 0o600),
            Some((_, "public")) => (".pub", 0o644),
            Some((_, "certificate")) => ("-cert.pub", 0o644),
            _ => {
                let message = format!("`{}` is not a host key", key.text);
                fields.no_effect(key.span, message, "write one such as ed25519_private or ed25519_public");
                continue;
            }
        };
        let (kind, Some(text)) = (split.unwrap_or_default().0, fields.text(value, "a host key")) else { continue };
        let path = format!("/etc/ssh/ssh_host_{kind}_key{suffix}");
        let content = format!("{}\n", text.trim_end());
        drafts.push(Draft::converge(format!("ssh_keys[{}]", key.text), files::made_file(&path, content, mode)));
    }
    drafts
}

fn password_login(fields: &mut Fields, tree: &Tree) -> Option<Draft> {
    let place = present(tree, "ssh_pwauth")?;
    if place.as_str() == Some("unchanged") {
        return None;
    }
    let allowed = match plain_truth(place) {
        Some(allowed) => allowed,
        None => fields.boolean(place, "`ssh_pwauth`")?,
    };
    let content = format!("PasswordAuthentication {}\n", if allowed { "yes" } else { "no" });
    let kind = files::made_file("/etc/ssh/sshd_config.d/50-cloud-init.conf", content, 0o600);
    Some(Draft::converge("ssh_pwauth", kind))
}

/// sshd has read its keys and settings when it was started, which may have been before they were written. One that is about
/// to start may have read them too; one that is not, not there, or not systemd's has nothing to be told. A reload looks
/// at the settings before it lets go of the old ones.
const SSH_RELOAD: &str = "[ -d /run/systemd/system ] || exit 0\nfor unit in ssh sshd; do\n  \
                          systemctl cat $unit >/dev/null 2>&1 || continue\n  \
                          if systemctl --quiet is-active $unit; then exec systemctl reload $unit; fi\n  \
                          exec systemctl try-restart $unit\ndone";

/// Has sshd take in what the steps before this one may have written for it.
pub(crate) fn ssh_reload(before: &[Draft]) -> Option<Draft> {
    let is_ssh = |draft: &&Draft| draft.name == "ssh_pwauth" || draft.name.starts_with("ssh_keys[");
    let files = before.iter().filter(is_ssh).filter_map(|draft| match &draft.kind {
        StepKind::File(file) => Some(file.path.clone()),
        _ => None,
    });
    let files: BTreeSet<String> = files.collect();
    let kind = Reload { files: files.into_iter().collect(), text: SSH_RELOAD.to_owned(), watched: Vec::new() };
    (!kind.files.is_empty()).then(|| Draft::once("ssh_reload", StepKind::Reload(kind), true))
}
