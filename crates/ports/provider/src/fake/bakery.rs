//! The fake's images: names in a set.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use muster_types::{NodeName, Timestamp};

use super::fault::Operation;
use super::provider::{About, FakeProvider};
use crate::{BakeProgress, BakeRequest, BakedImage, Bakery, ImageId, ProviderError};

/// An image, and what is in it.
pub(super) type Pair = (Option<String>, BTreeSet<String>);

/// What the fake's images are like, once it has any.
#[derive(Debug, Default)]
pub(super) struct Images {
    baked: BTreeSet<Pair>,
}

impl Images {
    pub(super) fn holds(&self, image: Option<&String>, packages: &BTreeSet<String>) -> bool {
        self.baked.contains(&(image.cloned(), packages.clone()))
    }
}

/// Bakes through one handle.
pub(super) struct FakeBakery(pub(super) FakeProvider);

#[async_trait]
impl Bakery for FakeBakery {
    async fn is_baked(&self, request: &BakeRequest) -> Result<bool, ProviderError> {
        let state = self.0.cloud().lock();
        Ok(state.images.as_ref().is_some_and(|images| images.holds(request.image.as_ref(), &request.packages)))
    }

    async fn bake(
        &self,
        request: &BakeRequest,
        progress: &(dyn Fn(BakeProgress) + Send + Sync),
    ) -> Result<Option<BakedImage>, ProviderError> {
        let pair: Pair = (request.image.clone(), request.packages.clone());
        if !self.is_baked(request).await? {
            progress(BakeProgress { step: "unpacking 1 of 2".to_owned(), detail: "a package".to_owned() });
        }
        let name = request.image.as_ref().and_then(|image| NodeName::new(image.clone()).ok());
        self.0
            .call(Operation::Bake, About { name, ..About::default() }, |state, _| {
                state.images.get_or_insert_default().baked.insert(pair.clone());
                Ok(Some(baked(&pair)))
            })
            .await
    }

    async fn list(&self) -> Result<Vec<BakedImage>, ProviderError> {
        let state = self.0.cloud().lock();
        Ok(state.images.iter().flat_map(|images| images.baked.iter().map(baked)).collect())
    }

    async fn remove(&self, id: &ImageId) -> Result<(), ProviderError> {
        let mut state = self.0.cloud().lock();
        if let Some(images) = &mut state.images {
            images.baked.retain(|pair| baked(pair).id != *id);
        }
        Ok(())
    }

    /// Nothing is ever left over.
    async fn prune(&self) -> Result<Vec<BakedImage>, ProviderError> {
        Ok(Vec::new())
    }
}

fn baked((image, packages): &Pair) -> BakedImage {
    let name = image.clone().unwrap_or_default();
    let words: Vec<&str> = packages.iter().map(String::as_str).collect();
    BakedImage {
        id: ImageId(format!("{name}+{}", words.join("+"))),
        image: name,
        packages: packages.clone(),
        bytes: 0,
        built_at: Timestamp::UNIX_EPOCH,
        used_by: Vec::new(),
    }
}

impl FakeProvider {
    /// `None` until the cloud was told that its images are baked.
    pub(super) fn baker(&self) -> Option<Arc<dyn Bakery>> {
        let bakes = self.cloud().lock().images.is_some();
        bakes.then(|| Arc::new(FakeBakery(self.clone())) as Arc<dyn Bakery>)
    }
}
