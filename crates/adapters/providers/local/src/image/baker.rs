//! The bakery of the local provider: decides what to make, one at a time for each image, and puts it where it is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use muster_provider::{BakeProgress, BakeRequest, BakedImage, Bakery, BakeryContext, ImageId, ProviderError};
use muster_stdx::Backoff;
use muster_types::Timestamp;
use tokio::sync::Semaphore;

use crate::image::apt::Apt;
use crate::image::downloads::Downloads;
use crate::image::error::BakeError;
use crate::image::lock::{Held, Mode, try_lock};
use crate::image::order::{Order, Said, What};
use crate::image::store::{LayerRecord, NewLayer, Store, base_key, layer_key};
use crate::image::{HOST, IMAGES, removal, spawn};
use crate::settings;

/// Bakes at once: installing packages keeps a processor busy.
const BAKES_MAX: usize = 2;
/// Memory that stays free beside what a bake may take, and what it must be able to take.
const MEMORY_KEPT_BYTES: u64 = 1 << 30;
const MEMORY_NEEDED_BYTES: u64 = 1 << 30;
/// How often one who waits for another's bake looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// Variables that tell apt the way out.
const PROXIES: [&str; 8] =
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"];

type Progress<'a> = &'a (dyn Fn(BakeProgress) + Send + Sync);

pub(crate) struct Baker {
    /// The program with the hidden command `image-worker`.
    program: PathBuf,
    store: Store,
    /// Unless a request names another.
    mirror: Option<String>,
    at_once: Semaphore,
    /// A refresh asks for images that are not older than this, so that one command makes a base once.
    opened_at: Timestamp,
}

impl Baker {
    pub(crate) fn new(program: &Path, context: &BakeryContext, mirror: Option<String>) -> Self {
        Self {
            program: program.to_owned(),
            store: Store::new(context),
            mirror,
            at_once: Semaphore::new(BAKES_MAX),
            opened_at: Timestamp::now(),
        }
    }

    async fn make(&self, request: &BakeRequest, progress: Progress<'_>) -> Result<Option<BakedImage>, BakeError> {
        let Some(image) = named(request)? else { return Ok(None) };
        if !nix::unistd::geteuid().is_root() {
            return Err(BakeError::NotRoot);
        }
        check_names(&request.packages)?;
        self.store.prepare()?;
        removal::sweep_if_idle(&self.store).await?;
        let _held = self.store.hold().await?;
        let (settings, _) = settings::read(request.settings.as_ref());
        let wish = Wish { image, mirror: settings.mirror.or_else(|| self.mirror.clone()), refresh: request.refresh };
        let base = self.ensure(&base_key(image), &wish, None, progress).await?;
        if request.packages.is_empty() {
            return Ok(Some(self.store.describe(&base, &[])?));
        }
        let over = Over { base: &base.id, packages: &request.packages };
        let layer = self.ensure(&layer_key(&base.id, &request.packages), &wish, Some(&over), progress).await?;
        Ok(Some(self.store.describe(&layer, &[])?))
    }

    /// The image of this key, made if it is not there.
    async fn ensure(
        &self,
        key: &str,
        wish: &Wish<'_>,
        over: Option<&Over<'_>>,
        progress: Progress<'_>,
    ) -> Result<LayerRecord, BakeError> {
        let there = |store: &Store| -> Result<Option<LayerRecord>, BakeError> {
            let record = store.current(key)?;
            Ok(record.filter(|record| !wish.refresh || record.built_at >= self.opened_at))
        };
        if let Some(record) = there(&self.store)? {
            return Ok(record);
        }
        let _one = self.wait_turn(key, progress).await?;
        if let Some(record) = there(&self.store)? {
            return Ok(record);
        }
        // Whoever waits for the lock above takes no place.
        let _place = self.at_once.acquire().await.map_err(|_| BakeError::Ended)?;
        let making = self.store.making(key);
        let made = self.bake(key, wish, over, progress, &making).await;
        if made.is_err() {
            self.store.remove_making(key);
        }
        made
    }

