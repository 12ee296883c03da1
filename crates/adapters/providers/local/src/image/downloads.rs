//! Packages that were fetched: kept for all bakes, handed to each as hard links, taken back with what is new.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The oldest go when there is more.
const KEPT_BYTES_MAX: u64 = 4 << 30;

/// The folder of one bake's packages. Whoever uses it holds the lock of what it bakes.
#[derive(Debug, Clone)]
pub(crate) struct Downloads {
    shared: PathBuf,
    pub(crate) own: PathBuf,
}

impl Downloads {
    /// `name` is of this bake alone, also among users of the same cache.
    pub(crate) fn new(cache: &Path, name: &str) -> Self {
        Self { shared: cache.join("packages"), own: cache.join("bakes").join(name) }
    }

    /// Takes over what an interrupted bake has fetched, and lays out all that is there.
    pub(crate) fn lay_out(&self) -> io::Result<()> {
        fs_err::create_dir_all(&self.shared)?;
        fs_err::create_dir_all(self.own.join("partial"))?;
        self.take_back()?;
        for package in packages(&self.shared)? {
            let Some(name) = package.file_name() else { continue };
            match fs_err::hard_link(&package, self.own.join(name)) {
                // Somebody has just emptied the cache.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Keeps what is new. What is fetched by half stays with this bake, whose next try goes on with it.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        for package in packages(&self.own)? {
            let Some(name) = package.file_name() else { continue };
            let shared = self.shared.join(name);
            if shared.exists() { fs_err::remove_file(package)? } else { fs_err::rename(package, shared)? }
        }
        Ok(())
    }

    /// After a bake that is done.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.take_back()?;
        fs_err::remove_dir_all(&self.own)?;
        trim(&self.shared, KEPT_BYTES_MAX)
    }
}

fn packages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    Ok(found)
}

fn trim(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for path in packages(folder)? {
        let metadata = path.metadata()?;
        files.push((metadata.modified()?, metadata.len(), path));
    }
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if bytes <= bytes_max {
            return Ok(());
        }
        fs_err::remove_file(path)?;
        bytes -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_bake_fetched_the_next_one_has() {
        let folder = tempfile::tempdir().unwrap();
        let first = Downloads::new(folder.path(), "a");
        first.lay_out().unwrap();
        fs_err::write(first.own.join("x_1_all.deb"), "x").unwrap();
        fs_err::write(first.own.join("partial/y_1_all.deb"), "half").unwrap();
        // It was killed here; another one does not see it yet, its own next try does.
        let second = Downloads::new(folder.path(), "b");
        second.lay_out().unwrap();
        assert!(!second.own.join("x_1_all.deb").exists());
        first.lay_out().unwrap();
        assert!(first.own.join("x_1_all.deb").exists() && first.own.join("partial/y_1_all.deb").exists());
        first.finish().unwrap();
        second.lay_out().unwrap();
        assert_eq!(fs_err::read_to_string(second.own.join("x_1_all.deb")).unwrap(), "x");
        second.finish().unwrap();
        assert!(!second.own.exists() && !first.own.exists());
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("a.deb");
        let file = fs_err::File::create(&old).unwrap();
        file.file().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs_err::write(&old, "1234").unwrap();
        fs_err::File::options().write(true).open(&old).unwrap().file().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs_err::write(folder.path().join("b.deb"), "1234").unwrap();
        trim(folder.path(), 7).unwrap();
        assert!(!old.exists() && folder.path().join("b.deb").exists());
    }
}
