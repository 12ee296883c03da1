//! Images are there before the first machine that starts from them is asked for: each is baked once in a run, and only
//! the nodes that need it wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_api::EventBody;
use muster_doc::{SourceMap, Tree};
use muster_provider::{BakeProgress, BakeRequest, Bakery};
use muster_stdx::chain;
use muster_types::{NodeName, Phase};
use tokio::sync::{OnceCell, watch};

use crate::EngineConfig;
use crate::blueprint::Blueprint;
use crate::compile::DesiredNode;
use crate::configure::some;
use crate::fault::{Fault, Stop};
use crate::node::NodeRun;
use crate::run::{Run, ask};

/// Progress is told this often at most; whoever unpacks a thousand files says so a thousand times.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// The images of one run.
pub(crate) struct Kitchen {
    bakery: Option<Arc<dyn Bakery>>,
    settings: Option<Tree>,
    images: Mutex<BTreeMap<Pair, Arc<Image>>>,
}

/// An image, and the software in it.
type Pair = (Option<String>, BTreeSet<String>);

struct Image {
    request: BakeRequest,
    /// For people.
    name: String,
    /// What it is at; empty until there is something to tell.
    at: watch::Sender<String>,
    done: OnceCell<Result<(), Fault>>,
}

impl Kitchen {
    pub(crate) fn new(config: &EngineConfig, blueprint: &dyn Blueprint) -> Self {
        Self { bakery: config.provider.bakery(), settings: settings(config, blueprint), images: Mutex::default() }
    }

    /// `None` where the provider takes images as they are.
    fn image(&self, desired: &DesiredNode) -> Option<(Arc<dyn Bakery>, Arc<Image>)> {
        let bakery = Arc::clone(self.bakery.as_ref()?);
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let image = images.entry((desired.image.clone(), desired.packages.clone())).or_insert_with(|| {
            Arc::new(Image {
                request: request(desired, self.settings.as_ref()),
                name: name(desired),
                at: watch::Sender::default(),
                done: OnceCell::new(),
            })
        });
        Some((bakery, Arc::clone(image)))
    }
}

fn settings(config: &EngineConfig, blueprint: &dyn Blueprint) -> Option<Tree> {
    let text = blueprint.settings(&config.provider_name)?;
    muster_doc::parse(&mut SourceMap::default(), "settings", &text).0
}

fn request(desired: &DesiredNode, settings: Option<&Tree>) -> BakeRequest {
    BakeRequest {
        image: desired.image.clone(),
        packages: desired.packages.clone(),
        settings: settings.cloned(),
        refresh: false,
    }
}

/// `debian-12 with munge, slurmd`
fn name(desired: &DesiredNode) -> String {
    let image = desired.image.as_deref().unwrap_or("of the provider");
    if desired.packages.is_empty() { image.to_owned() } else { format!("{image} with {}", some(&desired.packages)) }
}

/// The images that these nodes would start from and that are not there, in words. What cannot be found out is left to
/// the baking, which says why.
pub(crate) async fn unbaked(
    config: &EngineConfig,
    blueprint: &dyn Blueprint,
    nodes: Vec<&DesiredNode>,
) -> BTreeMap<NodeName, String> {
    let mut unbaked = BTreeMap::new();
    let Some(bakery) = config.provider.bakery().filter(|_| !nodes.is_empty()) else { return unbaked };
    let settings = settings(config, blueprint);
    let mut known: BTreeMap<Pair, bool> = BTreeMap::new();
    for node in nodes {
        let pair = (node.image.clone(), node.packages.clone());
        let is_baked = if let Some(is_baked) = known.get(&pair) {
            *is_baked
        } else {
            let is_baked = is_baked(config, &*bakery, &request(node, settings.as_ref())).await;
            known.insert(pair, is_baked);
            is_baked
        };
        if !is_baked {
            unbaked.insert(node.name.clone(), name(node));
        }
    }
    unbaked
}

async fn is_baked(config: &EngineConfig, bakery: &dyn Bakery, request: &BakeRequest) -> bool {
    match tokio::time::timeout(config.limits.list, bakery.is_baked(request)).await {
        Ok(Ok(is_baked)) => is_baked,
        Ok(Err(error)) => {
            tracing::warn!(image = request.image, error = chain(&error), "cannot tell whether an image is there");
            true
        }
        Err(_) => true,
    }
}

impl NodeRun<'_> {
    /// Returns when the image that the node's machine starts from is there. The first node that needs it has it baked.
    pub(crate) async fn bake(&mut self) -> Result<(), Stop> {
        let run = self.run;
        let Some((bakery, image)) = self.desired.and_then(|desired| run.kitchen.image(desired)) else { return Ok(()) };
        let mut at = image.at.subscribe();
        // What was told before counts as well.
        at.mark_changed();
        let baked = image.done.get_or_try_init(|| image.bake(run, &*bakery));
        tokio::pin!(baked);
        loop {
            tokio::select! {
                biased;
                // Stays as it is where it is not ready.
                baked = &mut baked => return Ok(baked?.clone()?),
                // The sender lives in the image. What is missed is only older than what comes.
                Ok(()) = at.changed() => {
                    let words = at.borrow_and_update().clone();
                    if !words.is_empty() {
                        self.enter(Phase::Planned, &words).await;
                    }
                }
            }
        }
    }
}

impl Image {
    async fn bake(&self, run: &Run<'_>, bakery: &dyn Bakery) -> Result<Result<(), Fault>, Stop> {
        let (sender, mut progress) = watch::channel(None);
        let report = |at: BakeProgress| drop(sender.send_replace(Some(at)));
        let call = ("bake the image", run.config.limits.bake);
        let baked = ask(run.config, run.hold, call, || bakery.bake(&self.request, &report));
        tokio::pin!(baked);
        let mut told: Option<Instant> = None;
        let result = loop {
            tokio::select! {
                biased;
                // Stays as it is where it is not ready.
                baked = &mut baked => break baked,
                // The sender is here. What is missed is only older than what comes.
                Ok(()) = progress.changed() => {
                    let at = progress.borrow_and_update().clone();
                    if let Some(at) = at.filter(|_| told.is_none_or(|told| told.elapsed() >= TOLD_EVERY)) {
                        told = Some(Instant::now());
                        self.tell(run, at).await;
                    }
                }
            }
        };
        match result {
            Ok(_) => {
                if told.is_some() {
                    self.tell(run, BakeProgress { step: String::new(), detail: String::new() }).await;
                }
                Ok(Ok(()))
            }
            Err(Stop::Run(error)) => Err(Stop::Run(error)),
            Err(Stop::Node(fault)) => {
                let reason = format!("image {} cannot be made: {}", self.name, fault.reason);
                Ok(Err(Fault { reason, uncertain: false, ..*fault }))
            }
        }
    }

    async fn tell(&self, run: &Run<'_>, at: BakeProgress) {
        let words = if at.step.is_empty() { String::new() } else { format!("image {}: {}", self.name, at.step) };
        self.at.send_if_modified(|told| {
            let is_news = *told != words;
            *told = words;
            is_news
        });
        let body = EventBody::Image { image: self.name.clone(), step: at.step, detail: at.detail };
        run.emitter.emit(body).await;
    }
}
