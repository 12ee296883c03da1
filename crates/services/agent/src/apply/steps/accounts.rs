//! The four files of users and groups, changed together under the lock that shadow's own tools take.

use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_cloudinit::{Group, User};
use muster_stdx::Backoff;
use muster_types::Timestamp;
use nix::fcntl::{FcntlArg, fcntl};
use tokio::time::Instant;

use super::tables::Table;
use super::{Machine, StepError};

/// As long as shadow's tools wait.
const LOCK_WAIT: Duration = Duration::from_secs(15);
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

const PASSWD_GID: usize = 3;
const PASSWD_GECOS: usize = 4;
const PASSWD_HOME: usize = 5;
const PASSWD_SHELL: usize = 6;
pub(super) const SHADOW_HASH: usize = 1;
pub(super) const SHADOW_CHANGED: usize = 2;
const SHADOW_INACTIVE: usize = 6;
const SHADOW_EXPIRES: usize = 7;
const GROUP_MEMBERS: usize = 3;
const GSHADOW_MEMBERS: usize = 3;

/// Numbers that are given when none is asked for, as in Debian's login.defs.
const NUMBERS: std::ops::RangeInclusive<u32> = 1000..=60_000;
const SYSTEM_NUMBERS: std::ops::RangeInclusive<u32> = 100..=999;

#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) passwd: Table,
    pub(super) shadow: Table,
    pub(super) group: Table,
    gshadow: Table,
}

/// Held while the files are changed; released when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: fs_err::File,
}

/// Waits for other programs that change users.
pub(super) async fn lock(machine: &Machine) -> Result<Lock, StepError> {
    let path = machine.inside("/etc/.pwd.lock");
    super::files::make_folders(&path, super::files::Ids::own())?;
    let mut options = fs_err::OpenOptions::new();
    let file =
        options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(StepError::write(&path))?;
    let until = Instant::now() + LOCK_WAIT;
    let mut pauses = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    let whole = whole_file();
    // An open-file lock shuts out the process locks of shadow's tools, and is ours alone within this process.
    while fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).is_err() {
        if Instant::now() >= until {
            return Err(StepError::Locked);
        }
        // Nothing tells when the lock is given back without blocking a thread.
        tokio::time::sleep(pauses.pause()).await;
    }
    Ok(Lock { _file: file })
}

/// A lock that nobody else may hold beside it.
pub(super) fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(libc::F_WRLCK).unwrap_or(1),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

impl Accounts {
    pub(super) fn load(machine: &Machine) -> Result<Self, StepError> {
        Ok(Self {
            passwd: Table::load(machine, "/etc/passwd", 0o644)?,
            shadow: Table::load(machine, "/etc/shadow", 0o600)?,
            group: Table::load(machine, "/etc/group", 0o644)?,
            gshadow: Table::load(machine, "/etc/gshadow", 0o600)?,
        })
    }

    /// Secrets first: a user who is in passwd and not in shadow could log in without a password on some systems.
    pub(super) fn save(&mut self) -> Result<(), StepError> {
        self.gshadow.save()?;
        self.group.save()?;
        self.shadow.save()?;
        self.passwd.save()
    }

    pub(super) fn changed(&self) -> bool {
        [&self.passwd, &self.shadow, &self.group, &self.gshadow].iter().any(|table| table.changed())
    }

    pub(super) fn has_user(&self, name: &str) -> bool {
        self.passwd.row(name).is_some()
    }

    pub(super) fn has_group(&self, name: &str) -> bool {
        self.group.row(name).is_some()
    }

    /// User and group number, and home.
    pub(super) fn user(&self, name: &str) -> Option<(u32, u32, String)> {
        let number = |index| self.passwd.field(name, index).and_then(|field| field.parse().ok());
        Some((number(2)?, number(PASSWD_GID)?, self.passwd.field(name, PASSWD_HOME)?.to_owned()))
    }

    fn group_number(&self, group: &str) -> Result<u32, StepError> {
        let number = self.group.field(group, 2).and_then(|number| number.parse().ok());
        number.or_else(|| group.parse().ok()).ok_or_else(|| StepError::NoGroup { group: group.to_owned() })
    }

    pub(super) fn add_group(&mut self, name: &str, system: bool) -> Result<(), StepError> {
        let number = free(&self.group, system)?;
        self.add_group_with(name, number);
        Ok(())
    }

