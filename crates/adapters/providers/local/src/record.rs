//! What is kept of a machine on disk.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use muster_provider::{Machine, MachineState, Size, Tags};
use muster_types::{ClientToken, MachineId, NodeName, Redacted, Timestamp};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, MachineFolder};
use crate::settings::Init;

const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: MachineId,
    pub(crate) name: NodeName,
    pub(crate) token: ClientToken,
    pub(crate) tags: Tags,
    pub(crate) size: Size,
    /// What its root is stacked from, top first; empty for the machine's own programs. Kept, so that it starts from the
    /// same after its image has been made anew.
    #[serde(default)]
    pub(crate) lower: Vec<PathBuf>,
    #[serde(default = "plain")]
    pub(crate) init: Init,
    #[serde(default)]
    pub(crate) shared_folders: BTreeSet<PathBuf>,
    pub(crate) user_data: Redacted<String>,
    /// The machine's number on the switch; its address follows from it.
    pub(crate) index: u16,
    pub(crate) address: Ipv4Addr,
    pub(crate) created_at: Timestamp,
    /// Why it stopped last, for people.
    pub(crate) detail: Option<String>,
}

/// What records of older programs were started with.
fn plain() -> Init {
    Init::Agent
}

/// What a new record is made from.
pub(crate) struct NewRecord {
    pub(crate) id: MachineId,
    pub(crate) index: u16,
    pub(crate) address: Ipv4Addr,
}

/// The same token, the same id.
pub(crate) fn machine_id(name: &NodeName, token: &ClientToken) -> MachineId {
    let letters: Vec<char> = token.as_str().chars().filter(char::is_ascii_alphanumeric).collect();
    let end: String = letters[letters.len().saturating_sub(8)..].iter().collect();
    MachineId::new(format!("{name}-{}", end.to_ascii_lowercase()))
}

impl Record {
    pub(crate) fn new(new: NewRecord, request: &crate::protocol::CreateRequest) -> Self {
        Self {
            version: VERSION,
            id: new.id,
            name: request.name.clone(),
            token: request.token.clone(),
            tags: request.tags.clone(),
            size: request.size.clone(),
            lower: request.lower.clone(),
            init: request.init,
            shared_folders: request.shared_folders.clone(),
            user_data: request.user_data.clone(),
            index: new.index,
            address: new.address,
            created_at: Timestamp::now(),
            detail: None,
        }
    }

    pub(crate) fn machine(&self, state: MachineState, detail: Option<String>) -> Machine {
        Machine {
            id: self.id.clone(),
            name: self.name.clone(),
            token: self.token.clone(),
            tags: self.tags.clone(),
            state,
            addresses: vec![self.address.into()],
            created_at: self.created_at,
            detail,
        }
    }

    pub(crate) fn write(&self, folder: &MachineFolder) -> io::Result<()> {
        write_json(&folder.record(), self)
    }

    fn read(folder: &MachineFolder) -> io::Result<Self> {
        let record: Self = serde_json::from_slice(&fs_err::read(folder.record())?).map_err(io::Error::other)?;
        if record.version > VERSION {
            return Err(io::Error::other(format!("{} was written by a newer muster", folder.record().display())));
        }
        Ok(record)
    }
}

/// Written beside and renamed, but not forced to the disk, which would wait for all that was written before it: after a
/// power failure a machine is whole or was never made, and either is a state that is listed truly.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    fs_err::write(&temporary, serde_json::to_vec(value).map_err(io::Error::other)?)?;
    fs_err::rename(temporary, path)
}

/// Every machine on disk. A folder without a readable record was cut off while it was made, and is skipped.
pub(crate) fn read_all(layout: &Layout) -> io::Result<Vec<Record>> {
    let entries = match fs_err::read_dir(layout.machines()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    for entry in entries {
        let entry = entry?;
        if Layout::is_left_over(&entry.file_name().to_string_lossy()) {
            continue;
        }
        match Record::read(&MachineFolder(entry.path())) {
            Ok(record) => records.push(record),
            Err(error) => tracing::warn!(%error, "machine folder without a record"),
        }
    }
    records.sort_by_key(|record| record.index);
    Ok(records)
}

/// Removes what a crash left half made or half removed.
pub(crate) fn remove_left_overs(layout: &Layout) -> io::Result<()> {
    let Ok(entries) = fs_err::read_dir(layout.machines()) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let whole = !Layout::is_left_over(&entry.file_name().to_string_lossy())
            && Record::read(&MachineFolder(entry.path())).is_ok();
        if !whole {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
