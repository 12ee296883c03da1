//! What can go wrong with images, and what the user can do.

use std::io;

use muster_provider::{ImageId, ProviderError};

use crate::image::apt::AptError;
use crate::image::order::Trouble;
use crate::image::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BakeError {
    #[error("images are made as root")]
    NotRoot,
    #[error("mmdebstrap is missing, which makes the base")]
    NoMmdebstrap,
    #[error("`{0}` is no name of a package")]
    NoPackageName(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Apt(#[from] AptError),
    #[error("the folder of downloads cannot be used")]
    Cache(#[source] io::Error),
    #[error("the lock of the image cannot be taken")]
    Lock(#[source] io::Error),
    #[error("the process that makes the image has failed")]
    Process(#[source] io::Error),
    #[error("the work on the image was given up")]
    Ended,
    #[error("{}", .0.message)]
    Worker(Trouble),
    #[error("there is no image {0}")]
    NoSuchImage(ImageId),
    #[error("the image {id} is needed by {}", .by.join(", "))]
    Needed { id: ImageId, by: Vec<String> },
}

impl BakeError {
    fn hint(&self) -> String {
        let hint = match self {
            Self::NotRoot => "run the command with sudo",
            Self::NoMmdebstrap => "install it: apt-get install mmdebstrap",
            Self::NoPackageName(_) => "write names as `apt-get install` takes them: `munge`, or `munge=0.5.15-2`",
            Self::Store(error) => return error.hint(),
            Self::Apt(error) => error.hint(),
            Self::Cache(_) | Self::Lock(_) => "check that the folder can be written and its disk is not full",
            Self::Process(_) => "memory may be short: `dmesg | tail` tells; then try again",
            Self::Ended => "try again",
            Self::Worker(trouble) => &trouble.hint,
            Self::NoSuchImage(_) => "`muster image ls` shows those there are",
            Self::Needed { .. } => "remove these first: `muster down CLUSTER`, or the image on top of it",
        };
        hint.to_owned()
    }

    pub(crate) fn into_provider(self, operation: &'static str) -> ProviderError {
        let temporary = matches!(&self, Self::Worker(trouble) if trouble.temporary)
            || matches!(&self, Self::Store(StoreError::Busy(_)));
        let hint = self.hint();
        let message = self.to_string();
        let error = if temporary {
            ProviderError::temporary(operation, message)
        } else {
            ProviderError::permanent(operation, message)
        };
        let error = error.hint(hint);
        // The message holds the outermost; below it may be the reason.
        match std::error::Error::source(&self) {
            Some(source) => error.source(muster_stdx::chain(source)),
            None => error,
        }
    }
}
