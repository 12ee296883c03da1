//! Who may ask: on loopback the programs of this machine, elsewhere whoever shows the token.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use muster_types::Redacted;
use sha2::{Digest as _, Sha256};

/// Bytes of a new token.
const TOKEN_BYTES: usize = 32;
/// Shorter ones, which somebody wrote into the file, could be guessed.
const TOKEN_CHARS_MIN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token in {} cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the token in {} has less than {TOKEN_CHARS_MIN} characters", path.display())]
    Short { path: PathBuf },
}

/// What a client shows.
#[derive(Debug, Clone)]
pub struct Token {
    pub value: Redacted<String>,
    /// It was made just now, so nobody has seen it yet.
    pub is_new: bool,
}

impl Token {
    /// The token in a file, which is made if it is not there: random, and for its owner alone.
    pub fn open_or_create(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        match fs_err::read_to_string(path) {
            Ok(text) if text.trim().len() < TOKEN_CHARS_MIN => Err(TokenError::Short { path: path.to_owned() }),
            Ok(text) => Ok(Self { value: Redacted::new(text.trim().to_owned()), is_new: false }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; TOKEN_BYTES] = rand::random();
                let text = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
                muster_stdx::write_atomic(path, format!("{text}\n").as_bytes(), 0o600).map_err(failed)?;
                Ok(Self { value: Redacted::new(text), is_new: true })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// The rule that every request has to pass.
#[derive(Debug, Clone)]
pub enum Access {
    /// Whoever reaches the socket, but for pages of other sites in a browser of this machine.
    Local,
    Token(Token),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No token, or another one.
    Token,
    /// A page of another site asks.
    Site,
}

impl Access {
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        match self {
            Self::Local => {
                // A name that leads here and is not this machine's is how pages of other sites get past the browser.
                let host = text(headers.get(HOST)).map(host_name).unwrap_or_default();
                let from_here = text(headers.get(ORIGIN)).is_none_or(is_local_origin);
                if (host.is_empty() || is_local_name(host)) && from_here { Ok(()) } else { Err(Refused::Site) }
            }
            Self::Token(token) => {
                let shown = text(headers.get(AUTHORIZATION)).and_then(credential).ok_or(Refused::Token)?;
                // Digests of the same length: how long it takes says nothing of where they differ.
                let (shown, right) = (Sha256::digest(shown), Sha256::digest(token.value.expose()));
                let differ = shown.iter().zip(right.iter()).fold(0, |differ, (a, b)| differ | (a ^ b));
                if differ == 0 { Ok(()) } else { Err(Refused::Token) }
            }
        }
    }

    /// Which page may read the answer.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            // Browsers add no token of their own, so a page that has it was given it.
            Self::Token(_) => Some(HeaderValue::from_static("*")),
            Self::Local => {
                headers.get(ORIGIN).filter(|origin| text(Some(origin)).is_some_and(is_local_origin)).cloned()
            }
        }
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

/// `Bearer TOKEN`, or `Basic` with the token as the password: programs that know of no token read a `.netrc`.
fn credential(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = base64::prelude::BASE64_STANDARD.decode(rest.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// Without the port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_local_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_local_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, rest)| is_local_name(host_name(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn on_loopback_only_pages_of_this_machine_ask() {
        let check = |pairs: &[_]| Access::Local.check(&headers(pairs));
        assert_eq!(check(&[(HOST, "127.0.0.1:5000")]), Ok(()));
        assert_eq!(check(&[(HOST, "localhost:5000"), (ORIGIN, "http://localhost:8080")]), Ok(()));
        assert_eq!(check(&[(HOST, "[::1]:5000")]), Ok(()));
        assert_eq!(check(&[(HOST, "evil.example:5000")]), Err(Refused::Site));
        assert_eq!(check(&[(HOST, "127.0.0.1:5000"), (ORIGIN, "https://evil.example")]), Err(Refused::Site));
        assert_eq!(check(&[(HOST, "127.0.0.1:5000"), (ORIGIN, "null")]), Err(Refused::Site));
    }

    #[test]
    fn a_token_is_made_once_and_shown_as_bearer_or_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = Token::open_or_create(&path).unwrap();
        let again = Token::open_or_create(&path).unwrap();
        assert!(made.is_new && !again.is_new && made.value.expose() == again.value.expose());
        let access = Access::Token(again);
        let token = made.value.expose();
        let basic = base64::prelude::BASE64_STANDARD.encode(format!("muster:{token}"));
        let check = |value: &str| access.check(&headers(&[(AUTHORIZATION, value), (HOST, "occopus:5000")]));
        assert_eq!(check(&format!("Bearer {token}")), Ok(()));
        assert_eq!(check(&format!("Basic {basic}")), Ok(()));
        for wrong in ["Bearer x", "Basic x", "", token] {
            assert_eq!(check(wrong), Err(Refused::Token), "{wrong}");
        }
        assert_eq!(access.check(&HeaderMap::new()), Err(Refused::Token));
        fs_err::write(&path, "short\n").unwrap();
        assert!(matches!(Token::open_or_create(&path), Err(TokenError::Short { .. })));
    }
}
