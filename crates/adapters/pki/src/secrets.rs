//! Secrets that a cluster's software shares, such as a key of all nodes: made once, kept with the cluster's CA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_types::Redacted;
use serde::{Deserialize, Serialize};

use crate::token::hex;
use crate::{PkiError, files};

const FILE: &str = "secrets.json";
const WHAT: &str = "the file of the cluster's secrets";
const VERSION: u32 = 1;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Bytes from here on are thrown away, so that every letter is as likely as the others.
const EVEN: u8 = 62 * 4;

/// How a secret is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    Base64,
    Hex,
    /// Letters and digits, as many as hold that much randomness.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretShape {
    /// Of randomness.
    pub bytes: usize,
    pub form: SecretForm,
}

impl SecretShape {
    /// Something of the same shape that is no secret, for looking at a file without making anything.
    pub fn placeholder(self) -> String {
        match self.form {
            SecretForm::Base64 => STANDARD.encode(vec![0; self.bytes]),
            SecretForm::Hex => hex(&vec![0; self.bytes]),
            SecretForm::Text => "x".repeat(self.letters()),
        }
    }

    /// A letter of 62 holds 5.954 bits.
    fn letters(self) -> usize {
        (self.bytes * 8_000).div_ceil(5_954)
    }

    fn generate(self) -> Result<Redacted<String>, PkiError> {
        let random = |count: usize| {
            let mut bytes = vec![0; count];
            rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
            Ok(bytes)
        };
        let text = match self.form {
            SecretForm::Base64 => STANDARD.encode(random(self.bytes)?),
            SecretForm::Hex => hex(&random(self.bytes)?),
            SecretForm::Text => {
                let mut text = String::with_capacity(self.letters());
                while text.len() < self.letters() {
                    let even = random(self.letters())?.into_iter().filter(|byte| *byte < EVEN);
                    let letters = even.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
                    text.extend(letters.take(self.letters() - text.len()));
                }
                text
            }
        };
        Ok(Redacted::new(text))
    }
}

/// The secrets of a cluster, by recipe and name: `slurm/munge_key`.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, Redacted<String>>);

/// What stands in the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    secrets: BTreeMap<String, Redacted<String>>,
}

impl Secrets {
    /// Those that are there. Reads a file.
    pub fn read(folder: &Path) -> Result<Self, PkiError> {
        let path = folder.join(FILE);
        let Some(text) = files::read(&path, WHAT)? else { return Ok(Self::default()) };
        // The parser's own words may quote what it read.
        let damaged = |detail: String| PkiError::SecretsFile { path: path.clone(), detail };
        let stored: Stored =
            serde_json::from_str(&text).map_err(|error| damaged(format!("line {} cannot be read", error.line())))?;
        if stored.version != VERSION {
            return Err(damaged(format!("it has the version {}, and {VERSION} is known", stored.version)));
        }
        Ok(Self(stored.secrets))
    }

    /// Those that are there, and the wanted ones made where they are not. Reads and writes files, and waits while
    /// another process does the same. A crash leaves the file as it was, or with all of the new ones.
    pub fn open_or_create(folder: &Path, wanted: &BTreeMap<String, SecretShape>) -> Result<Self, PkiError> {
        if wanted.is_empty() {
            return Self::read(folder);
        }
        files::private_folder(folder)?;
        let _lock = files::lock(folder)?;
        let Self(mut secrets) = Self::read(folder)?;
        let before = secrets.len();
        for (name, shape) in wanted {
            if !secrets.contains_key(name) {
                secrets.insert(name.clone(), shape.generate()?);
            }
        }
        if secrets.len() > before {
            let path: PathBuf = folder.join(FILE);
            let stored = Stored { version: VERSION, secrets };
            // A map of texts always becomes JSON.
            let text = serde_json::to_string_pretty(&stored)
                .map_err(|error| PkiError::Store { what: WHAT, source: error.into() })?;
            files::store(&path, WHAT, &(text + "\n"))?;
            secrets = stored.secrets;
        }
        Ok(Self(secrets))
    }

    pub fn get(&self, name: &str) -> Option<&Redacted<String>> {
        self.0.get(name)
    }

    pub fn values(&self) -> impl Iterator<Item = &Redacted<String>> {
        self.0.values()
    }
}

impl FromIterator<(String, Redacted<String>)> for Secrets {
    fn from_iter<T: IntoIterator<Item = (String, Redacted<String>)>>(secrets: T) -> Self {
        Self(secrets.into_iter().collect())
    }
}
