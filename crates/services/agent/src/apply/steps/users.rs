//! Groups, users, their homes, sudo rules and keys.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use muster_cloudinit::{AuthorizedKeys, Group, User};

use super::accounts::{Accounts, lock};
use super::blocks::with_block;
use super::files::{Ids, read, write};
use super::spot::{Folder, Spot, dress};
use super::{Applied, Context, Machine, StepError};
use crate::apply::tool;

const HOME_MODE: u32 = 0o700;
const SUDO_MODE: u32 = 0o440;
/// Deepest folder of /etc/skel that is copied.
const SKELETON_DEPTH_MAX: usize = 8;

pub(super) async fn group(group: &Group, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let machine = context.machine;
    let mut changed = ensure_group(&group.name, false, context).await?;
    let _lock = lock(machine).await?;
    let mut accounts = Accounts::load(machine)?;
    let mut warnings = Vec::new();
    for member in &group.members {
        if accounts.has_user(member) {
            accounts.add_member(&group.name, member);
        } else {
            warnings.push(format!("{member} is not in the group {}: there is no such user", group.name));
        }
    }
    changed |= accounts.changed();
    accounts.save()?;
    Ok(Applied { changed, warnings, ..Applied::default() })
}

pub(super) fn group_holds(machine: &Machine, group: &Group) -> Result<bool, StepError> {
    Ok(!Accounts::load(machine)?.lacks(group))
}

/// Makes a group that is missing, by the node's own tool where it has one.
async fn ensure_group(name: &str, system: bool, context: &mut Context<'_>) -> Result<bool, StepError> {
    let machine = context.machine;
    if Accounts::load(machine)?.has_group(name) {
        return Ok(false);
    }
    if let Some(program) = machine.find("groupadd") {
        let mut command = account_tool(machine, &program);
        if system {
            command.arg("--system");
        }
        command.arg("--").arg(name);
        succeed(context, command).await?;
    } else {
        let _lock = lock(machine).await?;
        let mut accounts = Accounts::load(machine)?;
        accounts.add_group(name, system)?;
        accounts.save()?;
    }
    Ok(true)
}

fn account_tool(machine: &Machine, program: &Path) -> Command {
    let mut command = tool::command(program, &[]);
    if !machine.is_live() {
        command.arg("--prefix").arg(machine.root());
    }
    command
}

async fn succeed(context: &mut Context<'_>, command: Command) -> Result<(), StepError> {
    let program = command.get_program().to_string_lossy().into_owned();
    match tool::run(context, command).await? {
        0 => Ok(()),
        code => Err(StepError::Exit { program, code }),
    }
}

pub(super) async fn user(user: &User, context: &mut Context<'_>) -> Result<bool, StepError> {
    let machine = context.machine;
    let mut changed = false;
    for group in user.groups.iter().chain(&user.primary_group).filter(|_| user.create_groups) {
        changed |= ensure_group(group, false, context).await?;
    }
    if !Accounts::load(machine)?.has_user(&user.name) {
        add(user, context).await?;
        changed = true;
    }
    {
        let _lock = lock(machine).await?;
        let mut accounts = Accounts::load(machine)?;
        accounts.converge(user)?;
        changed |= accounts.changed();
        accounts.save()?;
    }
    let place = Place::of(machine, &user.name)?;
    if user.create_home {
        changed |= place.ensure_home(machine)?;
    }
    changed |= sudo(user, context).await?;
    changed |= place.authorize(&user.ssh_authorized_keys)?;
    Ok(changed)
}

pub(super) fn user_holds(machine: &Machine, user: &User) -> Result<bool, StepError> {
    let mut accounts = Accounts::load(machine)?;
    if !accounts.has_user(&user.name) {
        return Ok(false);
    }
    accounts.converge(user)?;
    let place = Place::of(machine, &user.name)?;
    let home = !user.create_home || place.home.is_dir();
    Ok(!accounts.changed() && home && sudo_holds(machine, user)? && place.authorizes(&user.ssh_authorized_keys)?)
}