    /// Until nobody else makes this image; says meanwhile how far the other one is.
    async fn wait_turn(&self, key: &str, progress: Progress<'_>) -> Result<Held, BakeError> {
        let (lock, at) = (self.store.lock_of(key), self.store.progress_of(key));
        let mut backoff = Backoff::new(LOOK.0, LOOK.1);
        loop {
            if let Some(held) = try_lock(&lock, Mode::Sole).map_err(BakeError::Lock)? {
                return Ok(held);
            }
            let step = fs_err::read_to_string(&at).unwrap_or_default();
            progress(BakeProgress { step: format!("another muster makes it: {step}"), detail: String::new() });
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn bake(
        &self,
        key: &str,
        wish: &Wish<'_>,
        over: Option<&Over<'_>>,
        progress: Progress<'_>,
        making: &Path,
    ) -> Result<LayerRecord, BakeError> {
        let downloads = Downloads::new(&self.store.cache, &self.store.download_name(key));
        downloads.lay_out().map_err(BakeError::Cache)?;
        let mut order = self.order(key, wish, over, &downloads)?;
        let said = loop {
            self.store.remake_making(key)?;
            let step = if order.memory.is_some() { "starting" } else { "starting, on disk: memory is short" };
            self.tell(key, progress, BakeProgress { step: step.to_owned(), detail: String::new() });
            let heard = |said| {
                if let Said::Progress { step, detail } = said {
                    self.tell(key, progress, BakeProgress { step, detail });
                }
            };
            match spawn::run(&self.program, &order, heard).await.map_err(BakeError::Process)? {
                Said::Failed(trouble) if trouble.memory_full => order.memory = None,
                said => break said,
            }
        };
        let (bytes, content) = match said {
            Said::Done { bytes, content } => (bytes, content),
            Said::Failed(trouble) => {
                downloads.take_back().map_err(BakeError::Cache)?;
                return Err(BakeError::Worker(trouble));
            }
            Said::Progress { .. } => return Err(BakeError::Ended),
        };
        self.tell(key, progress, BakeProgress { step: "reaching the disk".to_owned(), detail: String::new() });
        let new = NewLayer {
            key: key.to_owned(),
            record: LayerRecord::new(wish.image, over.map(|over| over.base), over.map(|over| over.packages), bytes),
            content,
        };
        let store = self.store.clone();
        let making = making.to_owned();
        // Waiting for the disk would hold up everybody else on this thread.
        let placed = tokio::task::spawn_blocking(move || store.publish(new, &making));
        let record = placed.await.map_err(|_| BakeError::Ended)??;
        downloads.finish().map_err(BakeError::Cache)?;
        Ok(record)
    }

    fn order(
        &self,
        key: &str,
        wish: &Wish<'_>,
        over: Option<&Over<'_>>,
        downloads: &Downloads,
    ) -> Result<Order, BakeError> {
        let cache = &self.store.cache;
        let apt = Apt::of_machine(wish.mirror.as_deref(), &cache.join("keys"))?;
        let (lists, logs) = (cache.join("lists"), cache.join("logs"));
        for folder in [&lists, &logs] {
            fs_err::create_dir_all(folder).map_err(BakeError::Cache)?;
        }
        let log = logs.join(format!("{key}.log"));
        // Of this bake only.
        fs_err::write(&log, "").map_err(BakeError::Cache)?;
        let making = self.store.making(key);
        let what = match over {
            None => What::Base,
            Some(over) => What::Layer { base: self.store.root(over.base), packages: over.packages.clone() },
        };
        if over.is_none() && !is_there("mmdebstrap") {
            return Err(BakeError::NoMmdebstrap);
        }
        let environment = PROXIES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Ok(Order {
            what,
            work: making.join("work"),
            memory: memory_to_use(&fs_err::read_to_string("/proc/meminfo").unwrap_or_default()),
            target: making.join("layer/root"),
            archives: downloads.own.clone(),
            lists: lists.join(&apt.key),
            refresh: wish.refresh,
            apt,
            log,
            environment: environment.collect(),
        })
    }

    /// To who asked, and to those who wait for the same image.
    fn tell(&self, key: &str, progress: Progress<'_>, now: BakeProgress) {
        // Only shown: who waits sees the older state if this fails.
        fs_err::write(self.store.progress_of(key), &now.step).ok();
        progress(now);
    }
}

/// How an image is to be made.
struct Wish<'a> {
    image: &'a str,
    mirror: Option<String>,
    refresh: bool,
}

/// What a layer of software lies on and holds.
struct Over<'a> {
    base: &'a ImageId,
    packages: &'a BTreeSet<String>,
}

