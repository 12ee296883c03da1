//! Who this node is: its key, its certificate, and the one use of its enrolment token.
//!
//! One file holds all three and is replaced as a whole, so there are two states on disk and none between:
//!
//! - **Not enrolled**: no file. The key lives in memory; a crash makes another, and the owner enrols that one with the
//!   same token, since nobody has used it.
//! - **Enrolled**: the file has key and certificate, and says for which certificate the token was used. It reaches the
//!   disk before the certificate is shown to anybody. The request that did it may be repeated, by an owner who lost the
//!   reply, and is answered as the first was. Any other request with the token is a second use: refused, logged and
//!   counted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use muster_api::{Bootstrap, EnrolOffer, EnrolRequest, RenewOffer, RenewRequest};
use muster_pki::{NodeKey, PkiError, certificate_validity, proof, token_matches};
use muster_stdx::{create_private_dir, write_atomic};
use muster_transport::{ServerCertificate, ServerTls, TlsError};
use muster_types::{ClusterName, NodeName, Redacted, Timestamp};
use serde::{Deserialize, Serialize};

use crate::AgentError;

const RECORD_VERSION: u32 = 1;

/// Why an enrolment or a renewal was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("this is not the enrolment token of this node")]
    TokenWrong,
    #[error("the enrolment token of this node has been used")]
    TokenUsed,
    #[error("this node is enrolled")]
    Enrolled,
    #[error("no renewal was begun for this certificate")]
    RenewalUnknown,
    #[error("the certificate is refused")]
    Certificate(#[source] PkiError),
    #[error("the certificate cannot be shown")]
    Tls(#[source] TlsError),
    #[error("a request for a certificate cannot be made")]
    Request(#[source] PkiError),
    #[error("the certificate cannot be stored on the node")]
    Store(#[source] io::Error),
}

/// What everybody may see of it, without waiting for the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    pub(crate) enrolled: bool,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) token_reuses: u32,
}

/// Its methods write to the disk: call them where that may take a while.
#[derive(Debug)]
pub(crate) struct Identity {
    bootstrap: Bootstrap,
    path: PathBuf,
    tls: ServerTls,
    state: Mutex<State>,
    summary: RwLock<Summary>,
}

#[derive(Debug)]
enum State {
    Fresh(NodeKey),
    Enrolled { record: Record, pending: Option<NodeKey> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    cluster: ClusterName,
    node: NodeName,
    token_sha256: String,
    key: Redacted<String>,
    certificate: String,
    /// The certificate that the token was used for; renewals do not change it.
    enrolled_with: String,
    token_reuses: u32,
}

impl Identity {
    pub(crate) fn open(state_dir: &Path, bootstrap: Bootstrap) -> Result<Self, AgentError> {
        create_private_dir(state_dir).map_err(|source| AgentError::StateDir { path: state_dir.to_owned(), source })?;
        let path = state_dir.join("identity.json");
        let record = read(&path)?.filter(|record| record.holds(&bootstrap));
        let (state, certificate, key) = if let Some(record) = record {
            let (certificate, key) = (record.certificate.clone(), record.key.clone());
            (State::Enrolled { record, pending: None }, certificate, key)
        } else {
            let key = NodeKey::generate().map_err(|source| AgentError::Key { source })?;
            let certificate = key.self_signed(&bootstrap.cluster, &bootstrap.node);
            let pem = key.pem();
            (State::Fresh(key), certificate.map_err(|source| AgentError::Key { source })?, pem)
        };
        let tls = ServerCertificate::new(&certificate, &key)
            .and_then(|certificate| ServerTls::new(&bootstrap.ca, certificate))
            .map_err(|source| AgentError::Tls { source })?;
        let identity = Self { bootstrap, path, tls, state: Mutex::new(state), summary: RwLock::default() };
        identity.summarise(&identity.lock());
        Ok(identity)
    }

    pub(crate) fn tls(&self) -> &ServerTls {
        &self.tls
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn offer(&self) -> Result<EnrolOffer, IdentityError> {
        let state = self.lock();
        let State::Fresh(key) = &*state else { return Err(IdentityError::Enrolled) };
        let node = self.bootstrap.node.clone();
        let proof = proof(&self.bootstrap.token_sha256, &self.tls.certificate_der());
        let csr = key.csr(&node).map_err(IdentityError::Request)?;
        Ok(EnrolOffer { node, csr, proof: proof.map_err(IdentityError::Request)? })
    }

    pub(crate) fn enrol(&self, request: &EnrolRequest) -> Result<(), IdentityError> {
        let mut state = self.lock();
        if !token_matches(request.token.expose(), &self.bootstrap.token_sha256) {
            tracing::warn!("an enrolment with a wrong token was refused");
            return Err(IdentityError::TokenWrong);
        }
        let key = match &mut *state {
            State::Fresh(key) => key,
            State::Enrolled { record, .. } if record.enrolled_with == request.certificate => return Ok(()),
            State::Enrolled { record, .. } => {
                self.count_reuse(record);
                self.summarise(&state);
                return Err(IdentityError::TokenUsed);
            }
        };
        let certificate = self.checked(key, &request.certificate)?;
        let record = Record {
            version: RECORD_VERSION,
            cluster: self.bootstrap.cluster.clone(),
            node: self.bootstrap.node.clone(),
            token_sha256: self.bootstrap.token_sha256.clone(),
            key: key.pem(),
            certificate: request.certificate.clone(),
            enrolled_with: request.certificate.clone(),
            token_reuses: 0,
        };
        self.store(&record).map_err(IdentityError::Store)?;
        *state = State::Enrolled { record, pending: None };
        self.tls.show(certificate);
        self.summarise(&state);
        tracing::info!("enrolled");
        Ok(())
    }

    /// The same request until it is answered: two owners at once get certificates for one key.
    pub(crate) fn renewal_offer(&self) -> Result<RenewOffer, IdentityError> {
        let mut state = self.lock();
        let State::Enrolled { pending, .. } = &mut *state else { return Err(IdentityError::RenewalUnknown) };
        let key = match pending {
            Some(key) => key,
            None => pending.insert(NodeKey::generate().map_err(IdentityError::Request)?),
        };
        Ok(RenewOffer { csr: key.csr(&self.bootstrap.node).map_err(IdentityError::Request)? })
    }

    pub(crate) fn renew(&self, request: &RenewRequest) -> Result<(), IdentityError> {
        let mut state = self.lock();
        let State::Enrolled { record, pending } = &mut *state else { return Err(IdentityError::RenewalUnknown) };
        if record.certificate == request.certificate {
            return Ok(());
        }
        let key = pending.as_ref().ok_or(IdentityError::RenewalUnknown)?;
        let certificate = self.checked(key, &request.certificate)?;
        let renewed = Record { key: key.pem(), certificate: request.certificate.clone(), ..record.clone() };
        self.store(&renewed).map_err(IdentityError::Store)?;
        *state = State::Enrolled { record: renewed, pending: None };
        self.tls.show(certificate);
        self.summarise(&state);
        tracing::info!("certificate renewed");
        Ok(())
    }

    /// Everything that can fail about a certificate, before anything is written.
    fn checked(&self, key: &NodeKey, certificate: &str) -> Result<ServerCertificate, IdentityError> {
        let Bootstrap { ca, cluster, node, .. } = &self.bootstrap;
        key.check_certificate(certificate, ca, cluster, node).map_err(IdentityError::Certificate)?;
        ServerCertificate::new(certificate, &key.pem()).map_err(IdentityError::Tls)
    }

    fn count_reuse(&self, record: &mut Record) {
        record.token_reuses = record.token_reuses.saturating_add(1);
        tracing::warn!(uses = record.token_reuses, "the enrolment token was used again: somebody else knows it");
        // The count in memory stands even if the disk is full; the refusal does anyway.
        if let Err(error) = self.store(record) {
            tracing::warn!(%error, "the second use of the token could not be written down");
        }
    }

    fn store(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        write_atomic(&self.path, &text, 0o600)
    }

    /// A panic while it was held cannot have left it half changed: it is assigned last.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summarise(&self, state: &State) {
        let summary = match state {
            State::Fresh(_) => Summary::default(),
            State::Enrolled { record, .. } => Summary {
                enrolled: true,
                not_after: certificate_validity(&self.tls.certificate_der()).map(|(_, not_after)| not_after),
                token_reuses: record.token_reuses,
            },
        };
        *self.summary.write().unwrap_or_else(PoisonError::into_inner) = summary;
    }
}

impl Record {
    /// Whether it is about the node that the bootstrap document speaks of. The document decides: a disk may have been
    /// copied from another node, and an owner may have started the node anew with another token or another CA.
    fn holds(&self, bootstrap: &Bootstrap) -> bool {
        let same = self.version == RECORD_VERSION
            && self.cluster == bootstrap.cluster
            && self.node == bootstrap.node
            && self.token_sha256 == bootstrap.token_sha256;
        let key = NodeKey::from_pem(&self.key);
        let checked = key.and_then(|key| {
            key.check_certificate(&self.certificate, &bootstrap.ca, &bootstrap.cluster, &bootstrap.node)
        });
        let holds = same && checked.is_ok();
        if !holds {
            tracing::warn!("the stored identity is not that of the bootstrap document: it waits to be enrolled anew");
        }
        holds
    }
}

fn read(path: &Path) -> Result<Option<Record>, AgentError> {
    match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| AgentError::IdentityDamaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AgentError::IdentityRead { path: path.to_owned(), source }),
    }
}
