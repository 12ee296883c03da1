//! Keys that the members of a cluster share, and what they seal: AES in GCM with 128, 192 or 256 bits, as memberlist does it.

use std::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::aes::Aes192;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use rand::Rng;

use super::limits;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// Padded to the block by PKCS7 before sealing: what agents of protocol 1 send.
const PADDED: u8 = 0;
const PLAIN: u8 = 1;
/// What sealing adds to a message.
pub const OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("key size must be 16, 24 or 32 bytes")]
    Size,
    #[error("requested key is not in the keyring")]
    NotInRing,
    #[error("removing the primary key is not allowed")]
    Primary,
    #[error("a keyring holds no more than {} keys", limits::RING_MAX)]
    Full,
    #[error("a keyring needs a key")]
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the sealed message of {0} bytes is too short to be one")]
    Short(usize),
    #[error("the encryption version {0} is not known: the message is not encrypted, or its sender is no Serf")]
    Version(u8),
    #[error("No installed keys could decrypt the message")]
    NoKey,
    #[error("the padding of the message is wrong")]
    Padding,
}

#[derive(Clone)]
enum Cipher {
    Bits128(Box<Aes128Gcm>),
    Bits192(Box<AesGcm<Aes192, U12>>),
    Bits256(Box<Aes256Gcm>),
}

/// A key, ready for use. Nothing prints it.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    cipher: Cipher,
}

impl Key {
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        let cipher = match bytes.len() {
            16 => Aes128Gcm::new_from_slice(bytes).map(|cipher| Cipher::Bits128(Box::new(cipher))),
            24 => AesGcm::new_from_slice(bytes).map(|cipher| Cipher::Bits192(Box::new(cipher))),
            32 => Aes256Gcm::new_from_slice(bytes).map(|cipher| Cipher::Bits256(Box::new(cipher))),
            _ => return Err(KeyError::Size),
        };
        Ok(Self { bytes: bytes.to_vec(), cipher: cipher.map_err(|_| KeyError::Size)? })
    }

    /// The secret itself, for the file of keys and for answers to queries about them.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    fn encrypt(&self, nonce: &[u8; NONCE_LEN], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        match &self.cipher {
            Cipher::Bits128(cipher) => cipher.encrypt(nonce.into(), payload),
            Cipher::Bits192(cipher) => cipher.encrypt(nonce.into(), payload),
            Cipher::Bits256(cipher) => cipher.encrypt(nonce.into(), payload),
        }
        .ok()
    }

    fn decrypt(&self, nonce: &[u8; NONCE_LEN], payload: Payload<'_, '_>) -> Option<Vec<u8>> {
        match &self.cipher {
            Cipher::Bits128(cipher) => cipher.decrypt(nonce.into(), payload),
            Cipher::Bits192(cipher) => cipher.decrypt(nonce.into(), payload),
            Cipher::Bits256(cipher) => cipher.decrypt(nonce.into(), payload),
        }
        .ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({} bits)", self.bytes.len() * 8)
    }
}

/// Keys in the order in which they are tried; the first one seals.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// The first key is the primary one; a key that comes twice counts once.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let mut keys = keys.into_iter();
        let mut ring = Self { keys: vec![keys.next().ok_or(KeyError::Empty)?] };
        keys.try_for_each(|key| ring.add(key))?;
        Ok(ring)
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn primary(&self) -> &Key {
        &self.keys[0]
    }

    pub fn add(&mut self, key: Key) -> Result<(), KeyError> {
        if self.position(&key.bytes).is_some() {
            return Ok(());
        }
        if self.keys.len() >= limits::RING_MAX {
            return Err(KeyError::Full);
        }
        self.keys.push(key);
        Ok(())
    }

    /// Makes a key that is there the primary one.
    pub fn choose(&mut self, key: &[u8]) -> Result<(), KeyError> {
        let position = self.position(key).ok_or(KeyError::NotInRing)?;
        let key = self.keys.remove(position);
        self.keys.insert(0, key);
        Ok(())
    }

    /// A key that is not there counts as removed.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), KeyError> {
        match self.position(key) {
            Some(0) => Err(KeyError::Primary),
            Some(position) => {
                self.keys.remove(position);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn position(&self, bytes: &[u8]) -> Option<usize> {
        self.keys.iter().position(|key| key.bytes == bytes)
    }

    /// `version | nonce | ciphertext | tag`.
    pub fn seal(&self, plaintext: &[u8], associated: &[u8], rng: &mut (impl Rng + ?Sized)) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let Some(sealed) = self.primary().encrypt(&nonce, Payload { msg: plaintext, aad: associated }) else {
            unreachable!("only a message of more than 64 GiB cannot be sealed");
        };
        let mut out = Vec::with_capacity(1 + NONCE_LEN + sealed.len());
        out.push(PLAIN);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    pub fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::Short(0))?;
        if *version > PLAIN {
            return Err(SealError::Version(*version));
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Short(sealed.len()))?;
        if ciphertext.len() < TAG_LEN {
            return Err(SealError::Short(sealed.len()));
        }
        let open = |key: &Key| key.decrypt(nonce, Payload { msg: ciphertext, aad: associated });
        let plaintext = self.keys.iter().find_map(open).ok_or(SealError::NoKey)?;
        if *version == PADDED { unpadded(plaintext) } else { Ok(plaintext) }
    }
}