/// The image that is meant; `None` for the one that needs no making.
fn named(request: &BakeRequest) -> Result<Option<&str>, BakeError> {
    let name = request.image.as_deref().unwrap_or(IMAGES[0]);
    if !IMAGES.contains(&name) {
        return Err(BakeError::Store(crate::image::StoreError::Unknown(name.to_owned())));
    }
    Ok(Some(name).filter(|name| *name != HOST))
}

/// A name that apt cannot take for anything else: an option, a pattern, a task, or an order to remove.
fn check_names(packages: &BTreeSet<String>) -> Result<(), BakeError> {
    let plain = |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.:~".contains(letter));
    for package in packages {
        let (name, version) = package.split_once('=').unwrap_or((package, "0"));
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        if !starts || !plain(name) || name.ends_with('-') || version.is_empty() || !plain(version) {
            return Err(BakeError::NoPackageName(package.clone()));
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// How much memory a bake may take; none when the machine is short of it.
fn memory_to_use(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    let free = (kib << 10).checked_sub(MEMORY_KEPT_BYTES)?;
    (free >= MEMORY_NEEDED_BYTES).then_some(free)
}

#[async_trait]
impl Bakery for Baker {
    async fn is_baked(&self, request: &BakeRequest) -> Result<bool, ProviderError> {
        let look = || -> Result<bool, BakeError> {
            let Some(image) = named(request)? else { return Ok(true) };
            Ok(!request.refresh && self.store.layers(image, &request.packages)?.is_some())
        };
        look().map_err(|error| error.into_provider("look for the image"))
    }

    async fn bake(
        &self,
        request: &BakeRequest,
        progress: &(dyn Fn(BakeProgress) + Send + Sync),
    ) -> Result<Option<BakedImage>, ProviderError> {
        self.make(request, progress).await.map_err(|error| error.into_provider("make the image"))
    }

    async fn list(&self) -> Result<Vec<BakedImage>, ProviderError> {
        let listed = self.store.list().map_err(BakeError::from);
        listed.map_err(|error| error.into_provider("list images"))
    }

    async fn remove(&self, id: &ImageId) -> Result<(), ProviderError> {
        let removed = removal::remove(&self.store, id).await;
        removed.map_err(|error| error.into_provider("remove the image"))
    }

    async fn prune(&self) -> Result<Vec<BakedImage>, ProviderError> {
        removal::prune(&self.store).await.map_err(|error| error.into_provider("remove images"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_packages_reach_apt() {
        let check = |name: &str| check_names(&BTreeSet::from([name.to_owned()]));
        for good in ["munge", "g++", "libc6:amd64", "munge=0.5.15-2+b1", "0ad", "python3.11"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["-o", "--x", "munge-", "mun*", "a b", "", "task^", "x=", "./x.deb", "a/b", "X"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bake_leaves_memory_to_others() {
        let meminfo = |gib: u64| format!("MemTotal: 1 kB\nMemAvailable:   {} kB\n", gib << 20);
        assert_eq!(memory_to_use(&meminfo(8)), Some(7 << 30));
        assert_eq!(memory_to_use(&meminfo(1)), None);
        assert_eq!(memory_to_use(""), None);
    }
}
