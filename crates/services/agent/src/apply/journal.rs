//! What has been done, on disk: a file of one JSON record a line, made whole when a document begins and appended to
//! while it is done.
//!
//! The disk is waited for when a document begins, when it ends and when a generation rises; not at each step. After a
//! loss of power the steps of the last seconds may be done again; a crash of the agent or of the node alone loses
//! nothing.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use muster_api::ConfigPhase;
use muster_types::Generation;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
const FILE: &str = "journal";
/// It is written anew when it has grown by this much.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// What a step has to remember beyond being done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memo {
    /// Where its content stands in a file that it appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) appended: Option<Appended>,
    /// A command of the document has changed since what the step made, so it is not put back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) adjusted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Appended {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) sha256: String,
}

/// A step that is done, under the hash that it had then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) id: String,
    pub(super) hash: String,
    /// The boot under which it was done.
    pub(super) boot: String,
    pub(super) duration_ms: u64,
    /// Whether there was anything to do.
    pub(super) changed: bool,
    /// Whether an earlier document did it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) carried: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    #[serde(default)]
    pub(super) memo: Memo,
}

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) id: String,
    pub(super) hash: String,
    pub(super) boot: String,
    /// The process that does it, if there is one: its id and its start.
    #[serde(default)]
    pub(super) process: Option<(u32, u64)>,
    /// What tells after a crash how far it was.
    #[serde(default)]
    pub(super) memo: Memo,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) id: String,
    pub(super) hash: String,
    pub(super) exit_code: Option<i32>,
    pub(super) duration_ms: u64,
    pub(super) message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "r", rename_all = "snake_case")]
enum Record {
    /// The first of the file.
    Head {
        v: u32,
        generation: Generation,
        hash: String,
        document: String,
    },
    Generation {
        generation: Generation,
    },
    /// The document is gone through again.
    Resumed,
    Started(Started),
    Done(Done),
    Failed(Failed),
    /// Something that this step has to follow is about to change, so that it is not done any more.
    Due {
        id: String,
    },
    /// `boot`: the boot under which the document was last gone through to its end.
    Finished {
        phase: ConfigPhase,
        boot: String,
    },
}

/// What the journal says.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) generation: Generation,
    /// Empty when no document ever came.
    pub(super) hash: String,
    pub(super) done: BTreeMap<String, Done>,
    /// Begun and not ended, in order.
    pub(super) running: Vec<Started>,
    /// What steps noted that were begun and are not done, by id.
    pub(super) notes: BTreeMap<String, Started>,
    pub(super) failed: Option<Failed>,
    pub(super) finished: Option<(ConfigPhase, String)>,
    /// The document was finished and is gone through once more; after a crash somebody has to go on with that.
    pub(super) repairs: bool,
}

impl Facts {
    fn take(&mut self, record: Record) {
        match record {
            Record::Head { generation, hash, .. } => (self.generation, self.hash) = (generation, hash),
            Record::Generation { generation } => self.generation = self.generation.max(generation),
            Record::Resumed => (self.finished, self.failed) = (None, None),
            Record::Started(started) => {
                if started.memo.appended.is_some() {
                    self.notes.insert(started.id.clone(), started.clone());
                }
                self.running.retain(|other| other.id != started.id);
                self.running.push(started);
            }
            Record::Done(done) => {
                self.running.retain(|other| other.id != done.id);
                self.notes.remove(&done.id);
                self.done.insert(done.id.clone(), done);
            }
            Record::Failed(failed) => {
                self.running.clear();
                self.failed = Some(failed);
            }
            Record::Due { id } => {
                self.done.remove(&id);
                self.repairs |= self.finished.take().is_some();
            }
            Record::Finished { phase, boot } => {
                self.running.clear();
                self.repairs = false;
                self.finished = Some((phase, boot));
            }
        }
    }

    /// Whether a step is done under this hash.
    pub(super) fn done(&self, id: &str, hash: &str) -> Option<&Done> {
        self.done.get(id).filter(|done| done.hash == hash)
    }
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: fs_err::File,
    length: u64,
    /// How long it was when it was last written whole.
    begun: u64,
    facts: Facts,
}

