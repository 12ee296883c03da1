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
