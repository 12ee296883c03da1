//! Files that are written whole.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_cloudinit::{FileStep, Followed, Owner};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, statfs};

use super::tables::Names;
use super::{Machine, StepError};

const MODE_DEFAULT: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// As the kernel has it.
const LINKS_MAX: usize = 40;
const COMPARE_BYTES: usize = 16 << 10;

/// The numbers that a file is to belong to; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
}

impl Ids {
    /// Whoever runs the agent: root.
    pub(crate) fn own() -> Self {
        Self { user: Some(nix::unistd::geteuid().as_raw()), group: Some(nix::unistd::getegid().as_raw()) }
    }

    pub(crate) fn are(self, found: &std::fs::Metadata) -> bool {
        self.user.is_none_or(|user| user == found.uid()) && self.group.is_none_or(|group| group == found.gid())
    }
}

pub(crate) fn ids(machine: &Machine, owner: Option<&Owner>) -> Result<Ids, StepError> {
    let Some(owner) = owner else { return Ok(Ids::own()) };
    let names = Names::load(machine)?;
    let user = owner
        .user
        .as_deref()
        .map(|user| names.user_number(user).ok_or_else(|| StepError::NoUser { user: user.to_owned() }));
    let group = owner
        .group
        .as_deref()
        .map(|group| names.group_number(group).ok_or_else(|| StepError::NoGroup { group: group.to_owned() }));
    Ok(Ids { user: user.transpose()?, group: group.transpose()? })
}

/// Makes the file as the step says; true when it was not.
pub(super) fn apply(machine: &Machine, file: &FileStep) -> Result<bool, StepError> {
    let path = resolve(machine, &file.path)?;
    let ids = ids(machine, file.owner.as_ref())?;
    write(&path, &file.content, file.mode.unwrap_or(MODE_DEFAULT), ids)
}

pub(super) fn holds(machine: &Machine, file: &FileStep) -> Result<bool, StepError> {
    let path = resolve(machine, &file.path)?;
    if file.followed == Followed::ByWrite {
        return Ok(path.exists());
    }
    let Some(found) = metadata(&path)? else { return Ok(false) };
    let owned = ids(machine, file.owner.as_ref())?.are(&found);
    let mode = found.permissions().mode() & 0o7777 == file.mode.unwrap_or(MODE_DEFAULT);
    let whole = file.followed == Followed::No;
    Ok(owned && mode && has_content(&path, &found, &file.content, whole)?)
}

/// Whether a file is one of the kernel, is mounted, or lies in memory: such a file is made anew at each boot.
pub(super) fn is_made_at_boot(machine: &Machine, path: &str) -> bool {
    let path = machine.inside(path);
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let kind = folder.and_then(|folder| statfs(folder).ok()).map(|found| found.filesystem_type());
    let passing = [TMPFS_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC];
    kind.is_some_and(|kind| passing.contains(&kind)) || super::mounts::is_mount_point(&path)
}

/// Follows links at the end of a path, as opening it would; a link of the node leads inside of it.
pub(crate) fn resolve(machine: &Machine, path: &str) -> Result<PathBuf, StepError> {
    let mut path = machine.inside(path);
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { return Ok(path) };
        path = match target.to_str() {
            Some(target) if target.starts_with('/') => machine.inside(target),
            _ => path.parent().unwrap_or(machine.root()).join(target),
        };
    }
    Err(StepError::Read { source: io::Error::from_raw_os_error(libc::ELOOP), path })
}

fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>, StepError> {
    match fs_err::metadata(path) {
        Ok(found) if found.is_dir() => Err(StepError::Folder { path: path.to_owned() }),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StepError::read(path)(error)),
    }
}

/// Compares piece by piece: a file is not read whole.
fn has_content(path: &Path, found: &std::fs::Metadata, content: &[u8], whole: bool) -> Result<bool, StepError> {
    let length = content.len() as u64;
    // Files of the kernel have no length until they are read.
    if found.len() != 0 && (found.len() < length || whole && found.len() != length) {
        return Ok(false);
    }
    let mut file = fs_err::File::open(path).map_err(StepError::read(path))?;
    let mut buffer = vec![0; COMPARE_BYTES];
    let mut rest = content;
    loop {
        let count = file.read(&mut buffer).map_err(StepError::read(path))?;
        let piece = &buffer[..count.min(rest.len())];
        if count == 0 || !rest.starts_with(piece) || whole && count > rest.len() {
            return Ok(count == 0 && rest.is_empty());
        }
        rest = &rest[piece.len()..];
        if rest.is_empty() && !whole {
            return Ok(true);
        }
    }
}

/// Writes a file whole or not at all, with its mode and owner from its first moment; makes missing folders. True when
/// something was not as it should be.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32, ids: Ids) -> Result<bool, StepError> {
    let found = metadata(path)?;
    let same = match &found {
        Some(found) => has_content(path, found, content, true)?,
        None => false,
    };
    if same {
        return dress(path, mode, ids);
    }
    make_folders(path, ids)?;
    let written = replace(path, content, mode, ids);
    match written {
        // The target of a mount cannot be renamed over, and folders of the kernel take no new files.
        Err(error) if found.is_some() && may_be_written_in_place(&error) => {
            write_in_place(path, content).map_err(StepError::write(path))?;
        }
        result => result.map_err(StepError::write(path))?,
    }
    if found.is_some() {
        // Written in place, the file has kept its dress.
        dress(path, mode, ids).map(|_| true)
    } else {
        Ok(true)
    }
}

fn replace(path: &Path, content: &[u8], mode: u32, ids: Ids) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.muster-new"));
    let made = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut file = made?;
    let result = file
        .write_all(content)
        .and_then(|()| std::os::unix::fs::fchown(file.file(), ids.user, ids.group))
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
        .and_then(|()| fs_err::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to tell.
        fs_err::remove_file(&temporary).ok();
    }
    result
}

/// Not so when the disk is full: the old content would be gone.
fn may_be_written_in_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | InvalidInput | NotFound | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

fn write_in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    fs_err::OpenOptions::new().write(true).truncate(true).open(path)?.write_all(content)
}

/// Sets mode and owner where they differ; true when they did. A change of owner takes special bits off, so the mode
/// comes last.
pub(crate) fn dress(path: &Path, mode: u32, ids: Ids) -> Result<bool, StepError> {
    let found = fs_err::metadata(path).map_err(StepError::read(path))?;
    let owned = ids.are(&found);
    if !owned {
        fs_err::os::unix::fs::chown(path, ids.user, ids.group).map_err(StepError::write(path))?;
    }
    let moded = found.permissions().mode() & 0o7777 == mode;
    if !(moded && owned) {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(path, permissions).map_err(StepError::write(path))?;
    }
    Ok(!(moded && owned))
}

/// Makes the folders above a path that are missing; they belong to whom the file belongs.
pub(crate) fn make_folders(path: &Path, ids: Ids) -> Result<(), StepError> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        fs_err::create_dir(folder).map_err(StepError::write(folder))?;
        dress(folder, FOLDER_MODE, ids)?;
    }
    Ok(())
}