impl Journal {
    /// Opens the journal and says which document it is about. What a crash has torn off its end is not there; a file
    /// that is no journal is put aside.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<String>)> {
        let path = folder.join(FILE);
        let mut facts = Facts::default();
        let mut document = None;
        let mut good = 0;
        match fs_err::File::open(&path) {
            Ok(file) => good = replay(file, &mut facts, &mut document)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if good == 0 && fs_err::metadata(&path).is_ok_and(|found| found.len() > 0) {
            tracing::error!(path = %path.display(), "the journal cannot be read and is put aside");
            fs_err::rename(&path, folder.join("journal.unreadable"))?;
        }
        let file = open_append(&path)?;
        if file.metadata()?.len() > good {
            tracing::warn!(path = %path.display(), "the end of the journal was torn off");
            file.set_len(good)?;
        }
        Ok((Self { path, file, length: good, begun: good, facts }, document))
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Begins a document, with the steps of it that are done already.
    pub(super) fn begin(
        &mut self,
        generation: Generation,
        hash: &str,
        document: String,
        carried: Vec<Done>,
        notes: Vec<Started>,
    ) -> io::Result<()> {
        let generation = generation.max(self.facts.generation);
        let head = Record::Head { v: VERSION, generation, hash: hash.to_owned(), document };
        let mut facts = Facts::default();
        let mut text = line(&head)?;
        facts.take(head);
        for record in carried.into_iter().map(Record::Done).chain(notes.into_iter().map(Record::Started)) {
            text.extend(line(&record)?);
            facts.take(record);
        }
        let temporary = self.path.with_extension("new");
        let mut file =
            fs_err::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs_err::rename(&temporary, &self.path)?;
        // Without it a loss of power could bring back the old file, and with it an older generation.
        fs_err::File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        self.file = open_append(&self.path)?;
        self.length = text.len() as u64;
        self.begun = self.length;
        self.facts = facts;
        Ok(())
    }

    pub(super) fn raise(&mut self, generation: Generation) -> io::Result<()> {
        if generation > self.facts.generation {
            // The first record of a file is the head of a document; without one there is nothing to protect yet.
            if self.facts.hash.is_empty() {
                return self.begin(generation, "", String::new(), Vec::new(), Vec::new());
            }
            self.append(Record::Generation { generation })?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    pub(super) fn resumed(&mut self) -> io::Result<()> {
        self.append(Record::Resumed)
    }

    pub(super) fn started(&mut self, started: Started) -> io::Result<()> {
        self.append(Record::Started(started))
    }

    pub(super) fn done(&mut self, done: Done) -> io::Result<()> {
        self.append(Record::Done(done))
    }

    /// Takes back that a step is done.
    pub(super) fn due(&mut self, id: &str) -> io::Result<()> {
        if self.facts.done.contains_key(id) {
            self.append(Record::Due { id: id.to_owned() })?;
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, failed: Failed) -> io::Result<()> {
        self.append(Record::Failed(failed))
    }

    pub(super) fn finished(&mut self, phase: ConfigPhase, boot: &str) -> io::Result<()> {
        if self.length - self.begun > GROWTH_BYTES_MAX && self.facts.failed.is_none() {
            self.compact()?;
        }
        self.append(Record::Finished { phase, boot: boot.to_owned() })?;
        self.file.sync_data()
    }

    /// Writes only what counts: a document that is looked at and repaired for years would grow its journal for years.
    fn compact(&mut self) -> io::Result<()> {
        let mut document = None;
        replay(fs_err::File::open(&self.path)?, &mut Facts::default(), &mut document)?;
        let Facts { generation, hash, done, notes, .. } = self.facts.clone();
        let notes = notes.into_values().collect();
        self.begin(generation, &hash, document.unwrap_or_default(), done.into_values().collect(), notes)
    }

    fn append(&mut self, record: Record) -> io::Result<()> {
        let line = line(&record)?;
        if let Err(error) = self.file.write_all(&line) {
            // Half a line would make the next one unreadable. The first error is the one to tell.
            self.file.set_len(self.length).ok();
            return Err(error);
        }
        self.length += line.len() as u64;
        self.facts.take(record);
        Ok(())
    }
}

fn open_append(path: &Path) -> io::Result<fs_err::File> {
    muster_stdx::append_private(path)
}

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads records up to the first that is not whole; returns how many bytes were good.
fn replay(file: fs_err::File, facts: &mut Facts, document: &mut Option<String>) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut good = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(good);
        }
        match (serde_json::from_slice(&line), good) {
            (Ok(Record::Head { v: VERSION, generation, hash, document: text }), 0) => {
                *document = (!hash.is_empty()).then_some(text);
                facts.take(Record::Head { v: VERSION, generation, hash, document: String::new() });
            }
            (Err(_) | Ok(Record::Head { .. }), _) | (Ok(_), 0) => return Ok(good),
            (Ok(record), _) => facts.take(record),
        }
        good += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, document) = Journal::open(folder.path()).unwrap();
        assert_eq!(document, None);
        journal.begin(Generation(3), "hash", "text".to_owned(), Vec::new(), Vec::new()).unwrap();
        let done = |number: u32| Done {
            id: format!("step-{}", number % 10),
            hash: "x".repeat(64),
            boot: "boot".to_owned(),
            duration_ms: u64::from(number),
            changed: true,
            carried: false,
            detail: None,
            memo: Memo::default(),
        };
        for number in 0..20_000 {
            journal.done(done(number)).unwrap();
            if number % 1000 == 999 {
                journal.finished(ConfigPhase::Done, "boot").unwrap();
            }
        }
        assert!(fs_err::metadata(folder.path().join(FILE)).unwrap().len() < 2 * GROWTH_BYTES_MAX);
        drop(journal);
        let (journal, document) = Journal::open(folder.path()).unwrap();
        let facts = journal.facts();
        assert_eq!((document.as_deref(), facts.generation, facts.done.len()), (Some("text"), Generation(3), 10));
        assert_eq!(facts.done("step-9", &"x".repeat(64)).unwrap().duration_ms, 19_999);
        assert_eq!(facts.finished, Some((ConfigPhase::Done, "boot".to_owned())));
    }
}
