//! Files that are written whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use muster_cloudinit::{FileStep, Followed, Owner};
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, statfs};

use super::spot::{Spot, dress};
use super::tables::Names;
use super::{Machine, StepError};

const MODE_DEFAULT: u32 = 0o644;
/// As the kernel has it.
const LINKS_MAX: usize = 40;
const COMPARE_BYTES: usize = 16 << 10;
/// Largest file that is read whole.
const READ_BYTES_MAX: u64 = 16 << 20;
/// A name has at most 255 bytes, and a character at most 4.
const SCRAP_NAME_CHARACTERS: usize = 48;
/// How many names of a folder are looked at for scraps.
const SCRAP_ENTRIES_MAX: usize = 10_000;

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
    let Some(spot) = Spot::find(&resolve(machine, &file.path)?)? else { return Ok(false) };
    let Some(found) = spot.found()? else { return Ok(false) };
    if file.followed == Followed::ByWrite {
        return Ok(true);
    }
    let owned = ids(machine, file.owner.as_ref())?.are(&found);
    let mode = found.permissions().mode() & 0o7777 == file.mode.unwrap_or(MODE_DEFAULT);
    let whole = file.followed == Followed::No;
    Ok(owned && mode && has_content(&spot, &file.content, whole)?)
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
        let link = Spot::find(&path)?.map(|spot| spot.link()).transpose()?.flatten();
        let Some(target) = link else { return Ok(path) };
        path = match target.to_str() {
            Some(target) if target.starts_with('/') => machine.inside(target),
            _ => path.parent().unwrap_or(machine.root()).join(target),
        };
    }
    Err(StepError::Read { source: io::Error::from_raw_os_error(libc::ELOOP), path })
}

/// The content of a file that is not large; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StepError> {
    let Some(file) = Spot::find(path)?.map(|spot| spot.read()).transpose()?.flatten() else { return Ok(None) };
    let mut content = Vec::new();
    file.take(READ_BYTES_MAX + 1).read_to_end(&mut content).map_err(StepError::read(path))?;
    if content.len() as u64 > READ_BYTES_MAX {
        return Err(StepError::Large { path: path.to_owned(), limit: READ_BYTES_MAX });
    }
    Ok(Some(content))
}

/// Compares piece by piece: a file is not read whole.
fn has_content(spot: &Spot, content: &[u8], whole: bool) -> Result<bool, StepError> {
    let Some(mut file) = spot.read()? else { return Ok(false) };
    let (found, length) = (file.metadata().map_err(StepError::read(spot.path()))?, content.len() as u64);
    // Files of the kernel have no length until they are read.
    if found.len() != 0 && (found.len() < length || whole && found.len() != length) {
        return Ok(false);
    }
    let mut buffer = vec![0; COMPARE_BYTES];
    let mut rest = content;
    loop {
        let count = file.read(&mut buffer).map_err(StepError::read(spot.path()))?;
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
    let spot = Spot::make(path, ids)?;
    let found = spot.found()?;
    let keeps = found.as_ref().is_some_and(|found| !spot.is_borrowed(found));
    if keeps && has_content(&spot, content, true)? {
        return match spot.change(OFlag::O_RDONLY)? {
            Some(file) => dress(&file, path, mode, ids),
            None => Err(StepError::write(path)(io::ErrorKind::NotFound.into())),
        };
    }
    match replace(&spot, content, mode, ids) {
        // The target of a mount cannot be renamed over, and folders of the kernel take no new files.
        Err(error) if found.is_some() && may_be_written_in_place(&error) => {
            let Some(mut file) = spot.change(OFlag::O_WRONLY)? else { return Err(StepError::write(path)(error)) };
            write_in_place(&mut file, content).map_err(StepError::write(path))?;
            // Written in place, the file has kept its dress.
            dress(&file, path, mode, ids)?;
        }
        result => result.map_err(StepError::write(path))?,
    }
    Ok(true)
}

fn replace(spot: &Spot, content: &[u8], mode: u32, ids: Ids) -> io::Result<()> {
    remove_scraps(spot);
    let temporary = OsString::from(format!("{}{:016x}", scrap_prefix(&spot.name), RandomState::new().hash_one(0)));
    let mut file = spot.folder.create(&temporary)?;
    let result = file
        .write_all(content)
        .and_then(|()| std::os::unix::fs::fchown(&file, ids.user, ids.group))
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode)))
        .and_then(|()| spot.folder.rename(&temporary, &spot.name));
    if result.is_err() {
        // The first error is the one to tell.
        spot.folder.remove(&temporary).ok();
    }
    result
}

/// Names of files on their way begin so; the rest is random, so that nobody can be there first.
fn scrap_prefix(name: &OsStr) -> String {
    let name: String = name.to_string_lossy().chars().take(SCRAP_NAME_CHARACTERS).collect();
    format!(".{name}.muster-new-")
}

/// Removes what a crash has left of earlier tries.
fn remove_scraps(spot: &Spot) {
    let prefix = scrap_prefix(&spot.name);
    let Ok(entries) = fs_err::read_dir(spot.folder.inside(OsStr::new(""))) else { return };
    for entry in entries.take(SCRAP_ENTRIES_MAX).flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(prefix.as_bytes())
            && let Err(error) = spot.folder.remove(&name)
        {
            tracing::debug!(%error, ?name, "a scrap stays");
        }
    }
}

/// Not so when the disk is full: the old content would be gone.
fn may_be_written_in_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | InvalidInput | NotFound | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

fn write_in_place(file: &mut File, content: &[u8]) -> io::Result<()> {
    // Files of the kernel have no length and cannot be cut.
    if file.metadata()?.len() != 0 {
        file.set_len(0)?;
    }
    file.write_all(content)
}

/// Makes the folders above a path that are missing; they belong to whom the file belongs.
pub(crate) fn make_folders(path: &Path, ids: Ids) -> Result<(), StepError> {
    Spot::make(path, ids).map(drop)
}
