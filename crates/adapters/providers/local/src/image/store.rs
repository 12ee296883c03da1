//! The folder of images: what is in it, and what is found by name and packages.
//!
//! ```text
//! layers/ID/root      what is stacked; appears and vanishes by rename of layers/ID
//! layers/ID/layer.json
//! current/KEY         the ID that a name, or a base and packages, stand for now; a refresh changes it
//! refs/ID/…           machines that need it
//! lock                shared by those who make images and machines; sole for those who remove
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use muster_provider::{BakeryContext, ImageId};
use muster_types::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::image::lock::{Held, Mode, lock};
use crate::image::refs::MachineRef;
use crate::image::{DEBIAN_12, HOST, IMAGES};

/// Of the files here.
const VERSION: u32 = 1;
/// Of the way in which images are made: another number, other images.
const PROCEDURE: u32 = 1;
/// Who removes holds the lock for as long as a few renames take.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node's root is stacked from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Top first.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) ids: Vec<ImageId>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no image `{0}`")]
    Unknown(String),
    #[error("cannot read the folder of images")]
    Read(#[source] io::Error),
    #[error("cannot write to the folder of images")]
    Write(#[source] io::Error),
    #[error("the folder of images is in use: {0}")]
    Busy(&'static str),
}

impl StoreError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Unknown(_) => format!("images of the local provider: {}", IMAGES.join(", ")),
            Self::Read(_) | Self::Write(_) => "check that the folder can be written and is not full".to_owned(),
            Self::Busy(_) => "try again when that has ended".to_owned(),
        }
    }
}

/// What is kept of a layer beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    pub(crate) id: ImageId,
    pub(crate) image: String,
    /// What it lies on; `None` for a base itself.
    pub(crate) base: Option<ImageId>,
    pub(crate) packages: BTreeSet<String>,
    pub(crate) bytes: u64,
    pub(crate) built_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) folder: PathBuf,
}

impl Store {
    pub(crate) fn new(context: &BakeryContext) -> Self {
        Self { folder: context.images_dir.clone() }
    }

    /// What a node with this image and these packages is stacked from; `None` when it is not baked.
    pub(crate) fn layers(&self, image: &str, packages: &BTreeSet<String>) -> Result<Option<Layers>, StoreError> {
        match image {
            HOST => return Ok(Some(Layers::default())),
            DEBIAN_12 => {}
            other => return Err(StoreError::Unknown(other.to_owned())),
        }
        let Some(base) = self.current(image)? else { return Ok(None) };
        let mut layers = Layers { lower: vec![self.root(&base.id)], ids: vec![base.id.clone()] };
        if !packages.is_empty() {
            let Some(layer) = self.current(&layer_key(&base.id, packages))? else { return Ok(None) };
            layers.lower.insert(0, self.root(&layer.id));
            layers.ids.insert(0, layer.id);
        }
        Ok(Some(layers))
    }

    /// While this is held nothing is removed.
    pub(crate) async fn hold(&self) -> Result<Held, StoreError> {
        fs_err::create_dir_all(&self.folder).map_err(StoreError::Write)?;
        let held = lock(&self.folder.join("lock"), Mode::Shared, LOCK_TIMEOUT).await.map_err(StoreError::Write)?;
        held.ok_or(StoreError::Busy("images are being removed"))
    }

    /// Says that a machine is about to be made that needs these layers. The caller holds the store until it is made.
    pub(crate) fn refer(&self, layers: &Layers, machine: &MachineRef) -> Result<(), StoreError> {
        let refs = self.refs();
        layers.ids.iter().try_for_each(|id| machine.write(&refs, id)).map_err(StoreError::Write)
    }

    /// The record that a name, or a base and packages, stand for now.
    pub(crate) fn current(&self, key: &str) -> Result<Option<LayerRecord>, StoreError> {
        let text = match fs_err::read_to_string(self.folder.join("current").join(key)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Read(error)),
        };
        self.record(&ImageId(text.trim().to_owned()))
    }

    pub(crate) fn record(&self, id: &ImageId) -> Result<Option<LayerRecord>, StoreError> {
        let text = match fs_err::read(self.layer(id).join("layer.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Read(error)),
        };
        let record = serde_json::from_slice(&text).map_err(|error| StoreError::Read(io::Error::other(error)))?;
        Ok(Some(record).filter(|record: &LayerRecord| record.version == VERSION))
    }

    pub(crate) fn layer(&self, id: &ImageId) -> PathBuf {
        self.folder.join("layers").join(&id.0)
    }

    pub(crate) fn root(&self, id: &ImageId) -> PathBuf {
        self.layer(id).join("root")
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.folder.join("refs")
    }
}

/// Names a base with packages on it: the same for the same base, packages and way of making it.
pub(crate) fn layer_key(base: &ImageId, packages: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{PROCEDURE}\n{base}\n"));
    for package in packages {
        hash.update(format!("{package}\n"));
    }
    short(&hash.finalize())
}

/// Twelve digits: unique among the images of a machine, and short enough to type.
pub(crate) fn short(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in hash.iter().take(6) {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_layer_s_key_follows_its_base_and_packages() {
        let (one, other) = (ImageId("one".to_owned()), ImageId("other".to_owned()));
        let key = layer_key(&one, &packages(&["munge", "slurmd"]));
        assert_eq!(key, layer_key(&one, &packages(&["slurmd", "munge"])));
        assert_ne!(key, layer_key(&other, &packages(&["munge", "slurmd"])));
        assert_ne!(key, layer_key(&one, &packages(&["mungeslurmd"])));
    }

    #[test]
    fn the_host_needs_nothing_and_others_are_baked_first() {
        let folder = tempfile::tempdir().unwrap();
        let context = BakeryContext { images_dir: folder.path().to_owned(), cache_dir: folder.path().to_owned() };
        let store = Store::new(&context);
        assert_eq!(store.layers(HOST, &packages(&["x"])).unwrap(), Some(Layers::default()));
        assert_eq!(store.layers(DEBIAN_12, &packages(&[])).unwrap(), None);
        assert!(matches!(store.layers("debian-13", &packages(&[])), Err(StoreError::Unknown(_))));
    }
}
