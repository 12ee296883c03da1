//! Which machines need which layers: a file for each, written before the machine is made. It counts only while the
//! machine's folder exists, so that neither a crash nor a folder removed by hand keeps a layer for ever.

use std::io;
use std::path::{Path, PathBuf};

use muster_provider::ImageId;
use serde::{Deserialize, Serialize};

use crate::record::write_json;

/// A machine that stands on layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineRef {
    /// As in `layout::scope_name`: unique on this machine.
    pub(crate) scope: String,
    pub(crate) machine: String,
    /// As people know it: `demo:head-1`.
    pub(crate) shown: String,
    /// The machine exists while this folder does.
    pub(crate) folder: PathBuf,
}

impl MachineRef {
    fn file(&self, refs: &Path, id: &ImageId) -> PathBuf {
        refs.join(&id.0).join(format!("{}-{}.json", self.scope, self.machine))
    }

    pub(crate) fn write(&self, refs: &Path, id: &ImageId) -> io::Result<()> {
        fs_err::create_dir_all(refs.join(&id.0))?;
        write_json(&self.file(refs, id), self)
    }
}

/// The machines that need a layer. What cannot be read is no reference: it was being written when its writer ended.
pub(crate) fn of_layer(refs: &Path, id: &ImageId) -> io::Result<Vec<MachineRef>> {
    let entries = match fs_err::read_dir(refs.join(&id.0)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Ok(text) = fs_err::read(&path) else { continue };
        let Ok(reference) = serde_json::from_slice::<MachineRef>(&text) else { continue };
        if reference.folder.is_dir() {
            found.push(reference);
        }
    }
    found.sort_by(|a, b| (&a.scope, &a.machine).cmp(&(&b.scope, &b.machine)));
    Ok(found)
}

/// Removes the references of machines that are gone. Only while nobody makes machines.
pub(crate) fn sweep(refs: &Path, id: &ImageId) -> io::Result<()> {
    if of_layer(refs, id)?.is_empty() {
        return match fs_err::remove_dir_all(refs.join(&id.0)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
    }
    for entry in fs_err::read_dir(refs.join(&id.0))? {
        let path = entry?.path();
        let reference = fs_err::read(&path).ok().and_then(|text| serde_json::from_slice::<MachineRef>(&text).ok());
        if !reference.is_some_and(|reference| reference.folder.is_dir()) {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_counts_while_the_machine_s_folder_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let refs = folder.path().join("refs");
        let id = ImageId("abc".to_owned());
        let reference = |name: &str| MachineRef {
            scope: "demo-1".to_owned(),
            machine: name.to_owned(),
            shown: format!("demo:{name}"),
            folder: folder.path().join(name),
        };
        for name in ["a-1", "a-2"] {
            reference(name).write(&refs, &id).unwrap();
        }
        assert_eq!(of_layer(&refs, &id).unwrap(), []);
        fs_err::create_dir(folder.path().join("a-2")).unwrap();
        assert_eq!(of_layer(&refs, &id).unwrap(), [reference("a-2")]);
        sweep(&refs, &id).unwrap();
        assert_eq!(fs_err::read_dir(refs.join("abc")).unwrap().count(), 1);
        fs_err::remove_dir(folder.path().join("a-2")).unwrap();
        sweep(&refs, &id).unwrap();
        assert!(!refs.join("abc").exists());
    }
}
