//! Places in the file system that are held by descriptors, so that nobody moves them while they are worked on.
//!
//! Much of what steps write lies where users of the node write too, such as below their homes. The agent is root, so a
//! link that a user has put there must not lead it elsewhere: a link is followed only where root alone could have made
//! it. For the same reason only regular files are read and written: a pipe would hold the agent up.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::StepError;
use super::files::Ids;

const FOLDER_MODE: u32 = 0o755;
/// As the kernel has it.
const LINKS_MAX: usize = 40;
/// A look at something that neither waits nor has an effect on it.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// A swap of the file for a pipe or a terminal in the last moment must not matter.
const CAREFULLY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// A folder.
#[derive(Debug)]
pub(super) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Only root can change what is in it, and where it is.
    guarded: bool,
    /// Everybody may put things into it, and nobody may move those of others: as /tmp.
    sticky: bool,
}

/// What a name in a folder leads to.
enum Next {
    Folder(Folder),
    Link(PathBuf),
    Missing,
}

impl Folder {
    /// The folder of a path; `None` when there is none.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, StepError> {
        Self::walk(path, |_, _| Ok(None))
    }

    /// The folder of a path; those that are missing are made, and belong to whom these are.
    pub(super) fn make(path: &Path, ids: Ids) -> Result<Self, StepError> {
        let found = Self::walk(path, |folder, name| folder.add(name, FOLDER_MODE, ids).map(Some))?;
        Ok(found.expect("what is missing is made"))
    }

    fn walk(
        path: &Path,
        mut missing: impl FnMut(&Self, &OsStr) -> Result<Option<Self>, StepError>,
    ) -> Result<Option<Self>, StepError> {
        let mut left = names(path);
        let mut above = vec![Self::root()?];
        let mut links = 0;
        while let Some(name) = left.pop() {
            let here = above.last().expect("the root stays");
            if name == ".." {
                above.truncate((above.len() - 1).max(1));
                continue;
            }
            match here.enter(&name)? {
                Next::Folder(folder) => above.push(folder),
                Next::Missing => match missing(here, &name)? {
                    Some(made) => above.push(made),
                    None => return Ok(None),
                },
                Next::Link(_) if links == LINKS_MAX => {
                    return Err(StepError::read(path)(io::Error::from_raw_os_error(libc::ELOOP)));
                }
                Next::Link(target) => {
                    links += 1;
                    if target.is_absolute() {
                        above.truncate(1);
                    }
                    left.extend(names(&target));
                }
            }
        }
        Ok(above.pop())
    }

    fn root() -> Result<Self, StepError> {
        let path = Path::new("/");
        let opened = nix::fcntl::open(path, LOOK | OFlag::O_DIRECTORY, Mode::empty());
        let descriptor = opened.map_err(io::Error::from).map_err(StepError::read(path))?;
        Ok(Self { descriptor, path: path.to_owned(), guarded: true, sticky: false })
    }

    fn enter(&self, name: &OsStr) -> Result<Next, StepError> {
        let path = self.path.join(name);
        let Some((descriptor, found)) = self.look(name)? else { return Ok(Next::Missing) };
        if found.is_symlink() {
            return self.target(name, &found).map(Next::Link);
        }
        if !found.is_dir() {
            return Err(StepError::read(&path)(io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
        Ok(Next::Folder(self.below(descriptor, path, &found)))
    }

    fn below(&self, descriptor: OwnedFd, path: PathBuf, found: &Metadata) -> Self {
        let mode = found.permissions().mode();
        let open = mode & 0o002 != 0 || mode & 0o020 != 0 && found.gid() != 0;
        let sticky = open && mode & libc::S_ISVTX != 0;
        let guarded = self.guarded && is_roots(found) && (!open || sticky);
        Self { descriptor, path, guarded, sticky }
    }

    /// Where a link leads, if only root can have made it.
    fn target(&self, name: &OsStr, found: &Metadata) -> Result<PathBuf, StepError> {
        let path = self.path.join(name);
        if !self.guarded || self.sticky && !is_roots(found) {
            return Err(StepError::Link { path });
        }
        let target = readlinkat(&self.descriptor, name).map_err(io::Error::from).map_err(StepError::read(&path))?;
        Ok(target.into())
    }

    fn look(&self, name: &OsStr) -> Result<Option<(OwnedFd, Metadata)>, StepError> {
        let path = || self.path.join(name);
        let file = match openat(&self.descriptor, name, LOOK, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(StepError::read(&path())(error.into())),
        };
        let found = file.metadata().map_err(StepError::read(&path()))?;
        Ok(Some((file.into(), found)))
    }

    /// Makes a folder in this one, with its mode and owner.
    pub(super) fn add(&self, name: &OsStr, mode: u32, ids: Ids) -> Result<Self, StepError> {
        let path = self.path.join(name);
        let made = mkdirat(&self.descriptor, name, Mode::S_IRWXU);
        made.map_err(io::Error::from).map_err(StepError::write(&path))?;
        let gone = || StepError::write(&path)(io::ErrorKind::NotFound.into());
        let (descriptor, found) = self.look(name)?.ok_or_else(gone)?;
        // Somebody who may write here can have put another thing in its place.
        if !found.is_dir() || !is_roots(&found) {
            return Err(StepError::Link { path });
        }
        let folder = self.below(descriptor, path, &found);
        folder.dress(mode, ids)?;
        Ok(folder)
    }

    pub(super) fn dress(&self, mode: u32, ids: Ids) -> Result<bool, StepError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = openat(&self.descriptor, ".", flags, Mode::empty());
        let file = opened.map_err(io::Error::from).map_err(StepError::read(&self.path))?;
        dress(&File::from(file), &self.path, mode, ids)
    }

    /// A path to what is in this very folder, wherever its name leads by now.
    pub(super) fn inside(&self, name: &OsStr) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.descriptor.as_raw_fd().to_string()).join(name)
    }

    /// A new file in this folder, open for writing, that nobody else can open.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | CAREFULLY;
        Ok(openat(&self.descriptor, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// A new link in this folder.
    pub(super) fn link(&self, target: &Path, name: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, &self.descriptor, name)?)
    }

    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir)?)
    }
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

