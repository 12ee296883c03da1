//! A step of a document, decoded and ready to be executed.

use std::fmt;

use muster_types::Redacted;

/// Names a step within its document: `runcmd[2]` (counted from 0), `write_files[/etc/motd]`, `users[deploy]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub(crate) String);

impl StepId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// SHA-256 over everything a step means, lower-case hex. Where it stands in the document is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepHash(pub(crate) String);

impl StepHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub id: StepId,
    pub hash: StepHash,
    pub kind: StepKind,
    pub class: Class,
}

/// What a change of a step, or of what it made, leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Describes a state: checked at every run, made true where it is not.
    Converge,
    /// Done once. A changed one runs again only with `rerun`; without it the machine has to be replaced.
    Once { rerun: bool },
}

/// The two lists of commands; each is one shell script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    Boot,
    Run,
}

impl Section {
    pub fn key(self) -> &'static str {
        match self {
            Self::Boot => "bootcmd",
            Self::Run => "runcmd",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    Command(Command),
    File(FileStep),
    Mount(Mount),
    Hostname(Hostname),
    EtcHosts(EtcHosts),
    Group(Group),
    User(User),
    Password(Password),
    AuthorizedKeys(AuthorizedKeys),
    Timezone(String),
    Packages(Packages),
    /// Fetch the lists of packages.
    UpdateIndex,
    /// Bring every installed package up to date.
    Upgrade,
    Reload(Reload),
    FinalMessage(String),
    PowerState(PowerState),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub section: Section,
    /// Shell text; a list of words is quoted word by word.
    pub text: String,
}

/// Whether a later step of the document writes to the same file, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    No,
    ByAppend,
    ByWrite,
}

#[derive(Clone, PartialEq, Eq)]
pub struct FileStep {
    /// Absolute.
    pub path: String,
    pub content: Vec<u8>,
    pub append: bool,
    /// Permission bits; `None` means 0644 for a file that is written and no change for one that is appended to.
    pub mode: Option<u32>,
    /// `None` means root for a file that is written and no change for one that is appended to.
    pub owner: Option<Owner>,
    pub followed: Followed,
}

impl fmt::Debug for FileStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStep")
            .field("path", &self.path)
            .field("content", &String::from_utf8_lossy(&self.content))
            .field("append", &self.append)
            .field("mode", &self.mode.map(|mode| format!("{mode:04o}")))
            .field("owner", &self.owner)
            .field("followed", &self.followed)
            .finish()
    }
}

/// Names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub user: Option<String>,
    pub group: Option<String>,
}

/// A line of fstab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub device: String,
    /// Absolute; `none` for swap.
    pub point: String,
    pub filesystem: String,
    pub options: String,
    pub dump: String,
    pub pass: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname {
    pub name: String,
    /// Whether `/etc/hostname` is written too.
    pub create_file: bool,
}

/// A line for the node's own name in `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcHosts {
    pub hostname: String,
    pub fqdn: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Users that exist already; those that the document makes carry the group themselves.
    pub members: Vec<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "the switches of useradd, each with its own meaning")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub name: String,
    pub uid: Option<u32>,
    pub gecos: Option<String>,
    pub primary_group: Option<String>,
    pub groups: Vec<String>,
    /// Whether missing groups among `groups` are made.
    pub create_groups: bool,
    /// Whether a group with the user's name is made for it.
    pub user_group: bool,
    pub shell: Option<String>,
    pub home: Option<String>,
    pub create_home: bool,
    pub system: bool,
    /// Days since 1970-01-01.
    pub expires_day: Option<i64>,
    pub inactive_days: Option<u32>,
    /// The rules of a sudoers file of its own; none means that there is no such file.
    pub sudo: Vec<String>,
    /// The keys of a block in `authorized_keys`; none means that there is no such block.
    pub ssh_authorized_keys: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// Leave the password as it is.
    Keep,
    /// As `crypt` writes it.
    Hashed(Redacted<String>),
    Plain(Redacted<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Locked,
    Unlocked,
    AsIs,
}

/// A password is set when the step is new or changed, and never put back: its owner may have chosen another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    pub user: String,
    pub secret: Secret,
    pub lock: Lock,
    /// Has to be changed at the first login.
    pub expire: bool,
    /// Only for a user that has no password yet.
    pub only_first: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKeys {
    pub user: String,
    pub keys: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    pub packages: Vec<Package>,
}

/// A command for when files have changed: at first, and whenever one of them was written since it last ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// Files of `write_files`, absolute and in order.
    pub files: Vec<String>,
    /// Shell text, as that of a `Command`.
    pub text: String,
    /// The hashes of the steps that write these files.
    pub watched: Vec<StepHash>,
}

impl Reload {
    /// Whether this step of the same document writes one of its files.
    pub fn watches(&self, kind: &StepKind) -> bool {
        matches!(kind, StepKind::File(file) if self.files.contains(&file.path))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerMode {
    Reboot,
    PowerOff,
    Halt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerState {
    pub mode: PowerMode,
    pub delay_minutes: u32,
    pub message: Option<String>,
    /// Shell text that must exit 0.
    pub condition: Option<String>,
}
