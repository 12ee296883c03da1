//! What can go wrong with keys and certificates.

use std::io;
use std::path::PathBuf;

use muster_types::{ClusterName, NodeName};

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("the folder of the CA, {}, cannot be made private", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the CA in {} cannot be locked", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another process has held the lock {} for {seconds} seconds", path.display())]
    Locked { path: PathBuf, seconds: u64 },
    #[error("{what} cannot be read")]
    Read { what: &'static str, source: io::Error },
    #[error("{what} cannot be stored")]
    Store { what: &'static str, source: io::Error },
    #[error("{} holds no key that can be used: {detail}", path.display())]
    KeyFile { path: PathBuf, detail: String },
    #[error("{} holds no certificate that can be used: {detail}", path.display())]
    CertificateFile { path: PathBuf, detail: String },
    #[error("{} holds no secrets that can be used: {detail}", path.display())]
    SecretsFile { path: PathBuf, detail: String },
    #[error("the CA certificate {} has no key beside it", path.display())]
    KeyMissing { path: PathBuf },
    #[error("the key {} does not belong to the CA certificate beside it", path.display())]
    KeyMismatch { path: PathBuf },
    #[error("the CA in {} belongs to the cluster {found}, not {expected}", path.display())]
    OtherCluster { path: PathBuf, expected: ClusterName, found: String },
    #[error("the CA in {} has expired", path.display())]
    CaExpired { path: PathBuf },
    #[error("no key could be made")]
    Generate { source: rcgen::Error },
    #[error("the operating system gave no random bytes")]
    Random,
    #[error("the key of the node cannot be used")]
    NodeKey { source: rcgen::Error },
    #[error("no certificate could be made for {subject}")]
    Sign { subject: String, source: rcgen::Error },
    #[error("the certificate request of {node} is refused: {detail}")]
    Request { node: NodeName, detail: String },
    #[error("the certificate for {node} is refused: {detail}")]
    Certificate { node: NodeName, detail: String },
    #[error("the hash of the enrolment token is not 64 hexadecimal digits")]
    TokenHash,
}

impl PkiError {
    /// What the user can do; empty when there is nothing to say.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Folder { .. } | Self::Read { .. } | Self::Store { .. } | Self::Lock { .. } => {
                "check that the folder belongs to you and that its disk has room"
            }
            Self::Locked { .. } => "look for a muster command that hangs, end it, and try again",
            Self::KeyFile { .. }
            | Self::KeyMissing { .. }
            | Self::KeyMismatch { .. }
            | Self::CertificateFile { .. } => {
                "put the whole folder back from a backup; without the CA's key the nodes of the cluster can only be replaced"
            }
            Self::SecretsFile { .. } => {
                "put it back from a backup; without it the software of the cluster's nodes does not know each other: make \
                 the cluster anew"
            }
            Self::OtherCluster { .. } => "the folder was moved or copied: every cluster has a CA of its own",
            Self::CaExpired { .. } => "make the cluster anew; check the clock of this machine first",
            Self::Request { .. } | Self::Certificate { .. } | Self::NodeKey { .. } => {
                "the node may be broken or an impostor: replace it"
            }
            Self::TokenHash => "the bootstrap document of the node is damaged: make the node anew",
            Self::Generate { .. } | Self::Random | Self::Sign { .. } => "",
        }
    }
}
