//! The cluster's CA, kept in a folder of its owner.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use muster_types::{ClusterName, NodeName, Redacted};
use rcgen::{Issuer, KeyPair, PublicKeyData as _, SubjectPublicKeyInfo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use crate::certificate::{self, CA_DAYS, NODE_DAYS, OPERATOR_DAYS};
use crate::node::one_certificate;
use crate::peer::{Peer, is_operator_name};
use crate::{PkiError, Validity, certificate_validity, files, peer_identity};

/// An operator certificate with less than this left is made anew.
const OPERATOR_RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A request with a P-256 key takes a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Signs who may give orders and who is a node of the cluster.
pub struct Authority {
    folder: PathBuf,
    cluster: ClusterName,
    ca_pem: String,
    ca_der: CertificateDer<'static>,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: Redacted<String>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the CA in a folder, or makes it. Reads and writes files, and waits while another process does the same.
    ///
    /// The key is stored before the certificate. A crash between the two leaves a key that nobody has trusted yet; it is
    /// taken up by the next call. The same mends a certificate that was lost: whoever trusts the old one, with the same
    /// name and key, trusts what is signed under the new one.
    pub fn open_or_create(folder: &Path, cluster: &ClusterName) -> Result<Self, PkiError> {
        files::private_folder(folder)?;
        let _lock = files::lock(folder)?;
        let (key_path, certificate_path) = (folder.join("ca.key"), folder.join("ca.crt"));
        let key = files::read(&key_path, "the key of the CA")?;
        let certificate = files::read(&certificate_path, "the certificate of the CA")?;
        let pair = match (&key, &certificate) {
            (Some(pem), _) => KeyPair::from_pem(pem)
                .map_err(|error| PkiError::KeyFile { path: key_path.clone(), detail: error.to_string() })?,
            (None, None) => {
                let pair = KeyPair::generate().map_err(|source| PkiError::Generate { source })?;
                files::store(&key_path, "the key of the CA", &pair.serialize_pem())?;
                pair
            }
            (None, Some(_)) => return Err(PkiError::KeyMissing { path: certificate_path }),
        };
        let ca_pem = if let Some(pem) = certificate {
            pem
        } else {
            let params = certificate::ca(cluster, Validity::days(Timestamp::now(), CA_DAYS))?;
            let signed = params.self_signed(&pair);
            let pem = signed.map_err(|source| PkiError::Sign { subject: "the CA".to_owned(), source })?.pem();
            files::store(&certificate_path, "the certificate of the CA", &pem)?;
            pem
        };
        Self::assemble(folder, cluster, ca_pem, pair)
    }

    fn assemble(folder: &Path, cluster: &ClusterName, ca_pem: String, pair: KeyPair) -> Result<Self, PkiError> {
        let path = folder.join("ca.crt");
        let damaged = |detail: &str| PkiError::CertificateFile { path: path.clone(), detail: detail.to_owned() };
        let ca_der = one_certificate(&ca_pem).ok_or_else(|| damaged("it is not one certificate in PEM"))?;
        let (_, parsed) = X509Certificate::from_der(&ca_der).map_err(|_| damaged("it cannot be read"))?;
        if !parsed.is_ca() {
            return Err(damaged("it is not a CA's"));
        }
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(PkiError::KeyMismatch { path: folder.join("ca.key") });
        }
        let organization = parsed.subject().iter_organization().next().and_then(|found| found.as_str().ok());
        let found = organization.unwrap_or_default();
        if found != cluster.as_str() {
            return Err(PkiError::OtherCluster {
                path: folder.to_owned(),
                expected: cluster.clone(),
                found: found.to_owned(),
            });
        }
        let (_, not_after) = certificate_validity(&ca_der).ok_or_else(|| damaged("its times make no sense"))?;
        if not_after <= Timestamp::now() {
            return Err(PkiError::CaExpired { path: folder.to_owned() });
        }
        let issuer = Issuer::from_ca_cert_der(&ca_der, pair).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { folder: folder.to_owned(), cluster: cluster.clone(), ca_pem, ca_der, not_after, issuer })
    }

    /// What nodes trust: the bootstrap document carries it.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The certificate of whoever runs this program. Kept in the folder; made anew when it is near its end, does not
    /// belong to this CA, or a crash left it without its key.
    pub fn operator(&self) -> Result<Identity, PkiError> {
        self.operator_at(&operator_name(), Timestamp::now())
    }

    /// `operator` with the user's name and the time given.
    pub fn operator_at(&self, name: &str, now: Timestamp) -> Result<Identity, PkiError> {
        let _lock = files::lock(&self.folder)?;
        let (key_path, certificate_path) = (self.folder.join("operator.key"), self.folder.join("operator.crt"));
        let key = files::read(&key_path, "the key of the operator")?;
        let certificate = files::read(&certificate_path, "the certificate of the operator")?;
        if let (Some(key), Some(certificate)) = (key, certificate)
            && self.operator_is_good(&key, &certificate, now)
        {
            return Ok(Identity { certificate_pem: certificate, key_pem: Redacted::new(key) });
        }
        let pair = KeyPair::generate().map_err(|source| PkiError::Generate { source })?;
        let peer = Peer::Operator { cluster: self.cluster.clone(), name: name.to_owned() };
        let certificate = self.sign(&peer, Validity::days(now, OPERATOR_DAYS), &pair)?;
        // A crash between the two leaves a key without its certificate, which the check above finds.
        let key = pair.serialize_pem();
        files::store(&key_path, "the key of the operator", &key)?;
        files::store(&certificate_path, "the certificate of the operator", &certificate)?;
        Ok(Identity { certificate_pem: certificate, key_pem: Redacted::new(key) })
    }

    /// Signs the key of a node's request for 30 days. Everything else that the request asks for is ignored.
    pub fn sign_node(&self, request_pem: &str, node: &NodeName) -> Result<String, PkiError> {
        self.sign_node_for(request_pem, node, Validity::days(Timestamp::now(), NODE_DAYS))
    }

    /// `sign_node` with the times given; they end with the CA's own at the latest.
    pub fn sign_node_for(&self, request_pem: &str, node: &NodeName, validity: Validity) -> Result<String, PkiError> {
        let refused = |detail: &str| PkiError::Request { node: node.clone(), detail: detail.to_owned() };
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(refused("it is too long"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(request_pem.as_bytes())
            .map_err(|_| refused("it is not a request in PEM"))?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| refused("it cannot be read"))?;
        request.verify_signature().map_err(|_| refused("its signature is not by the key it names"))?;
        let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
            .map_err(|_| refused("its key is of an unknown kind"))?;
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(refused("its key is not an ECDSA key on P-256"));
        }
        let peer = Peer::Node { cluster: self.cluster.clone(), name: node.clone() };
        self.sign(&peer, validity, &key)
    }

    fn sign(&self, peer: &Peer, validity: Validity, key: &impl rcgen::PublicKeyData) -> Result<String, PkiError> {
        let params = certificate::leaf(peer, validity.until(self.not_after))?;
        let signed = params.signed_by(key, &self.issuer);
        Ok(signed.map_err(|source| PkiError::Sign { subject: peer.uri(), source })?.pem())
    }

    fn operator_is_good(&self, key: &str, certificate: &str, now: Timestamp) -> bool {
        let (Ok(pair), Some(der)) = (KeyPair::from_pem(key), one_certificate(certificate)) else { return false };
        let Ok((_, parsed)) = X509Certificate::from_der(&der) else { return false };
        let Ok((_, ca)) = X509Certificate::from_der(&self.ca_der) else { return false };
        let ours = matches!(peer_identity(&der), Some(Peer::Operator { cluster, .. }) if cluster == self.cluster);
        // The CA may itself be near its end; then there is nothing better to be had.
        let wanted_until = now.saturating_add(OPERATOR_RENEWED_BEFORE).unwrap_or(now).min(self.not_after);
        let lasts = certificate_validity(&der).is_some_and(|(from, until)| from <= now && until >= wanted_until);
        ours && lasts
            && parsed.public_key().raw == pair.subject_public_key_info()
            && parsed.verify_signature(Some(ca.public_key())).is_ok()
    }
}

/// The login name, for logs on the nodes; it gives no rights.
fn operator_name() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| is_operator_name(name)).unwrap_or_else(|| "operator".to_owned())
}
