//! Files that are whole or not there, and closed to others.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;

/// Writes beside the file, reaches the disk, and renames. A crash leaves the old content or the new one.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut file = fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    drop(file);
    let renamed = written.and_then(|()| fs_err::rename(&temporary, path));
    if renamed.is_err() {
        // The first error is the one to tell; the file may not even be there.
        drop(fs_err::remove_file(&temporary));
        return renamed;
    }
    fs_err::File::open(folder)?.sync_all()
}

/// Makes a folder and its parents with mode 0700; one that is there stays as it is.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Opens a file for appending, 0600.
pub fn append_private(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
