//! The node's side: a key of its own, a request for a certificate, and the check of what comes back.

use muster_types::{ClusterName, NodeName, Redacted};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::peer::{Peer, identity_of};
use crate::{PkiError, Validity, certificate, certificate_validity};

/// A key that never leaves the machine it was made on.
#[derive(Debug)]
pub struct NodeKey {
    pair: KeyPair,
}

impl NodeKey {
    /// A fresh ECDSA key on P-256.
    pub fn generate() -> Result<Self, PkiError> {
        Ok(Self { pair: KeyPair::generate().map_err(|source| PkiError::Generate { source })? })
    }

    pub fn from_pem(pem: &Redacted<String>) -> Result<Self, PkiError> {
        Ok(Self { pair: KeyPair::from_pem(pem.expose()).map_err(|source| PkiError::NodeKey { source })? })
    }

    /// PKCS #8.
    pub fn pem(&self) -> Redacted<String> {
        Redacted::new(self.pair.serialize_pem())
    }

    /// A request for a certificate, PEM. It asks for nothing: who signs it knows whom he asked.
    pub fn csr(&self, node: &NodeName) -> Result<String, PkiError> {
        let sign_error = |source| PkiError::Sign { subject: node.to_string(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, node.as_str());
        params.serialize_request(&self.pair).and_then(|request| request.pem()).map_err(sign_error)
    }

    /// What the node shows until it is enrolled, PEM.
    pub fn self_signed(&self, cluster: &ClusterName, node: &NodeName) -> Result<String, PkiError> {
        let params = certificate::self_signed(node.as_str(), cluster)?;
        let signed = params.self_signed(&self.pair);
        Ok(signed.map_err(|source| PkiError::Sign { subject: node.to_string(), source })?.pem())
    }

    /// Whether a certificate is for this key, by this CA, for this node. Its times are not judged: a machine that has
    /// just started may have the wrong one, and it is the others who decide whether they take it.
    pub fn check_certificate(
        &self,
        certificate_pem: &str,
        ca_pem: &str,
        cluster: &ClusterName,
        node: &NodeName,
    ) -> Result<Validity, PkiError> {
        let refused = |detail: &str| PkiError::Certificate { node: node.clone(), detail: detail.to_owned() };
        let der = one_certificate(certificate_pem).ok_or_else(|| refused("it is not one certificate in PEM"))?;
        let ca_der = one_certificate(ca_pem).ok_or_else(|| refused("the CA is not one certificate in PEM"))?;
        let (_, found) = X509Certificate::from_der(&der).map_err(|_| refused("it cannot be read"))?;
        let (_, ca) = X509Certificate::from_der(&ca_der).map_err(|_| refused("the CA cannot be read"))?;
        if found.issuer().as_raw() != ca.subject().as_raw() || found.verify_signature(Some(ca.public_key())).is_err() {
            return Err(refused("it was not signed by the cluster's CA"));
        }
        if found.public_key().raw != self.pair.subject_public_key_info() {
            return Err(refused("it is for another key"));
        }
        let serves = found.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.server_auth);
        let identity = identity_of(&found).filter(|_| serves && !found.is_ca());
        if identity != Some(Peer::Node { cluster: cluster.clone(), name: node.clone() }) {
            return Err(refused("it does not name this node"));
        }
        let (not_before, not_after) = certificate_validity(&der).ok_or_else(|| refused("its times make no sense"))?;
        Ok(Validity { not_before, not_after })
    }
}

/// The certificate in a PEM text that holds just one.
pub(crate) fn one_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    let first = found.next()?.ok()?;
    found.next().is_none().then_some(first)
}
