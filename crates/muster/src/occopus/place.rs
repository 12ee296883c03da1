//! Where the state of Occopus' commands lies, and the lock that makes its changes one after the other.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::paths::Paths;

/// The folder below the state; private.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(crate) fn open(paths: &Paths) -> Result<Self, Failure> {
        let place = Self::at(paths);
        muster_stdx::create_private_dir(&place.folder)?;
        Ok(place)
    }

    /// To look at what is there; makes nothing.
    pub(crate) fn at(paths: &Paths) -> Self {
        Self { folder: paths.state.join("occopus") }
    }

    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whoever changes something holds this meanwhile. Nobody holds it for longer than it takes to write a file.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        lock(&self.folder)
    }
}

/// Let go when it is dropped, or when the process ends.
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Locks a folder.
pub(crate) fn lock(folder: &Path) -> Result<Lock, Failure> {
    let file = fs_err::File::open(folder)?.into_parts().0;
    file.lock()?;
    Ok(Lock(file))
}
