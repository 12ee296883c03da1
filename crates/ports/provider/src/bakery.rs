//! Making the images that machines start from: a facet of providers that build them themselves.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use muster_doc::Tree;
use muster_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ProviderError;

/// Where images lie.
#[derive(Debug, Clone)]
pub struct BakeryContext {
    /// Machines start from what is in here, so it is kept like their data.
    pub images_dir: PathBuf,
    /// Downloads; may be emptied at any time.
    pub cache_dir: PathBuf,
}

/// Names an image that was baked: the same for the same content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub String);

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// An image by what should be in it.
#[derive(Debug, Clone, Default)]
pub struct BakeRequest {
    /// As a cluster file names it; `None` is the provider's default.
    pub image: Option<String>,
    pub packages: BTreeSet<String>,
    /// The provider's block of the cluster file, already checked.
    pub settings: Option<Tree>,
    /// Bake anew, from what the package servers have today. Machines that are there stay on what they have.
    pub refresh: bool,
}

/// What a bake is at, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BakeProgress {
    /// `installing 34 packages`
    pub step: String,
    /// The newest line of whatever works on it; may be empty.
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BakedImage {
    pub id: ImageId,
    /// The image that it is, or is based on, as a cluster file names it.
    pub image: String,
    /// Empty for a base.
    pub packages: BTreeSet<String>,
    /// What it adds to its base.
    pub bytes: u64,
    pub built_at: Timestamp,
    /// Machines and images that need it, for people; it cannot be removed while there are any.
    pub used_by: Vec<String>,
}

#[async_trait]
pub trait Bakery: Send + Sync {
    /// Whether `bake` would return at once. Reads only.
    async fn is_baked(&self, request: &BakeRequest) -> Result<bool, ProviderError>;

    /// Makes sure that the image is there. Whoever asks for one that somebody is baking already waits for that. A bake
    /// that is dropped or killed leaves nothing that is taken for an image, and the next one goes on from what can be
    /// used of it. Needs nothing of an image that machines only show, such as one without software of its own.
    async fn bake(
        &self,
        request: &BakeRequest,
        progress: &(dyn Fn(BakeProgress) + Send + Sync),
    ) -> Result<Option<BakedImage>, ProviderError>;

    async fn list(&self) -> Result<Vec<BakedImage>, ProviderError>;

    /// Removes one that nothing needs; an error says what does.
    async fn remove(&self, id: &ImageId) -> Result<(), ProviderError>;

    /// Removes every image that nothing needs and what failed or interrupted bakes have left; returns the images.
    async fn prune(&self) -> Result<Vec<BakedImage>, ProviderError>;
}
