//! The owner's check that the key in a handshake is the key of the machine that got the bootstrap document.

use aws_lc_rs::{constant_time, digest, hmac};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// Whether `proof` is HMAC-SHA-256 over the certificate, keyed with the SHA-256 of the token, as `EnrolOffer` says.
pub(crate) fn proves(token: &str, certificate_der: &[u8], proof: &str) -> bool {
    let key = digest::digest(&digest::SHA256, token.as_bytes());
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), certificate_der);
    let offered = unhex(proof);
    offered.is_some_and(|offered| constant_time::verify_slices_are_equal(expected.as_ref(), &offered).is_ok())
}

/// Whether a certificate request is for the key of a certificate.
pub(crate) fn same_key(request_pem: &str, certificate_der: &[u8]) -> bool {
    let Ok(request_der) = CertificateSigningRequestDer::from_pem_slice(request_pem.as_bytes()) else { return false };
    let Ok((_, request)) = X509CertificationRequest::from_der(&request_der) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate_der) else { return false };
    request.certification_request_info.subject_pki.raw == certificate.public_key().raw
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..32).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_proof_is_taken() {
        // printf certificate | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf abc | sha256sum | cut -c-64)
        let proof = "40c155a7bc2ef8078a9e69b7a986729f71433e1f19a9dc59764bb375b465f559";
        assert!(proves("abc", b"certificate", proof));
        assert!(!proves("abd", b"certificate", proof));
        assert!(!proves("abc", b"another", proof));
        for bad in ["", &proof[1..], &proof.replace('4', "g"), &"é".repeat(32)] {
            assert!(!proves("abc", b"certificate", bad), "{bad}");
        }
    }
}
