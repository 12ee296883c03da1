//! Removing images that nothing needs, and what interrupted bakes have left.

use std::io;

use muster_provider::{BakedImage, ImageId};

use crate::image::error::BakeError;
use crate::image::lock::{Mode, try_lock};
use crate::image::refs;
use crate::image::store::{LayerRecord, MAKING, REMOVING, Store, StoreError, names, remove_folder};

pub(crate) async fn remove(store: &Store, id: &ImageId) -> Result<(), BakeError> {
    let alone = store.hold_alone().await?;
    let records = store.records()?;
    let record = records.iter().find(|record| record.id == *id).ok_or_else(|| BakeError::NoSuchImage(id.clone()))?;
    let by = store.describe(record, &records)?.used_by;
    if !by.is_empty() {
        return Err(BakeError::Needed { id: id.clone(), by });
    }
    take_away(store, record).map_err(StoreError::Write)?;
    sweep(store).map_err(StoreError::Write)?;
    drop(alone);
    clear(store).await
}

pub(crate) async fn prune(store: &Store) -> Result<Vec<BakedImage>, BakeError> {
    let alone = store.hold_alone().await?;
    let mut records = store.records()?;
    let mut removed = Vec::new();
    // A base is free once the layers on it are gone.
    while let Some(free) = first_free(store, &records)? {
        let record = records.remove(free);
        removed.push(store.describe(&record, &[])?);
        take_away(store, &record).map_err(StoreError::Write)?;
    }
    sweep(store).map_err(StoreError::Write)?;
    sweep_downloads(store).map_err(BakeError::Cache)?;
    drop(alone);
    clear(store).await?;
    Ok(removed)
}

