//! The files that an agent keeps: its tags and its keys, as indented JSON that only its owner reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_gossip::wire::keyring::{Key, KeyError, Keyring};

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("stat {}: no such file or directory", .0.display())]
    Missing(PathBuf),
    #[error("Failed to read {}: {text}", path.display())]
    Read { path: PathBuf, text: String },
    #[error("Failed to write {}: {text}", path.display())]
    Write { path: PathBuf, text: String },
    #[error("Keyring file contains no keys")]
    NoKeys,
    #[error("{0}")]
    Key(KeyError),
    #[error("{0}")]
    Base64(Base64Error),
}

/// In Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {0}")]
pub struct Base64Error(usize);

pub(crate) fn decode_key(text: &str) -> Result<Vec<u8>, Base64Error> {
    STANDARD.decode(text).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => {
            Base64Error(at)
        }
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => Base64Error(text.len() / 4 * 4),
    })
}

pub(crate) fn key(text: &str) -> Result<Key, FilesError> {
    Key::new(&decode_key(text).map_err(FilesError::Base64)?).map_err(FilesError::Key)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, FilesError> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FilesError::Read { path: path.to_owned(), text: error.to_string() }),
    };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|error| FilesError::Read { path: path.to_owned(), text: error.to_string() })
}

fn write<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), FilesError> {
    let failed = |text: String| FilesError::Write { path: path.to_owned(), text };
    let mut text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
    text.push('\n');
    muster_stdx::write_atomic(path, text.as_bytes(), 0o600).map_err(|error| failed(error.to_string()))
}

/// A file that is not there holds no tags.
pub(crate) fn read_tags(path: &Path) -> Result<BTreeMap<String, String>, FilesError> {
    Ok(read(path)?.unwrap_or_default())
}

pub(crate) fn write_tags(path: &Path, tags: &BTreeMap<String, String>) -> Result<(), FilesError> {
    write(path, tags)
}

/// The primary key comes first.
pub(crate) fn read_keyring(path: &Path) -> Result<Keyring, FilesError> {
    let texts: Vec<String> = read(path)?.ok_or_else(|| FilesError::Missing(path.to_owned()))?;
    let keys: Vec<Key> = texts.iter().map(|text| key(text)).collect::<Result<_, _>>()?;
    Keyring::new(keys)
        .map_err(|error| if error == KeyError::Empty { FilesError::NoKeys } else { FilesError::Key(error) })
}

pub(crate) fn write_keyring(path: &Path, keyring: &Keyring) -> Result<(), FilesError> {
    let keys: Vec<String> = keyring.keys().iter().map(|key| STANDARD.encode(key.expose())).collect();
    write(path, &keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tags_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        assert!(read_keyring(&path).unwrap_err().to_string().ends_with("no such file or directory"));
        fs_err::write(&path, "[]").unwrap();
        assert_eq!(read_keyring(&path).unwrap_err().to_string(), "Keyring file contains no keys");
        let ring = Keyring::new([key("cGFzc3dvcmQxMjM0NTY3OA==").unwrap(), Key::new(&[1; 32]).unwrap()]).unwrap();
        write_keyring(&path, &ring).unwrap();
        assert_eq!(read_keyring(&path).unwrap().primary().expose(), b"password12345678");
        let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let path = folder.path().join("tags");
        assert!(read_tags(&path).unwrap().is_empty());
        write_tags(&path, &tags).unwrap();
        assert_eq!(read_tags(&path).unwrap(), tags);
    }

    #[test]
    fn mistakes_in_keys_are_told_as_go_does() {
        assert_eq!(key("foo").unwrap_err().to_string(), "illegal base64 data at input byte 0");
        assert_eq!(key("Zm9v").unwrap_err().to_string(), "key size must be 16, 24 or 32 bytes");
    }
}
