//! `user` and `users`.

use muster_doc::{Node, Tree, codes};
use muster_types::Redacted;

use super::accounts::ssh_keys;
use super::system::field;
use crate::fields::{Fields, plain_truth, present};
use crate::step::{Lock, Password, Secret, User};

const NAME_BYTES_MAX: usize = 32;

const KEYS: &[&str] = &[
    "name",
    "create_groups",
    "expiredate",
    "gecos",
    "groups",
    "hashed_passwd",
    "homedir",
    "inactive",
    "lock_passwd",
    "no_create_home",
    "no_log_init",
    "no_user_group",
    "passwd",
    "plain_text_passwd",
    "primary_group",
    "shell",
    "ssh_authorized_keys",
    "sudo",
    "system",
    "uid",
];

const KEYS_NOT_DONE: &[&str] = &["doas", "selinux_user", "snapuser", "ssh_import_id", "ssh_redirect_user"];

#[derive(Debug)]
pub(crate) struct UserDraft {
    pub(crate) user: User,
    pub(crate) password: Password,
    /// Whether top-level keys and the top-level password are meant for it.
    pub(crate) default: bool,
}

/// A name of a user or group: what `useradd` takes, and upper case and dots, which images have.
pub(crate) fn is_account_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.trim_end_matches('$').chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// `user` describes the default user; `users` lists users by name or by mapping.
pub(crate) fn read(fields: &mut Fields, tree: &Tree) -> Vec<UserDraft> {
    let mut users = Vec::new();
    if let Some(place) = present(tree, "user") {
        match &place.node {
            Node::Scalar(scalar) => add_name(fields, place, &scalar.text, &mut users),
            _ => add_mapping(fields, place, None, &mut users),
        }
        for user in &mut users {
            user.default = true;
        }
    }
    let Some(place) = present(tree, "users") else { return users };
    match &place.node {
        Node::Map(entries) => {
            for (key, value) in entries {
                match plain_truth(value) {
                    Some(true) => add_name(fields, value, &key.text, &mut users),
                    Some(false) => {}
                    None => add_mapping(fields, value, Some(&key.text), &mut users),
                }
            }
        }
        Node::Seq(items) => {
            for item in items.iter().filter(|item| !item.is_null()) {
                match &item.node {
                    Node::Map(_) => add_mapping(fields, item, None, &mut users),
                    _ => add_names(fields, item, &mut users),
                }
            }
        }
        _ => add_names(fields, place, &mut users),
    }
    users
}

fn add_names(fields: &mut Fields, place: &Tree, users: &mut Vec<UserDraft>) {
    for name in fields.texts(place, "`users`", true) {
        add_name(fields, place, &name, users);
    }
}

fn add_name(fields: &mut Fields, place: &Tree, name: &str, users: &mut Vec<UserDraft>) {
    if name == "default" {
        if !users.iter().any(|user| user.default) {
            let message = "`default` names no user here: images have no default user of their own".to_owned();
            fields.no_effect(place.span, message, "remove it, or describe the default user with `user: {name: …}`");
        }
        return;
    }
    if !check_name(fields, place, name) || users.iter().any(|user| user.user.name == name) {
        return;
    }
    let user =
        User { name: name.to_owned(), create_groups: true, user_group: true, create_home: true, ..User::default() };
    users.push(UserDraft { password: password_of(name, Secret::Keep, Lock::Locked, false), user, default: false });
}

fn check_name(fields: &mut Fields, place: &Tree, name: &str) -> bool {
    let good = is_account_name(name);
    if !good {
        let message = format!("`{name}` cannot be the name of a user");
        fields.unsuitable(place, message, "use at most 32 lower-case letters, digits, dashes and underscores");
    }
    good
}

fn password_of(user: &str, secret: Secret, lock: Lock, only_first: bool) -> Password {
    Password { user: user.to_owned(), secret, lock, expire: false, only_first }
}

fn add_mapping(fields: &mut Fields, item: &Tree, key: Option<&str>, users: &mut Vec<UserDraft>) {
    let Some(entries) = fields.mapping(item, "a user") else { return };
    fields.unknown_keys(entries, "a user", KEYS, KEYS_NOT_DONE);
    let name = match (key, present(item, "name")) {
        (Some(key), _) => key.to_owned(),
        (None, Some(name)) => fields.text(name, "`name`").unwrap_or_default(),
        (None, None) if present(item, "snapuser").is_some() => return,
        (None, None) => return fields.missing(item, "a user", "name"),
    };
    if name == "default" {
        return add_name(fields, item, &name, users);
    }
    if !check_name(fields, item, &name) {
        return;
    }
    let (user, password) = (user(fields, item, &name), password(fields, item, &name));
    match users.iter_mut().find(|known| known.user.name == name) {
        Some(known) if is_bare(&known.user) => (known.user, known.password) = (user, password),
        Some(_) => fields.unsuitable(item, format!("the user `{name}` is described twice"), "put both together"),
        None => users.push(UserDraft { user, password, default: false }),
    }
}

