//! Password hashes as `crypt` writes them, by SHA-512: the node may have no tool for it, or one that wants PAM.
//!
//! After Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6, with the default of 5000 rounds.

use std::io::{self, Read as _};

use sha2::{Digest as _, Sha512};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ROUNDS: usize = 5000;
const SALT_CHARS: usize = 16;
const DIGEST_BYTES: usize = 64;

/// Hashes with a salt of the kernel's making.
pub(super) fn hash(password: &str) -> io::Result<String> {
    let mut random = [0; SALT_CHARS];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let salt: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    Ok(hash_with(password.as_bytes(), &salt))
}

fn hash_with(key: &[u8], salt: &str) -> String {
    let salt_bytes = salt.as_bytes();
    let digest = mix(key, salt_bytes);
    let p = stretch(&Sha512::digest(key.repeat(key.len())), key.len());
    let s_source = Sha512::digest(salt_bytes.repeat(16 + usize::from(digest[0])));
    let s = stretch(&s_source, salt_bytes.len());
    let mut digest = digest;
    for round in 0..ROUNDS {
        let mut next = Sha512::new();
        let odd = round % 2 == 1;
        next.update(if odd { &p } else { &digest });
        if round % 3 != 0 {
            next.update(&s);
        }
        if round % 7 != 0 {
            next.update(&p);
        }
        next.update(if odd { &digest } else { &p });
        digest = next.finalize().to_vec();
    }
    format!("$6${salt}${}", encode(&digest))
}

/// Steps 1 to 12 of the description.
fn mix(key: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Sha512::digest([key, salt, key].concat());
    let mut outer = Sha512::new();
    outer.update(key);
    outer.update(salt);
    outer.update(stretch(&inner, key.len()));
    let mut length = key.len();
    while length > 0 {
        outer.update(if length % 2 == 1 { &inner[..] } else { key });
        length /= 2;
    }
    outer.finalize().to_vec()
}

/// The digest repeated to a length.
fn stretch(digest: &[u8], length: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(length).collect()
}

/// Three bytes give four characters; the bytes come in an order of the description's own.
fn encode(digest: &[u8]) -> String {
    let mut text = String::with_capacity(86);
    let mut put = |high: u8, middle: u8, low: u8, count: usize| {
        let mut bits = u32::from(high) << 16 | u32::from(middle) << 8 | u32::from(low);
        for _ in 0..count {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    let (mut a, mut b, mut c) = (0, 21, 42);
    for _ in 0..21 {
        put(digest[a], digest[b], digest[c], 4);
        (a, b, c) = (b + 1, c + 1, a + 1);
    }
    put(0, 0, digest[DIGEST_BYTES - 1], 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_description() {
        let expected =
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
        assert_eq!(hash_with(b"Hello world!", "saltstring"), expected);
        let (one, two) = (hash("secret").unwrap(), hash("secret").unwrap());
        assert_ne!(one, two, "each has a salt of its own");
        assert_eq!(one.len(), 3 + SALT_CHARS + 1 + 86);
    }
}