fn unpadded(mut bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let padding = usize::from(*bytes.last().ok_or(SealError::Padding)?);
    let len = bytes.len().checked_sub(padding).ok_or(SealError::Padding)?;
    if !(1..=16).contains(&padding) || bytes[len..].iter().any(|byte| usize::from(*byte) != padding) {
        return Err(SealError::Padding);
    }
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn key(byte: u8, len: usize) -> Key {
        Key::new(&vec![byte; len]).unwrap()
    }

    #[test]
    fn each_size_of_key_opens_what_it_sealed_and_nothing_else() {
        let mut rng = StdRng::seed_from_u64(1);
        for len in [16, 24, 32] {
            let ring = Keyring::new([key(7, len)]).unwrap();
            let sealed = ring.seal(b"hello", b"label", &mut rng);
            assert_eq!(sealed.len(), 5 + OVERHEAD);
            assert_eq!(ring.open(&sealed, b"label").unwrap(), b"hello");
            assert_eq!(ring.open(&sealed, b"other"), Err(SealError::NoKey));
            let changed = sealed.iter().enumerate().map(|(at, byte)| if at == 20 { byte ^ 1 } else { *byte });
            assert_eq!(ring.open(&changed.collect::<Vec<_>>(), b"label"), Err(SealError::NoKey));
        }
        assert_eq!(Key::new(&[0; 20]).err(), Some(KeyError::Size));
    }

    #[test]
    fn a_rotation_of_keys_keeps_members_talking() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut one = Keyring::new([key(1, 16)]).unwrap();
        let mut two = one.clone();
        one.add(key(2, 32)).unwrap();
        two.add(key(2, 32)).unwrap();
        one.choose(&[2; 32]).unwrap();
        assert_eq!(two.open(&one.seal(b"new", b"", &mut rng), b"").unwrap(), b"new");
        assert_eq!(one.open(&two.seal(b"old", b"", &mut rng), b"").unwrap(), b"old");
        assert_eq!(one.remove(&[2; 32]), Err(KeyError::Primary));
        assert_eq!(one.choose(&[3; 32]), Err(KeyError::NotInRing));
        one.remove(&[1; 16]).unwrap();
        one.remove(&[1; 16]).unwrap();
        assert_eq!(one.open(&two.seal(b"old", b"", &mut rng), b""), Err(SealError::NoKey));
    }

    #[test]
    fn padded_messages_of_old_agents_are_read() {
        let ring = Keyring::new([key(5, 16)]).unwrap();
        let nonce = [3; NONCE_LEN];
        let sealed = ring.primary().encrypt(&nonce, Payload { msg: b"hello\x03\x03\x03", aad: b"" }).unwrap();
        assert_eq!(ring.open(&[&[PADDED], &nonce[..], &sealed].concat(), b"").unwrap(), b"hello");
        let sealed = ring.primary().encrypt(&nonce, Payload { msg: b"hello\x02\x03\x03", aad: b"" }).unwrap();
        assert_eq!(ring.open(&[&[PADDED], &nonce[..], &sealed].concat(), b""), Err(SealError::Padding));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", key(65, 16)), "Key(128 bits)");
    }
}
