//! The one-time token: the owner keeps it, the node knows its hash.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use muster_types::Redacted;

use crate::PkiError;

const TOKEN_BYTES: usize = 32;
const HASH_BYTES: usize = 32;

/// 256 random bits as base64url, 43 characters.
pub fn new_token() -> Result<Redacted<String>, PkiError> {
    let mut bytes = [0; TOKEN_BYTES];
    rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(Redacted::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// What the bootstrap document of the node carries: SHA-256 over the token's characters, lower-case hex.
pub fn token_hash(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// Whether this is the token with that hash. Takes the same time for every wrong token.
pub fn token_matches(token: &str, token_sha256: &str) -> bool {
    same(token_hash(token).as_bytes(), token_sha256.as_bytes())
}

/// Binds the key seen in a handshake to the bootstrap document: HMAC-SHA-256 with the 32 bytes of `token_sha256` as
/// key, over the DER of the certificate that the node shows; lower-case hex.
pub fn proof(token_sha256: &str, certificate_der: &[u8]) -> Result<String, PkiError> {
    let key = unhex(token_sha256).ok_or(PkiError::TokenHash)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    Ok(hex(hmac::sign(&key, certificate_der).as_ref()))
}

/// Whether the proof was made by somebody who knows the token's hash, over this certificate.
pub fn verify_proof(token_sha256: &str, certificate_der: &[u8], offered: &str) -> bool {
    proof(token_sha256, certificate_der).is_ok_and(|expected| same(expected.as_bytes(), offered.as_bytes()))
}

fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

fn unhex(text: &str) -> Option<[u8; HASH_BYTES]> {
    if text.len() != 2 * HASH_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; HASH_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256_of_the_text() {
        // echo -n abc | sha256sum
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(token_hash("abc"), hash);
        assert!(token_matches("abc", hash));
        assert!(!token_matches("abd", hash));
        assert!(!token_matches("abc", ""));
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (a, b) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!(a.expose().len(), 43);
        assert_ne!(a.expose(), b.expose());
    }

    #[test]
    fn a_proof_is_an_hmac_with_the_hash_as_key() {
        // printf certificate | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf abc | sha256sum | cut -c-64)
        let hash = token_hash("abc");
        let expected = "40c155a7bc2ef8078a9e69b7a986729f71433e1f19a9dc59764bb375b465f559";
        assert_eq!(proof(&hash, b"certificate").unwrap(), expected);
        assert!(verify_proof(&hash, b"certificate", expected));
        assert!(!verify_proof(&hash, b"another", expected));
        assert!(!verify_proof(&token_hash("abd"), b"certificate", expected));
        assert!(!verify_proof(&hash, b"certificate", &expected[1..]));
    }

    #[test]
    fn a_damaged_hash_proves_nothing() {
        for bad in ["", "00", "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &"é".repeat(32)] {
            assert!(proof(bad, b"x").is_err(), "{bad}");
            assert!(!verify_proof(bad, b"x", ""), "{bad}");
        }
    }
}