/// By `useradd` where the node has it. Passwords are never among its arguments, and memberships are added after it.
async fn add(user: &User, context: &mut Context<'_>) -> Result<(), StepError> {
    let machine = context.machine;
    let Some(program) = machine.find("useradd") else {
        let _lock = lock(machine).await?;
        let mut accounts = Accounts::load(machine)?;
        accounts.add_user(user)?;
        return accounts.save();
    };
    let mut command = account_tool(machine, &program);
    // The home is made afterwards, in one way for users of all origins.
    command.arg("--no-create-home");
    let own_group = Accounts::load(machine)?.has_group(&user.name).then(|| user.name.clone());
    match user.primary_group.as_ref().or(own_group.as_ref()) {
        Some(group) => command.arg("--gid").arg(group),
        None if user.user_group => command.arg("--user-group"),
        None => command.arg("--no-user-group"),
    };
    if user.system {
        command.arg("--system");
    }
    let uid = user.uid.map(|uid| uid.to_string());
    let options = [("--uid", &uid), ("--comment", &user.gecos), ("--home-dir", &user.home), ("--shell", &user.shell)];
    for (option, value) in options {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    command.arg("--").arg(&user.name);
    succeed(context, command).await
}

fn sudo_file(machine: &Machine, user: &str) -> PathBuf {
    // sudo passes over files with a dot in their name.
    machine.inside("/etc/sudoers.d").join(format!("90-muster-{}", user.replace('.', "_2e")))
}

fn sudo_rules(user: &User) -> String {
    user.sudo.iter().fold(String::new(), |text, rule| text + &format!("{} {rule}\n", user.name))
}

/// A file of its own for each user, looked at by visudo before sudo sees it: one bad rule would break all of sudo.
async fn sudo(user: &User, context: &mut Context<'_>) -> Result<bool, StepError> {
    let machine = context.machine;
    if sudo_holds(machine, user)? {
        return Ok(false);
    }
    let path = sudo_file(machine, &user.name);
    if user.sudo.is_empty() {
        fs_err::remove_file(&path).map_err(StepError::write(&path))?;
        return Ok(true);
    }
    if let Some(visudo) = machine.find("visudo") {
        // A dot keeps sudo away from it.
        let trial = path.with_file_name(".muster-trial");
        write(&trial, sudo_rules(user).as_bytes(), SUDO_MODE, Ids::own())?;
        let mut command = tool::command(&visudo, &["--check", "--quiet", "--file"]);
        command.arg(&trial);
        let code = tool::run(context, command).await?;
        fs_err::remove_file(&trial).map_err(StepError::write(&trial))?;
        if code != 0 {
            return Err(StepError::SudoRules { user: user.name.clone() });
        }
    }
    write(&path, sudo_rules(user).as_bytes(), SUDO_MODE, Ids::own())
}

fn sudo_holds(machine: &Machine, user: &User) -> Result<bool, StepError> {
    let path = sudo_file(machine, &user.name);
    Ok(match read(&path)? {
        Some(found) => !user.sudo.is_empty() && found == sudo_rules(user).as_bytes(),
        None => user.sudo.is_empty(),
    })
}

pub(super) fn lone_keys(machine: &Machine, keys: &AuthorizedKeys) -> Result<bool, StepError> {
    Place::of(machine, &keys.user)?.authorize(&keys.keys)
}

pub(super) fn lone_keys_hold(machine: &Machine, keys: &AuthorizedKeys) -> Result<bool, StepError> {
    Place::of(machine, &keys.user)?.authorizes(&keys.keys)
}

/// Where a user lives.
#[derive(Debug)]
struct Place {
    home: PathBuf,
    ids: Ids,
}

impl Place {
    fn of(machine: &Machine, user: &str) -> Result<Self, StepError> {
        let (uid, gid, home) =
            Accounts::load(machine)?.user(user).ok_or_else(|| StepError::NoUser { user: user.to_owned() })?;
        Ok(Self { home: machine.inside(&home), ids: Ids { user: Some(uid), group: Some(gid) } })
    }

    fn ensure_home(&self, machine: &Machine) -> Result<bool, StepError> {
        if self.home.is_dir() {
            return Ok(false);
        }
        let home = Spot::make(&self.home, Ids::own())?;
        // Whole or not there: a home that a crash left half filled would be taken for one that its user has changed.
        let making = OsStr::new(".muster-home");
        match fs_err::remove_dir_all(home.folder.inside(making)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StepError::write(&self.home)(error)),
            _ => {}
        }
        let folder = home.folder.add(making, HOME_MODE, Ids::own())?;
        copy(&machine.inside("/etc/skel"), &folder, self.ids, SKELETON_DEPTH_MAX)?;
        folder.dress(HOME_MODE, self.ids)?;
        home.folder.rename(making, &home.name).map_err(StepError::write(&self.home))?;
        Ok(true)
    }

    fn keys_file(&self) -> PathBuf {
        self.home.join(".ssh/authorized_keys")
    }

    fn keys_text(&self) -> Result<String, StepError> {
        let text = read(&self.keys_file())?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn authorizes(&self, keys: &[String]) -> Result<bool, StepError> {
        let text = match self.keys_text() {
            Ok(text) => text,
            // Users may keep their keys in their own way as long as none of them is to come from here.
            Err(error) if keys.is_empty() => {
                tracing::warn!(error = error.tell(), "keys of an earlier document, if any, stay");
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if with_block(&text, keys) != text {
            return Ok(false);
        }
        let closed = |found: &std::fs::Metadata| found.permissions().mode() & 0o7777 == 0o600;
        let found = Spot::find(&self.keys_file())?.map(|spot| spot.found()).transpose()?.flatten();
        Ok(keys.is_empty() || found.is_some_and(|found| self.ids.are(&found) && closed(&found)))
    }

    /// The keys of a block of ours; those that others have put into the file stay.
    fn authorize(&self, keys: &[String]) -> Result<bool, StepError> {
        if self.authorizes(keys)? {
            return Ok(false);
        }
        let text = with_block(&self.keys_text()?, keys);
        let path = self.keys_file();
        Folder::make(&self.home.join(".ssh"), self.ids)?.dress(0o700, self.ids)?;
        write(&path, text.as_bytes(), 0o600, self.ids)
    }
}

fn copy(from: &Path, to: &Folder, ids: Ids, depth: usize) -> Result<(), StepError> {
    let entries = match fs_err::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StepError::read(from)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StepError::read(from))?;
        let (source, name) = (entry.path(), entry.file_name());
        let found = entry.metadata().map_err(StepError::read(&source))?;
        let mode = found.permissions().mode() & 0o7777;
        if found.is_dir() && depth > 0 {
            let folder = to.add(&name, HOME_MODE, Ids::own())?;
            copy(&source, &folder, ids, depth - 1)?;
            folder.dress(mode, ids)?;
        } else if found.is_file() {
            let mut file = to.create(&name).map_err(StepError::write(&source))?;
            let mut content = fs_err::File::open(&source).map_err(StepError::read(&source))?;
            io::copy(&mut content, &mut file).map_err(StepError::write(&source))?;
            dress(&file, &source, mode, ids)?;
        } else if found.is_symlink() {
            let link = fs_err::read_link(&source).map_err(StepError::read(&source))?;
            to.link(&link, &name).map_err(StepError::write(&source))?;
        }
    }
    Ok(())
}
