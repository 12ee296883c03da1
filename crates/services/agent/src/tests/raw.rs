//! A client that trusts every server and sends what it is told to, and a server that answers what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use muster_pki::Identity;
use muster_stdx::{OnError, Supervisor};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(super) struct Raw {
    sender: SendRequest<Full<Bytes>>,
    _supervisor: Supervisor,
}

pub(super) fn tls(identity: Option<&Identity>) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr, identity: Option<&Identity>) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let stream = tls(identity).connect(ServerName::try_from("any").unwrap(), tcp).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let supervisor = Supervisor::new();
        supervisor.spawn("raw", OnError::Log, connection);
        Self { sender, _supervisor: supervisor }
    }

    /// Status and document of the answer; an error when there is none.
    pub(super) async fn ask<T: Serialize + ?Sized>(
        &mut self,
        method: &Method,
        path: &str,
        body: &T,
    ) -> Result<(StatusCode, Value), hyper::Error> {
        self.ask_bytes(method, path, serde_json::to_vec(body).unwrap().into()).await
    }

    pub(super) async fn ask_bytes(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Value), hyper::Error> {
        self.sender.ready().await?;
        let request = Request::builder().method(method).uri(path).header(header::HOST, "any").body(Full::new(body));
        let response = self.sender.send_request(request.unwrap()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// The body of an answer that is a stream.
    pub(super) async fn stream<T: Serialize>(&mut self, method: &Method, path: &str, body: &T) -> Incoming {
        self.sender.ready().await.unwrap();
        let body = Full::new(serde_json::to_vec(body).unwrap().into());
        let request = Request::builder().method(method).uri(path).header(header::HOST, "any").body(body);
        let response = self.sender.send_request(request.unwrap()).await.unwrap();
        assert!(response.status().is_success());
        response.into_body()
    }

    pub(super) async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.ask_bytes(&Method::GET, path, Bytes::new()).await.unwrap()
    }

    pub(super) async fn post<T: Serialize>(&mut self, path: &str, body: &T) -> (StatusCode, Value) {
        self.ask(&Method::POST, path, body).await.unwrap()
    }
}
