//! `password` and `chpasswd`.

use muster_doc::{Tree, codes};
use muster_types::Redacted;

use super::users::is_account_name;
use crate::document::Draft;
use crate::fields::{Fields, present};
use crate::step::{Lock, Password, Secret, StepKind};

/// `default` is the user that the top-level `password` is meant for.
pub(crate) fn read(fields: &mut Fields, tree: &Tree, default: Option<&str>) -> Vec<Draft> {
    let mut found: Vec<(String, Secret)> = Vec::new();
    let mut expire = true;
    if let Some(place) = present(tree, "chpasswd") {
        let Some(entries) = fields.mapping(place, "`chpasswd`") else { return Vec::new() };
        fields.unknown_keys(entries, "`chpasswd`", &["expire", "list", "users"], &[]);
        expire = fields.flag(place, "expire", true);
        if let Some(list) = present(place, "list") {
            lines(fields, list, &mut found);
        }
        let users = present(place, "users").and_then(|tree| fields.list(tree, "`users` of `chpasswd`"));
        for item in users.unwrap_or_default() {
            found.extend(entry(fields, item));
        }
    }
    if let Some(place) = present(tree, "password").filter(|_| found.is_empty()) {
        match (default, fields.text(place, "`password`")) {
            (Some(user), Some(text)) => found.push((user.to_owned(), secret(text))),
            (None, _) => {
                let message = "`password` is for the default user, and the document names none".to_owned();
                fields.no_effect(place.span, message, "add `user: NAME`, or use `chpasswd` with names");
            }
            (Some(_), None) => {}
        }
    }
    found
        .into_iter()
        .map(|(user, secret)| {
            let name = format!("chpasswd[{user}]");
            let password = Password { user, secret, lock: Lock::AsIs, expire, only_first: false };
            Draft::converge(name, StepKind::Password(password))
        })
        .collect()
}

/// `user:password` a line, in one text or in a list.
fn lines(fields: &mut Fields, list: &Tree, found: &mut Vec<(String, Secret)>) {
    for text in fields.texts(list, "`list` of `chpasswd`", false) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some((user, "R" | "RANDOM")) => random(fields, list, user),
                Some((user, password)) if is_account_name(user) => {
                    found.push((user.to_owned(), secret(password.to_owned())));
                }
                // The line may be a password alone, so it is not shown.
                _ => fields.unsuitable(list, "a line is not `user:password`".to_owned(), "write one user a line"),
            }
        }
    }
}

fn entry(fields: &mut Fields, item: &Tree) -> Option<(String, Secret)> {
    let entries = fields.mapping(item, "a user of `chpasswd`")?;
    fields.unknown_keys(entries, "a user of `chpasswd`", &["name", "password", "type"], &[]);
    let Some(name) = fields.optional_text(item, "name").filter(|name| is_account_name(name)) else {
        fields.missing(item, "a user of `chpasswd`", "name");
        return None;
    };
    let kind = fields.optional_text(item, "type").unwrap_or_else(|| "hash".to_owned());
    if kind == "RANDOM" {
        random(fields, item, &name);
        return None;
    }
    let Some(password) = fields.optional_text(item, "password") else {
        fields.missing(item, "a user of `chpasswd`", "password");
        return None;
    };
    match kind.as_str() {
        "text" => Some((name, Secret::Plain(Redacted::new(password)))),
        "hash" if super::is_field(&password) => Some((name, Secret::Hashed(Redacted::new(password)))),
        "hash" => {
            fields.unsuitable(item, format!("the hash of `{name}` holds a colon"), "make it with mkpasswd");
            None
        }
        _ => {
            let message = format!("`{kind}` is not a type of password");
            fields.error(codes::READ_CHOICE, item.span, message, "write `hash` or `text`");
            None
        }
    }
}

fn random(fields: &mut Fields, place: &Tree, user: &str) {
    let message = format!("a random password for `{user}` is not made: nobody would see it");
    fields.warning(codes::CLOUD_KEY_NOT_DONE, place.span, message, "give a hash, made with mkpasswd");
}

/// A text that looks as `crypt` writes hashes is one.
fn secret(text: String) -> Secret {
    let hashed = ["$1$", "$2a$", "$2y$", "$5$", "$6$", "$y$"].iter().any(|prefix| text.starts_with(prefix))
        && text.matches('$').count() >= 3
        && super::is_field(&text);
    if hashed { Secret::Hashed(Redacted::new(text)) } else { Secret::Plain(Redacted::new(text)) }
}
