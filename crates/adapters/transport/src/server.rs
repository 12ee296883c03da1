//! TLS as the agent speaks it: version 1.3, a client certificate by the cluster's CA, and a certificate of its own that
//! can be changed while connections are open.

use std::sync::{Arc, PoisonError, RwLock};

use muster_types::Redacted;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio_rustls::TlsAcceptor;

use crate::TlsError;
use crate::tls::{certificates, private_key, roots};

/// The agent's end of TLS. Clones share the certificate that is shown.
#[derive(Debug, Clone)]
pub struct ServerTls {
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

/// A certificate and its key that fit each other.
#[derive(Debug)]
pub struct ServerCertificate(Arc<CertifiedKey>);

#[derive(Debug)]
struct Shown {
    current: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    /// The value is replaced as a whole, so a panic elsewhere cannot have left it half done.
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ServerCertificate {
    pub fn new(certificate_pem: &str, key_pem: &Redacted<String>) -> Result<Self, TlsError> {
        let chain = certificates("the node's certificate", certificate_pem)?;
        let key = private_key("the node's key", key_pem)?;
        let what = "the node's certificate with its key";
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        Ok(Self(Arc::new(certified.map_err(|source| TlsError::Tls { what, source })?)))
    }
}

impl ServerTls {
    pub fn new(ca_pem: &str, certificate: ServerCertificate) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), Arc::clone(&provider))
            .build()
            .map_err(|source| TlsError::Verifier { source })?;
        let shown = Arc::new(Shown { current: RwLock::new(certificate.0) });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|source| TlsError::Tls { what: "TLS 1.3", source })?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        // No resumption: every connection shows its certificate, and none is remembered past its end.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { shown, config: Arc::new(config) })
    }

    /// Shows another certificate from the next handshake on. Cannot fail, so that what was written down before takes
    /// effect.
    pub fn show(&self, certificate: ServerCertificate) {
        *self.shown.current.write().unwrap_or_else(PoisonError::into_inner) = certificate.0;
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The certificate that is shown now, DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        self.shown.current().cert.first().map(|certificate| certificate.to_vec()).unwrap_or_default()
    }
}