    fn add_group_with(&mut self, name: &str, number: u32) {
        self.group.add(&[name, "x", &number.to_string(), ""]);
        if self.gshadow.exists() {
            self.gshadow.add(&[name, "!", "", ""]);
        }
    }

    pub(super) fn add_member(&mut self, group: &str, user: &str) {
        self.group.add_member(group, GROUP_MEMBERS, user);
        if self.gshadow.row(group).is_some() {
            self.gshadow.add_member(group, GSHADOW_MEMBERS, user);
        }
    }

    /// As `useradd` would, with a locked password.
    pub(super) fn add_user(&mut self, user: &User) -> Result<(), StepError> {
        let name = user.name.as_str();
        let number = match user.uid {
            Some(number) => number,
            None => free(&self.passwd, user.system)?,
        };
        let group = match &user.primary_group {
            Some(group) => self.group_number(group)?,
            None if self.has_group(name) => self.group_number(name)?,
            None if user.user_group => {
                let taken = self.group.numbers().contains(&number);
                let number = if taken { free(&self.group, user.system)? } else { number };
                self.add_group_with(name, number);
                number
            }
            // Debian's group `users`.
            None => 100,
        };
        let home = user.home.clone().unwrap_or_else(|| format!("/home/{name}"));
        let shell = user.shell.as_deref().unwrap_or("/bin/sh");
        let gecos = user.gecos.as_deref().unwrap_or("");
        self.passwd.add(&[name, "x", &number.to_string(), &group.to_string(), gecos, &home, shell]);
        self.add_shadow(name);
        Ok(())
    }

    fn add_shadow(&mut self, name: &str) {
        self.shadow.add(&[name, "!", &today().to_string(), "0", "99999", "7", "", "", ""]);
    }

    /// Makes what is known of a user who exists as the step says.
    pub(super) fn converge(&mut self, user: &User) -> Result<(), StepError> {
        let name = user.name.as_str();
        let Some((number, group, _)) = self.user(name) else { return Err(StepError::NoUser { user: name.to_owned() }) };
        if let Some(wanted) = user.uid.filter(|wanted| *wanted != number) {
            return Err(StepError::UserNumber { user: name.to_owned(), found: number, wanted });
        }
        if let Some(primary) = &user.primary_group {
            let wanted = self.group_number(primary)?;
            if wanted != group {
                self.passwd.set(name, PASSWD_GID, &wanted.to_string());
            }
        }
        let fields = [(PASSWD_GECOS, &user.gecos), (PASSWD_HOME, &user.home), (PASSWD_SHELL, &user.shell)];
        for (index, value) in fields {
            if let Some(value) = value {
                self.passwd.set(name, index, value);
            }
        }
        for group in &user.groups {
            if !self.has_group(group) {
                return Err(StepError::NoGroup { group: group.clone() });
            }
            self.add_member(group, name);
        }
        let days = [(SHADOW_INACTIVE, user.inactive_days.map(i64::from)), (SHADOW_EXPIRES, user.expires_day)];
        for (index, value) in days {
            if let Some(value) = value {
                self.ensure_shadow(name);
                self.shadow.set(name, index, &value.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn ensure_shadow(&mut self, name: &str) {
        if self.shadow.row(name).is_none() {
            self.add_shadow(name);
        }
    }

    /// Whether every member of a group step is one.
    pub(super) fn lacks(&self, group: &Group) -> bool {
        let members = self.group.field(&group.name, GROUP_MEMBERS).unwrap_or_default();
        let is_member = |member: &String| members.split(',').any(|other| other == member);
        !self.has_group(&group.name) || group.members.iter().any(|m| self.has_user(m) && !is_member(m))
    }
}

/// Days since 1970-01-01, as shadow counts.
pub(super) fn today() -> i64 {
    Timestamp::now().as_second() / 86_400
}

fn free(table: &Table, system: bool) -> Result<u32, StepError> {
    let taken = table.numbers();
    let is_free = |number: &u32| !taken.contains(number);
    // System numbers are given from above, so that those of packages, which come from below in images, stay together.
    let found = if system { SYSTEM_NUMBERS.rev().find(is_free) } else { NUMBERS.clone().find(is_free) };
    found.ok_or(StepError::NoNumber)
}