fn is_roots(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == nix::unistd::geteuid().as_raw()
}

/// A name in a folder: of a file, or of none yet.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) folder: Folder,
    pub(super) name: OsString,
    path: PathBuf,
}

impl Spot {
    /// `None` when there is not even a folder.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, StepError> {
        let (above, name) = split(path)?;
        let folder = Folder::find(above)?;
        Ok(folder.map(|folder| Self { folder, name: name.to_owned(), path: path.to_owned() }))
    }

    /// Makes folders that are missing; they belong to whom the file is to belong.
    pub(super) fn make(path: &Path, ids: Ids) -> Result<Self, StepError> {
        let (above, name) = split(path)?;
        Ok(Self { folder: Folder::make(above, ids)?, name: name.to_owned(), path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a link that is here leads; `None` when none is.
    pub(super) fn link(&self) -> Result<Option<PathBuf>, StepError> {
        match self.folder.look(&self.name)? {
            Some((_, found)) if found.is_symlink() => self.folder.target(&self.name, &found).map(Some),
            _ => Ok(None),
        }
    }

    /// The regular file that is here, if any.
    pub(super) fn found(&self) -> Result<Option<Metadata>, StepError> {
        self.folder.look(&self.name)?.map(|(_, found)| self.checked(found)).transpose()
    }

    fn checked(&self, found: Metadata) -> Result<Metadata, StepError> {
        let path = || self.path.clone();
        let kind = found.file_type();
        match () {
            () if kind.is_file() => Ok(found),
            () if kind.is_dir() => Err(StepError::Folder { path: path() }),
            () if kind.is_symlink() => Err(StepError::Link { path: path() }),
            () => Err(StepError::Special { path: path() }),
        }
    }

    /// Whether a user may have put another name of a file here that is not his.
    pub(super) fn is_borrowed(&self, found: &Metadata) -> bool {
        found.nlink() > 1 && (!self.folder.guarded || self.folder.sticky)
    }

    pub(super) fn read(&self) -> Result<Option<File>, StepError> {
        let opened = self.found()?.map(|_| self.open(OFlag::O_RDONLY)).transpose();
        opened.map_err(StepError::read(&self.path))?.flatten().map(|file| self.regular(file)).transpose()
    }

    /// The file that is here, to be changed where it is.
    pub(super) fn change(&self, flags: OFlag) -> Result<Option<File>, StepError> {
        let opened = self.found()?.map(|_| self.open(flags)).transpose();
        let Some(file) = opened.map_err(StepError::write(&self.path))?.flatten() else { return Ok(None) };
        let file = self.regular(file)?;
        let found = file.metadata().map_err(StepError::read(&self.path))?;
        if self.is_borrowed(&found) {
            return Err(StepError::Shared { path: self.path.clone() });
        }
        Ok(Some(file))
    }

    fn open(&self, flags: OFlag) -> io::Result<Option<File>> {
        match openat(&self.folder.descriptor, self.name.as_os_str(), flags | CAREFULLY, Mode::empty()) {
            Ok(descriptor) => Ok(Some(descriptor.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn regular(&self, file: File) -> Result<File, StepError> {
        let found = file.metadata().map_err(StepError::read(&self.path))?;
        self.checked(found).map(|_| file)
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr), StepError> {
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) => Ok((above, name)),
        _ => Err(StepError::Folder { path: path.to_owned() }),
    }
}

/// Sets mode and owner where they differ; true when they did. A change of owner takes special bits off, so the mode
/// comes last.
pub(super) fn dress(file: &File, path: &Path, mode: u32, ids: Ids) -> Result<bool, StepError> {
    let found = file.metadata().map_err(StepError::read(path))?;
    let owned = ids.are(&found);
    if !owned {
        std::os::unix::fs::fchown(file, ids.user, ids.group).map_err(StepError::write(path))?;
    }
    let moded = found.permissions().mode() & 0o7777 == mode;
    if !(moded && owned) {
        file.set_permissions(Permissions::from_mode(mode)).map_err(StepError::write(path))?;
    }
    Ok(!(moded && owned))
}
