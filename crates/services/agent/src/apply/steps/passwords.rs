//! Passwords and locks in `/etc/shadow`. Written there directly: a tool would show them among its arguments, or want
//! PAM.

use muster_cloudinit::{Lock, Password, Secret};

use super::accounts::{Accounts, SHADOW_CHANGED, SHADOW_HASH, lock, today};
use super::{Machine, StepError, crypt};

pub(super) async fn apply(machine: &Machine, password: &Password) -> Result<bool, StepError> {
    let user = password.user.as_str();
    let _lock = lock(machine).await?;
    let mut accounts = Accounts::load(machine)?;
    if !accounts.has_user(user) {
        return Err(StepError::NoUser { user: user.to_owned() });
    }
    accounts.ensure_shadow(user);
    let found = accounts.shadow.field(user, SHADOW_HASH).unwrap_or_default().to_owned();
    let has_one = !matches!(found.trim_start_matches('!'), "" | "*");
    let wanted = match &password.secret {
        Secret::Keep => None,
        _ if password.only_first && has_one => None,
        Secret::Hashed(hash) => Some(hash.expose().clone()),
        Secret::Plain(text) => {
            let path = std::path::Path::new("/dev/urandom");
            Some(crypt::hash(text.expose()).map_err(StepError::read(path))?)
        }
    };
    if wanted.is_some() {
        let changed = if password.expire { 0 } else { today() };
        accounts.shadow.set(user, SHADOW_CHANGED, &changed.to_string());
    }
    let hash = locked(wanted.as_deref().unwrap_or(&found), password.lock);
    accounts.shadow.set(user, SHADOW_HASH, &hash);
    let changed = accounts.changed();
    accounts.save()?;
    Ok(changed)
}

/// Only the lock is looked at: the password may have been changed by its owner since.
pub(super) fn holds(machine: &Machine, password: &Password) -> Result<bool, StepError> {
    let accounts = Accounts::load(machine)?;
    let found = accounts.shadow.field(&password.user, SHADOW_HASH);
    let locked = found.is_none_or(|hash| hash.starts_with(['!', '*']));
    Ok(accounts.has_user(&password.user) && (password.lock != Lock::Locked || locked))
}

/// An empty password is never unlocked: anybody could log in.
fn locked(hash: &str, lock: Lock) -> String {
    match lock {
        Lock::Locked if !hash.starts_with(['!', '*']) => format!("!{hash}"),
        Lock::Unlocked => match hash.trim_start_matches('!') {
            "" | "*" => hash.to_owned(),
            bare => bare.to_owned(),
        },
        Lock::Locked | Lock::AsIs => hash.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_password_stays_locked() {
        for (hash, lock, expected) in [
            ("$6$a$b", Lock::Locked, "!$6$a$b"),
            ("!$6$a$b", Lock::Locked, "!$6$a$b"),
            ("!$6$a$b", Lock::Unlocked, "$6$a$b"),
            ("", Lock::Locked, "!"),
            ("!", Lock::Unlocked, "!"),
            ("!*", Lock::Unlocked, "!*"),
            ("*", Lock::Locked, "*"),
            ("$6$a$b", Lock::AsIs, "$6$a$b"),
        ] {
            assert_eq!(locked(hash, lock), expected, "{hash} {lock:?}");
        }
    }
}
