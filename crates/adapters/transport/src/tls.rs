//! TLS as the owner speaks it: version 1.3, the cluster's CA and no other, and the node's name in its certificate.

use std::sync::Arc;
use std::time::Duration;

use muster_types::{NodeName, Redacted};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::TlsError;
use crate::client::Credentials;

/// A node that slept for longer is replaced rather than renewed.
const EXPIRED_FOR_MAX: Duration = Duration::from_hours(24 * 365);
/// Makes a name that rustls takes from every node name, also from one of digits only. It is not sent.
const NAME_SUFFIX: &str = ".node";

/// Which certificates of nodes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Signed by the CA, for this node, and in its time.
    Verified,
    /// That, or one of its own making, which then has to be proven.
    Enrolling,
    /// Signed by the CA, for this node, and not expired for too long. A node's certificate gives no orders; taking an
    /// old one risks that who stole the key of a node goes on playing it, which he could while it was valid. Refusing
    /// it would mean that a laptop which was closed for a month has lost its cluster.
    Renewing,
}

/// The node shows a certificate of its own making.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is of the node's own making")]
pub(crate) struct SelfSigned;

/// One configuration for each kind of trust; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    verified: Arc<ClientConfig>,
    enrolling: Arc<ClientConfig>,
    renewing: Arc<ClientConfig>,
}

impl ClientTls {
    pub(crate) fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(&credentials.ca_pem)?);
        let chain = certificates("the operator's certificate", &credentials.certificate_pem)?;
        let make = |trust| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = NodeVerifier {
                roots: Arc::clone(&roots),
                algorithms: provider.signature_verification_algorithms,
                trust,
            };
            let key = private_key("the operator's key", &credentials.key_pem)?;
            let tls_error = |source| TlsError::Tls { what: "the operator's certificate with its key", source };
            let mut config = builder(provider)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_auth_cert(chain.clone(), key)
                .map_err(tls_error)?;
            config.enable_sni = false;
            // A resumed session would skip the look at the certificates; a whole handshake takes a millisecond.
            config.resumption = Resumption::disabled();
            Ok(Arc::new(config))
        };
        let (verified, enrolling) = (make(Trust::Verified)?, make(Trust::Enrolling)?);
        Ok(Self { verified, enrolling, renewing: make(Trust::Renewing)? })
    }

    pub(crate) fn config(&self, trust: Trust) -> Arc<ClientConfig> {
        Arc::clone(match trust {
            Trust::Verified => &self.verified,
            Trust::Enrolling => &self.enrolling,
            Trust::Renewing => &self.renewing,
        })
    }
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Tls { what: "TLS 1.3", source })
}

/// What a connection to this node is opened with.
pub(crate) fn server_name(node: &NodeName) -> ServerName<'static> {
    ServerName::try_from(format!("{node}{NAME_SUFFIX}")).expect("letters, digits and inner dashes make a DNS name")
}

pub(crate) fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the cluster's CA", ca_pem)? {
        roots.add(certificate).map_err(|source| TlsError::Tls { what: "the cluster's CA", source })?;
    }
    Ok(roots)
}

pub(crate) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() { Err(TlsError::Empty { what }) } else { Ok(found) }
}

pub(crate) fn private_key(what: &'static str, pem: &Redacted<String>) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|source| TlsError::Pem { what, source })
}

/// Whether a certificate names itself as its issuer.
pub(crate) fn is_self_signed(certificate: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, found)| found.issuer().as_raw() == found.subject().as_raw())
}

#[derive(Debug)]
struct NodeVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    trust: Trust,
}

impl NodeVerifier {
    fn verify_chain(
        &self,
        certificate: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let verify = |time| {
            verify_server_cert_signed_by_trust_anchor(
                certificate,
                &self.roots,
                intermediates,
                time,
                self.algorithms.all,
            )
        };
        match verify(now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }))
                if self.trust == Trust::Renewing
                    && now.as_secs() <= not_after.as_secs().saturating_add(EXPIRED_FOR_MAX.as_secs()) =>
            {
                verify(not_after)
            }
            result => result,
        }
    }
}

/// Whether the certificate names the node.
fn names(certificate: &[u8], node: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return false };
    let is_node = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(node));
    alternatives.value.general_names.iter().any(is_node)
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // First of all: the times of such a certificate mean nothing, so an error about them would mislead.
        if is_self_signed(end_entity) {
            return match self.trust {
                Trust::Enrolling => Ok(ServerCertVerified::assertion()),
                Trust::Verified | Trust::Renewing => {
                    Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(SelfSigned)))))
                }
            };
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        self.verify_chain(&certificate, intermediates, now)?;
        let wanted = server_name.to_str();
        let node = wanted.strip_suffix(NAME_SUFFIX).unwrap_or(&wanted);
        if !names(end_entity, node) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_name_makes_a_server_name() {
        for name in ["a", "10", "0-1", "Head-1", &"x".repeat(63), "a--b"] {
            let node = NodeName::new(name).unwrap();
            assert!(server_name(&node).to_str().eq_ignore_ascii_case(&format!("{name}{NAME_SUFFIX}")), "{name}");
        }
    }
}
