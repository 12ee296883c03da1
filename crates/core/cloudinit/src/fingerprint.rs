//! Content hashes of steps: fields with names and lengths, so that no two meanings give the same bytes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::step::{
    AuthorizedKeys, Command, EtcHosts, FileStep, Group, Hostname, Lock, Mount, Owner, Packages, Password, PowerMode,
    PowerState, Reload, Secret, StepHash, StepKind, User,
};

/// Grows when the meaning of a field changes, so that old hashes do not match by accident.
const FORMAT: &str = "muster-step-1";

struct Fingerprint(Sha256);

impl Fingerprint {
    fn new(kind: &str) -> Self {
        Self(Sha256::new()).bytes("format", FORMAT.as_bytes()).text("kind", kind)
    }

    fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        for part in [name.as_bytes(), value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.bytes(name, value.as_bytes())
    }

    fn flag(self, name: &str, value: bool) -> Self {
        self.bytes(name, &[u8::from(value)])
    }

    fn number(self, name: &str, value: impl Into<i64>) -> Self {
        self.bytes(name, &value.into().to_be_bytes())
    }

    fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.flag(name, true).text(name, value),
            None => self.flag(name, false),
        }
    }

    fn list(self, name: &str, values: &[String]) -> Self {
        let counted = self.bytes(name, &(values.len() as u64).to_be_bytes());
        values.iter().fold(counted, |print, value| print.text(name, value))
    }

    fn finish(self) -> StepHash {
        StepHash(hex(&self.0.finalize()))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

pub(crate) fn of(kind: &StepKind) -> StepHash {
    match kind {
        StepKind::Command(command) => of_command(command),
        StepKind::File(file) => of_file(file),
        StepKind::Mount(mount) => of_mount(mount),
        StepKind::Hostname(Hostname { name, create_file }) => {
            Fingerprint::new("hostname").text("name", name).flag("create_file", *create_file).finish()
        }
        StepKind::EtcHosts(EtcHosts { hostname, fqdn }) => {
            Fingerprint::new("etc_hosts").text("hostname", hostname).text("fqdn", fqdn).finish()
        }
        StepKind::Group(Group { name, members }) => {
            Fingerprint::new("group").text("name", name).list("members", members).finish()
        }
        StepKind::User(user) => of_user(user),
        StepKind::Password(password) => of_password(password),
        StepKind::AuthorizedKeys(AuthorizedKeys { user, keys }) => {
            Fingerprint::new("authorized_keys").text("user", user).list("keys", keys).finish()
        }
        StepKind::Timezone(zone) => Fingerprint::new("timezone").text("zone", zone).finish(),
        StepKind::Packages(packages) => of_packages(packages),
        StepKind::UpdateIndex => Fingerprint::new("update_index").finish(),
        StepKind::Upgrade => Fingerprint::new("upgrade").finish(),
        StepKind::Reload(reload) => of_reload(reload),
        StepKind::FinalMessage(message) => Fingerprint::new("final_message").text("message", message).finish(),
        StepKind::PowerState(power) => of_power(power),
    }
}

/// The section is part of it; the place in the list and the `rerun` mark are not: they do not change what runs.
fn of_command(command: &Command) -> StepHash {
    Fingerprint::new(command.section.key()).text("text", &command.text).finish()
}

/// Whether later steps write to the file too is no part of what this one does.
fn of_file(file: &FileStep) -> StepHash {
    let mode = file.mode.map(|mode| format!("{mode:o}"));
    let print = Fingerprint::new("file")
        .text("path", &file.path)
        .bytes("content", &file.content)
        .flag("append", file.append)
        .optional("mode", mode.as_deref())
        .flag("owned", file.owner.is_some());
    let Owner { user, group } = file.owner.clone().unwrap_or(Owner { user: None, group: None });
    print.optional("user", user.as_deref()).optional("group", group.as_deref()).finish()
}

fn of_mount(mount: &Mount) -> StepHash {
    Fingerprint::new("mount")
        .text("device", &mount.device)
        .text("point", &mount.point)
        .text("filesystem", &mount.filesystem)
        .text("options", &mount.options)
        .text("dump", &mount.dump)
        .text("pass", &mount.pass)
        .finish()
}

fn of_user(user: &User) -> StepHash {
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    Fingerprint::new("user")
        .text("name", &user.name)
        .optional("uid", number(user.uid.map(i64::from)).as_deref())
        .optional("gecos", user.gecos.as_deref())
        .optional("primary_group", user.primary_group.as_deref())
        .list("groups", &user.groups)
        .flag("create_groups", user.create_groups)
        .flag("user_group", user.user_group)
        .optional("shell", user.shell.as_deref())
        .optional("home", user.home.as_deref())
        .flag("create_home", user.create_home)
        .flag("system", user.system)
        .optional("expires_day", number(user.expires_day).as_deref())
        .optional("inactive_days", number(user.inactive_days.map(i64::from)).as_deref())
        .list("sudo", &user.sudo)
        .list("ssh_authorized_keys", &user.ssh_authorized_keys)
        .finish()
}

fn of_password(password: &Password) -> StepHash {
    let (kind, secret) = match &password.secret {
        Secret::Keep => ("keep", None),
        Secret::Hashed(hash) => ("hashed", Some(hash.expose().as_str())),
        Secret::Plain(text) => ("plain", Some(text.expose().as_str())),
    };
    let lock = match password.lock {
        Lock::Locked => "locked",
        Lock::Unlocked => "unlocked",
        Lock::AsIs => "as is",
    };
    Fingerprint::new("password")
        .text("user", &password.user)
        .text("secret_kind", kind)
        .optional("secret", secret)
        .text("lock", lock)
        .flag("expire", password.expire)
        .flag("only_first", password.only_first)
        .finish()
}

fn of_packages(Packages { packages }: &Packages) -> StepHash {
    let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let versions: Vec<String> = packages.iter().map(|package| package.version.clone().unwrap_or_default()).collect();
    Fingerprint::new("packages").list("names", &names).list("versions", &versions).finish()
}

/// By what the files are made of, so that a change of one of them is a change of this step.
fn of_reload(reload: &Reload) -> StepHash {
    let watched: Vec<String> = reload.watched.iter().map(|hash| hash.as_str().to_owned()).collect();
    Fingerprint::new("reload")
        .text("text", &reload.text)
        .list("files", &reload.files)
        .list("watched", &watched)
        .finish()
}

fn of_power(power: &PowerState) -> StepHash {
    let mode = match power.mode {
        PowerMode::Reboot => "reboot",
        PowerMode::PowerOff => "poweroff",
        PowerMode::Halt => "halt",
    };
    Fingerprint::new("power_state")
        .text("mode", mode)
        .number("delay_minutes", power.delay_minutes)
        .optional("message", power.message.as_deref())
        .optional("condition", power.condition.as_deref())
        .finish()
}
