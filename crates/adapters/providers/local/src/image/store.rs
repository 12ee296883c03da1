//! The folder of images: what is in it, and what is found by name and packages.
//!
//! ```text
//! layers/ID/root      what is stacked; appears and vanishes by rename of layers/ID
//! layers/ID/layer.json
//! current/KEY         the ID that a name, or a base and packages, stand for now; a refresh changes it
//! refs/ID/…           machines that need it
//! lock                shared by those who make images and machines; sole for those who remove
//! locks/KEY           held by the one who makes it; KEY.at says how far it is
//! .making-KEY/        under way; found without its lock held it is of a bake that died
//! .removing-NAME/     being removed by the one who holds the lock `removing`
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_provider::{BakedImage, BakeryContext, ImageId};
use muster_types::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::image::lock::{Held, Mode, lock};
use crate::image::refs::{self, MachineRef};
use crate::image::{DEBIAN_12, HOST, IMAGES, base};

/// Of the files here.
const VERSION: u32 = 1;
/// Of the way in which layers are made: another number, other images.
const PROCEDURE: u32 = 1;
/// Beside a layer's files.
const RECORD: &str = "layer.json";
pub(crate) const MAKING: &str = ".making-";
pub(crate) const REMOVING: &str = ".removing-";
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

impl LayerRecord {
    /// The id follows from the content, once that is known.
    pub(crate) fn new(image: &str, base: Option<&ImageId>, packages: Option<&BTreeSet<String>>, bytes: u64) -> Self {
        Self {
            version: VERSION,
            id: ImageId(String::new()),
            image: image.to_owned(),
            base: base.cloned(),
            packages: packages.cloned().unwrap_or_default(),
            bytes,
            built_at: Timestamp::now(),
        }
    }
}

/// A layer that was just made.
#[derive(Debug)]
pub(crate) struct NewLayer {
    pub(crate) key: String,
    pub(crate) record: LayerRecord,
    /// What is installed: the same content, the same id.
    pub(crate) content: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) folder: PathBuf,
    pub(crate) cache: PathBuf,
}

impl Store {
    pub(crate) fn new(context: &BakeryContext) -> Self {
        Self { folder: context.images_dir.clone(), cache: context.cache_dir.clone() }
    }

    /// What a node with this image and these packages is stacked from; `None` when it is not baked.
    pub(crate) fn layers(&self, image: &str, packages: &BTreeSet<String>) -> Result<Option<Layers>, StoreError> {
        match image {
            HOST => return Ok(Some(Layers::default())),
            DEBIAN_12 => {}
            other => return Err(StoreError::Unknown(other.to_owned())),
        }
        let Some(base) = self.current(&base_key(image))? else { return Ok(None) };
        let mut layers = Layers { lower: vec![self.root(&base.id)], ids: vec![base.id.clone()] };
        if !packages.is_empty() {
            let Some(layer) = self.current(&layer_key(&base.id, packages))? else { return Ok(None) };
            layers.lower.insert(0, self.root(&layer.id));
            layers.ids.insert(0, layer.id);
        }
        Ok(Some(layers))
    }