/// Whether nothing but the name is known.
fn is_bare(user: &User) -> bool {
    let bare =
        User { name: user.name.clone(), create_groups: true, user_group: true, create_home: true, ..User::default() };
    *user == bare
}

fn user(fields: &mut Fields, item: &Tree, name: &str) -> User {
    let system = fields.flag(item, "system", false);
    let no_home = fields.flag(item, "no_create_home", false);
    let groups = present(item, "groups").map(|tree| match &tree.node {
        Node::Map(entries) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
        _ => fields.texts(tree, "`groups`", true),
    });
    let groups = groups.unwrap_or_default();
    let primary_group = fields.optional_text(item, "primary_group");
    if let Some(bad) = groups.iter().chain(&primary_group).find(|group| !is_account_name(group)) {
        fields.unsuitable(item, format!("`{bad}` cannot be the name of a group"), "use lower-case letters and digits");
    }
    User {
        name: name.to_owned(),
        uid: present(item, "uid").and_then(|tree| fields.number(tree, "`uid`")),
        gecos: field(fields, item, "gecos"),
        primary_group,
        groups,
        create_groups: fields.flag(item, "create_groups", true),
        user_group: !fields.flag(item, "no_user_group", false),
        shell: path_field(fields, item, "shell"),
        home: path_field(fields, item, "homedir"),
        create_home: !(system || no_home),
        system,
        expires_day: expires_day(fields, item),
        inactive_days: present(item, "inactive").and_then(|tree| fields.number(tree, "`inactive`")),
        sudo: sudo(fields, item),
        ssh_authorized_keys: present(item, "ssh_authorized_keys").map_or_else(Vec::new, |tree| ssh_keys(fields, tree)),
    }
}

fn path_field(fields: &mut Fields, item: &Tree, key: &str) -> Option<String> {
    let path = field(fields, item, key)?;
    if !path.starts_with('/') || path.split('/').any(|name| name == "..") {
        let place = present(item, key).unwrap_or(item);
        fields.error(codes::FILE_PATH, place.span, format!("`{key}` is not an absolute path"), "begin it with `/`");
        return None;
    }
    Some(path)
}

/// A rule, a list of rules, or `false` and nothing for none.
fn sudo(fields: &mut Fields, item: &Tree) -> Vec<String> {
    let Some(tree) = present(item, "sudo") else { return Vec::new() };
    match plain_truth(tree) {
        Some(false) => return Vec::new(),
        Some(true) => {
            fields.unsuitable(tree, "`sudo: true` names no rule".to_owned(), "write `sudo: ALL=(ALL) NOPASSWD:ALL`");
            return Vec::new();
        }
        None => {}
    }
    let rules = fields.texts(tree, "`sudo`", false);
    if rules.iter().any(|rule| rule.contains(char::is_control)) {
        fields.unsuitable(tree, "a rule of `sudo` holds a line break".to_owned(), "write a list of rules");
    }
    rules.into_iter().map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect()
}

/// `2030-12-31`, as days since 1970-01-01.
fn expires_day(fields: &mut Fields, item: &Tree) -> Option<i64> {
    let tree = present(item, "expiredate")?;
    let text = fields.text(tree, "`expiredate`")?;
    let parts: Vec<Option<i64>> = text.trim().split('-').map(|part| part.parse().ok()).collect();
    let day = match parts.as_slice() {
        [Some(year @ 1970..=9999), Some(month @ 1..=12), Some(day @ 1..=31)] => Some(days(*year, *month, *day)),
        _ => None,
    };
    if day.is_none() {
        fields.unsuitable(tree, format!("`{text}` is not a date"), "write it as 2030-12-31");
    }
    day
}

/// Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`, for years from 0 on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The password of a user that the document describes; locked unless the document says otherwise.
fn password(fields: &mut Fields, item: &Tree, name: &str) -> Password {
    let plain = fields.optional_text(item, "plain_text_passwd").filter(|text| !text.is_empty());
    let hashed = field(fields, item, "hashed_passwd").filter(|text| !text.is_empty());
    let first = field(fields, item, "passwd").filter(|text| !text.is_empty());
    let only_first = plain.is_none() && hashed.is_none() && first.is_some();
    let secret = match (plain, hashed.or(first)) {
        (Some(plain), _) => Secret::Plain(Redacted::new(plain)),
        (None, Some(hashed)) => Secret::Hashed(Redacted::new(hashed)),
        (None, None) => Secret::Keep,
    };
    let lock = if fields.flag(item, "lock_passwd", true) { Lock::Locked } else { Lock::Unlocked };
    password_of(name, secret, lock, only_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_the_epoch() {
        for (date, count) in
            [((1970, 1, 1), 0), ((2000, 3, 1), 11_017), ((2030, 12, 31), 22_279), ((2024, 2, 29), 19_782)]
        {
            assert_eq!(days(date.0, date.1, date.2), count, "{date:?}");
        }
    }
}
