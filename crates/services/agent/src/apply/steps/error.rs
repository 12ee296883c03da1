//! Why a step failed, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is a folder", path.display())]
    Folder { path: PathBuf },
    #[error("{} is neither a file nor a folder", path.display())]
    Special { path: PathBuf },
    #[error("{} is a link that a user of the node may have made, so it is not followed", path.display())]
    Link { path: PathBuf },
    #[error("{} has other names, and a user of the node may have given it this one", path.display())]
    Shared { path: PathBuf },
    #[error("{} is larger than {} MiB", path.display(), limit >> 20)]
    Large { path: PathBuf, limit: u64 },
    #[error("cannot keep the step's output")]
    Log(#[source] io::Error),
    #[error("cannot write down how far the step is")]
    Journal(#[source] io::Error),
    #[error("cannot run {program}")]
    Program {
        program: String,
        #[source]
        source: io::Error,
    },
    /// The code travels beside the message.
    #[error("{program} failed")]
    Exit { program: String, code: i32 },
    #[error("there is no user `{user}`")]
    NoUser { user: String },
    #[error("there is no group `{group}`")]
    NoGroup { group: String },
    #[error("the user `{user}` has the number {found}, not {wanted}")]
    UserNumber { user: String, found: u32, wanted: u32 },
    #[error("no user or group number is free")]
    NoNumber,
    #[error("another program holds the lock of the user files")]
    Locked,
    #[error("sudo does not accept the rules of `{user}`")]
    SudoRules { user: String },
    #[error("cannot set the host name to `{name}`")]
    HostName {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("there is no time zone `{zone}`")]
    Zone { zone: String },
    #[error("{packages} cannot be installed: this node's /usr is read-only")]
    UsrReadOnly { packages: String },
    #[error("{packages} cannot be installed: this node has no apt-get")]
    NoApt { packages: String },
    #[error("{packages} cannot be installed: this node cannot reach the package servers, it has no route to them")]
    NoWayOut { packages: String, code: i32 },
    #[error("cannot change the power state")]
    Power(#[source] io::Error),
    #[error("the command {}", ending(*code))]
    Command { code: i32 },
}

/// Shells tell of a signal by a code above 128.
fn ending(code: i32) -> String {
    match code {
        129..=192 => format!("was ended by signal {}", code - 128),
        _ => "failed".to_owned(),
    }
}

impl StepError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exit { code, .. } | Self::Command { code } | Self::NoWayOut { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What to do next; empty when the message says it all.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoUser { .. } | Self::NoGroup { .. } => {
                "correct the name; a file for a user that the document makes needs `defer: true`"
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "this part of the node is read-only, as all of /usr is on the image `host`: write below /etc, /opt, /var, /home or /srv"
            }
            Self::Special { .. } => "pipes, sockets and devices are not written; remove it, or give another path",
            Self::Link { .. } => "write the path that it leads to, or put a folder or file in its place",
            Self::Shared { .. } => "remove this name, or copy the file",
            Self::UserNumber { .. } => "remove `uid`, or replace the node: files belong to the old number",
            Self::SudoRules { .. } => "write rules as in sudoers, without the user: ALL=(ALL) NOPASSWD:ALL",
            Self::Zone { .. } => "write one of /usr/share/zoneinfo, such as Europe/Budapest; the node may lack tzdata",
            Self::UsrReadOnly { .. } => {
                "install them on the machine itself, whose /usr the node shows, or use an image of its own"
            }
            Self::NoWayOut { .. } => {
                "a new machine may come with them: `muster up --replace` this node, and the provider bakes them into its image"
            }
            Self::NoApt { .. } => "use an image that has them, or one with apt",
            Self::Exit { .. } => "its output says why",
            Self::Locked => "see who holds /etc/.pwd.lock, and run it again",
            _ => "",
        }
    }

    /// The whole story in one line.
    pub(crate) fn tell(&self) -> String {
        let hint = self.hint();
        let chain = muster_stdx::chain(self);
        if hint.is_empty() { chain } else { format!("{chain} (hint: {hint})") }
    }
}
