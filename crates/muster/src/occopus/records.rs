//! Which infrastructures there are: each with its description and the node definitions that it was built from, so that a
//! later import changes nothing that runs. One file each, whole or not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;

use muster_server::occopus::Wish;
use muster_types::{ClusterName, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::infralist;
use crate::occopus::place::Place;

const VERSION: u32 = 1;
const FOLDER: &str = "infrastructures";
/// What is left of a name in the name of a cluster; with the number of the id it stays far below what a host name takes.
const NAME_CHARS_MAX: usize = 30;
/// Wishes that wait for a pass; more is a loop in somebody's script.
const WISHES_MAX: usize = 1000;

/// One infrastructure. Its description may hold secrets, so there is no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    pub(crate) id: String,
    pub(crate) cluster: ClusterName,
    /// As it was named, for messages.
    pub(crate) path: String,
    /// What the description's own imports are relative to; they are read anew each time. None: they are refused.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) description: String,
    pub(crate) definitions: String,
    pub(crate) provider: Option<String>,
    pub(crate) submitted_at: Timestamp,
    /// Whether the REST service looks after it.
    pub(crate) maintained: bool,
    pub(crate) destroying: bool,
    pub(crate) notification: Option<String>,
    pub(crate) wishes: Vec<Wished>,
    /// What the wishes came to, until a run has written it down as its own.
    pub(crate) due: Due,
}

/// Asked for, and not looked at yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wished {
    pub(crate) node: String,
    pub(crate) wish: Wish,
}

/// Numbers, not changes: doing it twice is doing it once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    pub(crate) counts: BTreeMap<String, u32>,
    pub(crate) leaving: BTreeSet<NodeName>,
}

impl Record {
    /// For an infrastructure that is not there yet.
    pub(crate) fn new(id: &str, infra_name: &str) -> Result<Self, Failure> {
        Ok(Self {
            version: VERSION,
            id: id.to_owned(),
            cluster: cluster(id, infra_name)?,
            path: String::new(),
            folder: None,
            description: String::new(),
            definitions: String::new(),
            provider: None,
            submitted_at: Timestamp::now(),
            maintained: false,
            destroying: false,
            notification: None,
            wishes: Vec::new(),
            due: Due::default(),
        })
    }
}

/// The name of the cluster: that of the infrastructure, and a number made from its id, since names may come twice and ids
/// may be no names.
fn cluster(id: &str, infra_name: &str) -> Result<ClusterName, Failure> {
    let name: String = infra_name.chars().take(NAME_CHARS_MAX).collect();
    let name = name.trim_matches('-');
    let number = &digest(id)[..8];
    let whole = if name.is_empty() { format!("infra-{number}") } else { format!("{name}-{number}") };
    ClusterName::new(whole).map_err(|error| Failure::new(error, "change `infra_name`", ExitStatus::BAD_FILE))
}

fn digest(id: &str) -> String {
    Sha256::digest(id).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

#[derive(Debug, Clone)]
pub(crate) struct Records {
    place: Place,
}

impl Records {
    pub(crate) fn new(place: Place) -> Result<Self, Failure> {
        muster_stdx::create_private_dir(&place.file(FOLDER))?;
        Ok(Self { place })
    }

    /// Those that are there, for commands that make none.
    pub(crate) fn existing(place: Place) -> Option<Self> {
        place.file(FOLDER).is_dir().then_some(Self { place })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.place.file(FOLDER).join(format!("{}.json", &digest(id)[..16]))
    }

    /// The infrastructure of that id.
    pub(crate) fn get(&self, id: &str) -> Result<Record, Failure> {
        self.find(id)?.ok_or_else(|| {
            let hint = "`occopus-maintain -l` lists those that there are";
            Failure::new(format!("Unknown infrastructure: \"{id}\""), hint, ExitStatus::FAILED)
        })
    }

    pub(crate) fn find(&self, id: &str) -> Result<Option<Record>, Failure> {
        let path = self.path(id);
        let text = match fs_err::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let damaged = |what: String| Failure::new(what, "use the version of muster that wrote it", ExitStatus::FAILED);
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| damaged(format!("{} cannot be read: {error}", path.display())))?;
        if record.version > VERSION {
            return Err(damaged(format!("{} was written by a newer version", path.display())));
        }
        Ok(Some(record))
    }

    /// The oldest first.
    pub(crate) fn all(&self) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        for entry in fs_err::read_dir(self.place.file(FOLDER))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                match fs_err::read(&path) {
                    // One that is being removed now.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                    Ok(text) => records.extend(serde_json::from_slice::<Record>(&text).ok()),
                }
            }
        }
        records.sort_by(|a, b| (a.submitted_at, &a.id).cmp(&(b.submitted_at, &b.id)));
        Ok(records)
    }

    /// Writes a new one, or a new description of one that is there.
    pub(crate) fn put(&self, record: &Record) -> Result<(), Failure> {
        let _lock = self.place.lock()?;
        let mut record = record.clone();
        if let Some(now) = self.find(&record.id)? {
            // What others wrote meanwhile is theirs.
            (record.wishes, record.maintained, record.notification) = (now.wishes, now.maintained, now.notification);
        }
        self.write(&record)?;
        infralist::add(&record.id)
    }

    /// Changes what is there; the result is what it is now.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<Record, Failure> {
        let _lock = self.place.lock()?;
        let mut record = self.get(id)?;
        change(&mut record);
        if record.wishes.len() > WISHES_MAX {
            let hint = "`occopus-maintain -i ID` carries them out";
            let message = format!("more than {WISHES_MAX} requests wait for {id}");
            return Err(Failure::new(message, hint, ExitStatus::FAILED));
        }
        self.write(&record)?;
        Ok(record)
    }

    fn write(&self, record: &Record) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(record).map_err(anyhow::Error::from)?;
        Ok(muster_stdx::write_atomic(&self.path(&record.id), &text, 0o600)?)
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), Failure> {
        let _lock = self.place.lock()?;
        infralist::remove(id)?;
        match fs_err::remove_file(self.path(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// An id for an infrastructure for which nobody chose one: a random UUID.
pub(crate) fn new_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    });
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_has_a_cluster_of_its_own() {
        let name = |id: &str, infra: &str| cluster(id, infra).unwrap().to_string();
        assert!(name("micado_worker_infra", "micado").starts_with("micado-"));
        assert_ne!(name("a", "x"), name("b", "x"));
        assert_eq!(name("a", &"x".repeat(63)).len(), NAME_CHARS_MAX + 9);
        assert!(name("a", "---").starts_with("infra-"));
    }

    #[test]
    fn ids_are_random_uuids() {
        let id = new_id();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert_ne!(id, new_id());
    }
}