    /// While this is held nothing is made, neither images nor machines.
    pub(crate) async fn hold_alone(&self) -> Result<Held, StoreError> {
        fs_err::create_dir_all(&self.folder).map_err(StoreError::Write)?;
        let held = lock(&self.lock(), Mode::Sole, LOCK_TIMEOUT).await.map_err(StoreError::Write)?;
        held.ok_or(StoreError::Busy("an image or a machine is being made"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// While this is held nothing is removed.
    pub(crate) async fn hold(&self) -> Result<Held, StoreError> {
        fs_err::create_dir_all(&self.folder).map_err(StoreError::Write)?;
        let held = lock(&self.lock(), Mode::Shared, LOCK_TIMEOUT).await.map_err(StoreError::Write)?;
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
        let text = match fs_err::read(self.layer(id).join(RECORD)) {
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

    /// Machines that need it.
    pub(crate) fn machines_of(&self, id: &ImageId) -> Result<Vec<MachineRef>, StoreError> {
        refs::of_layer(&self.refs(), id).map_err(StoreError::Read)
    }

    pub(crate) fn root(&self, id: &ImageId) -> PathBuf {
        self.layer(id).join("root")
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.folder.join("refs")
    }

    pub(crate) fn lock_of(&self, key: &str) -> PathBuf {
        self.folder.join("locks").join(key)
    }

    pub(crate) fn progress_of(&self, key: &str) -> PathBuf {
        self.folder.join("locks").join(format!("{key}.at"))
    }

    pub(crate) fn making(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{MAKING}{key}"))
    }

    /// Names the folder of a bake's downloads: several stores may share a cache.
    pub(crate) fn download_name(&self, key: &str) -> String {
        format!("{}{key}", self.download_prefix())
    }

    pub(crate) fn download_prefix(&self) -> String {
        format!("{}-", short(&Sha256::digest(self.folder.as_os_str().as_encoded_bytes())))
    }

    /// Makes the folders of the store and of the cache.
    pub(crate) fn prepare(&self) -> Result<(), StoreError> {
        for name in ["layers", "current", "refs", "locks"] {
            fs_err::create_dir_all(self.folder.join(name)).map_err(StoreError::Write)?;
        }
        fs_err::create_dir_all(&self.cache).map_err(StoreError::Write)
    }

    /// An empty place to make an image in. The caller holds its lock.
    pub(crate) fn remake_making(&self, key: &str) -> Result<(), StoreError> {
        let making = self.making(key);
        remove_folder(&making).map_err(StoreError::Write)?;
        for name in ["work", "layer"] {
            fs_err::create_dir_all(making.join(name)).map_err(StoreError::Write)?;
        }
        Ok(())
    }

    /// What a failed bake has left. What cannot be removed now is swept later.
    pub(crate) fn remove_making(&self, key: &str) {
        if let Err(error) = remove_folder(&self.making(key)) {
            tracing::warn!(%error, "cannot remove what a failed bake has left");
        }
    }

    /// Puts a layer where it is found. Its files reach the disk before its name does, so that after a power failure it
    /// is whole or not there.
    pub(crate) fn publish(&self, new: NewLayer, making: &Path) -> Result<LayerRecord, StoreError> {
        let NewLayer { key, mut record, content } = new;
        let base = record.base.as_ref().map(ToString::to_string).unwrap_or_default();
        let packages: Vec<&str> = record.packages.iter().map(String::as_str).collect();
        let packages = packages.join(" ");
        record.id = ImageId(short(&Sha256::digest(format!("{}\n{base}\n{packages}\n{content}", procedure()))));
        let text = serde_json::to_vec(&record).map_err(|error| StoreError::Write(io::Error::other(error)))?;
        if self.record(&record.id)?.is_some() {
            // Made before with the same content: that one stays, since machines may stand on it.
            muster_stdx::write_atomic(&self.layer(&record.id).join(RECORD), &text, 0o644).map_err(StoreError::Write)?;
        } else {
            self.place(&record, &text, &making.join("layer")).map_err(StoreError::Write)?;
        }
        let pointer = self.folder.join("current").join(key);
        muster_stdx::write_atomic(&pointer, record.id.0.as_bytes(), 0o644).map_err(StoreError::Write)?;
        remove_folder(making).map_err(StoreError::Write)?;
        Ok(record)
    }

    fn place(&self, record: &LayerRecord, text: &[u8], layer: &Path) -> io::Result<()> {
        muster_stdx::write_atomic(&layer.join(RECORD), text, 0o644)?;
        nix::unistd::syncfs(fs_err::File::open(layer)?.file())?;
        // One of an older version may be there.
        self.take_away(&record.id)?;
        fs_err::rename(layer, self.layer(&record.id))?;
        fs_err::File::open(self.folder.join("layers"))?.sync_all()
    }

    /// A layer is gone with its name; its files take longer, and are for `removal::clear`.
    pub(crate) fn take_away(&self, id: &ImageId) -> io::Result<()> {
        self.set_aside(&self.layer(id), &id.0)
    }

    /// Renames a folder to one that is to be removed. Does nothing when it is not there.
    pub(crate) fn set_aside(&self, folder: &Path, name: &str) -> io::Result<()> {
        let free = |number: &u32| !self.folder.join(format!("{REMOVING}{name}.{number}")).exists();
        let number = (0..u32::MAX).find(free).unwrap_or_default();
        let removing = self.folder.join(format!("{REMOVING}{name}.{number}"));
        match fs_err::rename(folder, removing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Every layer there is.
    pub(crate) fn records(&self) -> Result<Vec<LayerRecord>, StoreError> {
        let mut records = Vec::new();
        for name in names(&self.folder.join("layers")).map_err(StoreError::Read)? {
            records.extend(self.record(&ImageId(name))?);
        }
        records.sort_by(|a, b| (&a.image, &a.packages, a.built_at).cmp(&(&b.image, &b.packages, b.built_at)));
        Ok(records)
    }

    pub(crate) fn list(&self) -> Result<Vec<BakedImage>, StoreError> {
        let records = self.records()?;
        records.iter().map(|record| self.describe(record, &records)).collect()
    }

    /// With what needs it: machines, and those of `all` that lie on it.
    pub(crate) fn describe(&self, record: &LayerRecord, all: &[LayerRecord]) -> Result<BakedImage, StoreError> {
        let above = all.iter().filter(|other| other.base.as_ref() == Some(&record.id));
        let mut used_by: Vec<String> = above.map(|other| format!("image {}", other.id)).collect();
        used_by.extend(self.machines_of(&record.id)?.into_iter().map(|machine| machine.shown));
        Ok(BakedImage {
            id: record.id.clone(),
            image: record.image.clone(),
            packages: record.packages.clone(),
            bytes: record.bytes,
            built_at: record.built_at,
            used_by,
        })
    }
}

/// The names in a folder, which need not be there.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Also when it is not there.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn procedure() -> String {
    short(&Sha256::digest(format!("{PROCEDURE}\n{}", base::procedure())))
}

/// Names a base: an image of another procedure is another one.
pub(crate) fn base_key(image: &str) -> String {
    format!("{image}.{}", procedure())
}

/// Names a base with packages on it: the same for the same base, packages and way of making it.
pub(crate) fn layer_key(base: &ImageId, packages: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{base}\n", procedure()));
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