fn first_free(store: &Store, records: &[LayerRecord]) -> Result<Option<usize>, StoreError> {
    for (index, record) in records.iter().enumerate() {
        if store.describe(record, records)?.used_by.is_empty() {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// What bakes that died have left, if nobody makes anything right now.
pub(crate) async fn sweep_if_idle(store: &Store) -> Result<(), BakeError> {
    if let Some(_alone) = try_lock(&store.lock(), Mode::Sole).map_err(StoreError::Write)? {
        sweep(store).map_err(StoreError::Write)?;
    }
    clear(store).await
}

/// References of machines that are gone, if nobody makes anything right now; else whoever sweeps next.
pub(crate) fn sweep_refs_if_idle(store: &Store) -> io::Result<()> {
    if !store.refs().is_dir() {
        return Ok(());
    }
    match try_lock(&store.lock(), Mode::Sole)? {
        Some(_alone) => sweep_refs(store),
        None => Ok(()),
    }
}

fn sweep_refs(store: &Store) -> io::Result<()> {
    names(&store.refs())?.into_iter().try_for_each(|id| refs::sweep(&store.refs(), &ImageId(id)))
}

/// Removes the files of what has no name any more. That takes long on a busy disk, so nobody waits for it: whoever comes
/// meanwhile leaves it to the first.
async fn clear(store: &Store) -> Result<(), BakeError> {
    let store = store.clone();
    let clearing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let Some(_one) = try_lock(&store.folder.join("removing"), Mode::Sole)? else { return Ok(()) };
        for name in names(&store.folder)?.iter().filter(|name| name.starts_with(REMOVING)) {
            remove_folder(&store.folder.join(name))?;
        }
        Ok(())
    });
    let cleared = clearing.await.map_err(|_| BakeError::Ended)?;
    cleared.map_err(|error| StoreError::Write(error).into())
}

fn take_away(store: &Store, record: &LayerRecord) -> io::Result<()> {
    store.take_away(&record.id)?;
    refs::sweep(&store.refs(), &record.id)
}

/// Nobody else is at work here: whatever is under way is of a process that died.
fn sweep(store: &Store) -> io::Result<()> {
    for name in names(&store.folder)? {
        if let Some(key) = name.strip_prefix(MAKING) {
            store.set_aside(&store.folder.join(&name), &format!("made-{key}"))?;
        }
    }
    sweep_refs(store)?;
    for key in names(&store.folder.join("current"))? {
        if matches!(store.current(&key), Ok(None)) {
            fs_err::remove_file(store.folder.join("current").join(key))?;
        }
    }
    // Locks are held by those who hold the store, too.
    for name in names(&store.folder.join("locks"))? {
        fs_err::remove_file(store.folder.join("locks").join(name))?;
    }
    Ok(())
}

fn sweep_downloads(store: &Store) -> io::Result<()> {
    let bakes = store.cache.join("bakes");
    for name in names(&bakes)?.iter().filter(|name| name.starts_with(&store.download_prefix())) {
        remove_folder(&bakes.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use muster_provider::BakeryContext;

    use super::*;
    use crate::image::DEBIAN_12;
    use crate::image::refs::MachineRef;
    use crate::image::store::{NewLayer, base_key, layer_key};

    struct Place {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let context =
                BakeryContext { images_dir: folder.path().join("images"), cache_dir: folder.path().join("cache") };
            let store = Store::new(&context);
            store.prepare().unwrap();
            Self { folder, store }
        }

        fn publish(&self, key: &str, base: Option<&ImageId>, packages: &[&str], content: &str) -> ImageId {
            let packages: BTreeSet<String> = packages.iter().map(|name| (*name).to_owned()).collect();
            self.store.remake_making(key).unwrap();
            let making = self.store.making(key);
            fs_err::create_dir(making.join("layer/root")).unwrap();
            let record = LayerRecord::new(DEBIAN_12, base, Some(&packages), 1);
            let new = NewLayer { key: key.to_owned(), record, content: content.to_owned() };
            let id = self.store.publish(new, &making).unwrap().id;
            assert!(!making.exists());
            id
        }

        fn both(&self) -> (ImageId, ImageId) {
            let base = self.publish(&base_key(DEBIAN_12), None, &[], "apt 1");
            let munge = BTreeSet::from(["munge".to_owned()]);
            let layer = self.publish(&layer_key(&base, &munge), Some(&base), &["munge"], "apt 1\nmunge 2");
            (base, layer)
        }
    }

    #[tokio::test]
    async fn layers_are_found_and_stay_while_they_are_needed() {
        let place = Place::new();
        let (base, layer) = place.both();
        let munge = BTreeSet::from(["munge".to_owned()]);
        let layers = place.store.layers(DEBIAN_12, &munge).unwrap().unwrap();
        assert_eq!(layers.ids, [layer.clone(), base.clone()]);
        assert_eq!(layers.lower, [place.store.root(&layer), place.store.root(&base)]);
        let shown = place.folder.path().join("machine");
        fs_err::create_dir(&shown).unwrap();
        let machine = MachineRef {
            scope: "demo-1".to_owned(),
            machine: "a-1".to_owned(),
            shown: "demo:a-1".to_owned(),
            folder: shown.clone(),
        };
        place.store.refer(&layers, &machine).unwrap();
        assert_eq!(prune(&place.store).await.unwrap(), []);
        let error = remove(&place.store, &base).await.unwrap_err();
        assert!(
            matches!(error, BakeError::Needed { by, .. } if by == [format!("image {layer}"), "demo:a-1".to_owned()])
        );
        fs_err::remove_dir(shown).unwrap();
        let removed: Vec<ImageId> = prune(&place.store).await.unwrap().into_iter().map(|image| image.id).collect();
        assert_eq!(removed, [layer, base]);
        assert_eq!(place.store.layers(DEBIAN_12, &munge).unwrap(), None);
        for name in ["layers", "current", "refs"] {
            assert_eq!(names(&place.store.folder.join(name)).unwrap(), Vec::<String>::new(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_refresh_without_news_keeps_the_image_and_one_with_news_leaves_machines_alone() {
        let place = Place::new();
        let (base, layer) = place.both();
        assert_eq!(place.publish(&base_key(DEBIAN_12), None, &[], "apt 1"), base);
        let newer = place.publish(&base_key(DEBIAN_12), None, &[], "apt 2");
        assert_ne!(newer, base);
        let munge = BTreeSet::from(["munge".to_owned()]);
        assert_eq!(place.store.layers(DEBIAN_12, &munge).unwrap(), None);
        assert_eq!(place.store.layers(DEBIAN_12, &BTreeSet::new()).unwrap().unwrap().ids, [newer]);
        assert!(place.store.root(&layer).exists() && place.store.root(&base).exists());
    }

    #[tokio::test]
    async fn what_died_is_swept_and_what_is_at_work_is_not() {
        let place = Place::new();
        place.store.remake_making("k").unwrap();
        let held = place.store.hold().await.unwrap();
        sweep_if_idle(&place.store).await.unwrap();
        assert!(place.store.making("k").exists());
        drop(held);
        sweep_if_idle(&place.store).await.unwrap();
        assert!(!place.store.making("k").exists());
    }
}
