//! What each kind of step does to the node. Every step can be done again: it changes what is not as it should be.

mod accounts;
mod append;
mod blocks;
mod crypt;
mod error;
mod files;
mod mounts;
mod names;
mod packages;
mod passwords;
mod power;
mod reload;
mod spot;
mod tables;
mod users;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use muster_cloudinit::{Step, StepKind, expand_message};
use muster_types::{NodeName, Timestamp};

pub(super) use error::StepError;
pub(super) use power::act as change_power;

use super::journal::Memo;
use super::tool::{Output, SEARCH_PATH, StepLog};

/// The node, or a folder that stands for one.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    root: PathBuf,
    node: NodeName,
}

impl Machine {
    pub(super) fn new(root: PathBuf, node: NodeName) -> Self {
        Self { root, node }
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the node itself: a folder has no host name, no mounts and no power.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Whether systemd is its PID 1, as `sd_booted` looks.
    fn has_systemd(&self) -> bool {
        self.inside("/run/systemd/system").is_dir()
    }

    /// Where an absolute path of the node is.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The program of a name, if the node has it; the node's own environment is not asked.
    fn find(&self, name: &str) -> Option<PathBuf> {
        SEARCH_PATH.split(':').map(|folder| self.inside(folder).join(name)).find(|path| path.is_file())
    }
}

/// What a step is done with.
pub(super) struct Context<'a> {
    pub(super) machine: &'a Machine,
    pub(super) log: &'a mut StepLog,
    /// For scripts; only root may look into it.
    pub(super) scratch: &'a Path,
    /// What the step remembers from when it was last done, perhaps with another content.
    pub(super) memo: Memo,
    /// Whether this very step was begun before and not ended; then `memo` is what it noted.
    pub(super) interrupted: bool,
    /// Whether an earlier agent ended in the middle of this very step; what it started may have gone on without it.
    pub(super) left_over: bool,
    /// Writes down which process does the step.
    pub(super) running: &'a mut (dyn FnMut((u32, u64)) -> io::Result<()> + Send),
    /// Writes down what tells after a crash how far the step was.
    pub(super) note: &'a mut (dyn FnMut(Memo) -> io::Result<()> + Send),
}

/// How a step ended that did not fail.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) changed: bool,
    pub(super) memo: Memo,
    pub(super) warnings: Vec<String>,
    /// Our ends of the pipes of what the step has left running.
    pub(super) output: Option<Output>,
}

impl Applied {
    fn changed(changed: bool) -> Self {
        Self { changed, ..Self::default() }
    }
}

/// Does a step that is not a command.
pub(super) async fn apply(step: &Step, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let machine = context.machine;
    match &step.kind {
        StepKind::Command(_) => unreachable!("commands are run by a shell"),
        StepKind::File(file) if file.append => append::apply(file, context),
        StepKind::File(file) => files::apply(machine, file).map(Applied::changed),
        StepKind::Mount(mount) => mounts::apply(mount, context).await,
        StepKind::Hostname(hostname) => names::hostname(machine, hostname).map(Applied::changed),
        StepKind::EtcHosts(hosts) => names::etc_hosts(machine, hosts).map(Applied::changed),
        StepKind::Group(group) => users::group(group, context).await,
        StepKind::User(user) => users::user(user, context).await.map(Applied::changed),
        StepKind::Password(password) => passwords::apply(machine, password).await.map(Applied::changed),
        StepKind::AuthorizedKeys(keys) => users::lone_keys(machine, keys).map(Applied::changed),
        StepKind::Timezone(zone) => names::timezone(machine, zone).map(Applied::changed),
        StepKind::Packages(packages) => packages::install(packages, context).await,
        StepKind::UpdateIndex => packages::update(context).await,
        StepKind::Upgrade => packages::upgrade(context).await,
        StepKind::Reload(reload) => reload::run(reload, context).await,
        StepKind::FinalMessage(message) => final_message(message, context),
        StepKind::PowerState(power) => power::prepare(power, context).await,
    }
}

/// Whether what a step made is still there. Cheap: nothing is started, nothing is changed.
pub(super) fn holds(machine: &Machine, kind: &StepKind, memo: &Memo) -> bool {
    let holds = match kind {
        StepKind::File(file) if file.append => append::holds(machine, file, memo),
        StepKind::File(file) => files::holds(machine, file),
        StepKind::Mount(mount) => mounts::holds(machine, mount),
        StepKind::Hostname(hostname) => names::hostname_holds(machine, hostname),
        StepKind::EtcHosts(hosts) => names::etc_hosts_hold(machine, hosts),
        StepKind::Group(group) => users::group_holds(machine, group),
        StepKind::User(user) => users::user_holds(machine, user),
        StepKind::Password(password) => passwords::holds(machine, password),
        StepKind::AuthorizedKeys(keys) => users::lone_keys_hold(machine, keys),
        StepKind::Timezone(zone) => names::timezone_holds(machine, zone),
        StepKind::Packages(packages) => packages::missing(machine, packages).map(|missing| missing.is_empty()),
        // Done once, whatever comes of it.
        StepKind::Command(_)
        | StepKind::UpdateIndex
        | StepKind::Upgrade
        | StepKind::Reload(_)
        | StepKind::FinalMessage(_)
        | StepKind::PowerState(_) => Ok(true),
    };
    // What cannot be looked at is done again, and that says why it cannot.
    holds.unwrap_or(false)
}

/// Whether a reboot has taken away what a step made. A file that stays over a reboot may have been changed by a command
/// since, so it is not looked at.
pub(super) fn lost_by_reboot(machine: &Machine, kind: &StepKind, memo: &Memo) -> bool {
    let may_be_lost = match kind {
        StepKind::File(file) => files::is_made_at_boot(machine, &file.path),
        StepKind::Mount(_) | StepKind::Hostname(_) | StepKind::EtcHosts(_) => true,
        _ => false,
    };
    may_be_lost && !holds(machine, kind, memo)
}

fn final_message(message: &str, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let uptime = crate::boot::uptime_seconds().map_or_else(|_| "?".to_owned(), |seconds| format!("{seconds:.2}"));
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let variables = [
        ("timestamp", jiff::fmt::rfc2822::to_string(&now).unwrap_or_else(|_| now.timestamp().to_string())),
        ("uptime", uptime),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("datasource", "muster".to_owned()),
    ];
    context.log.line(expand_message(message.trim_end(), &variables).as_str()).map_err(StepError::Log)?;
    Ok(Applied::changed(true))
}
