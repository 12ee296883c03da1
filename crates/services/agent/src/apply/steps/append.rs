//! Content that is added to the end of a file, once: not again after a crash, and not again at a second run.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use muster_cloudinit::FileStep;
use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

use super::files::{self, Ids, ids, resolve, write};
use super::spot::{Spot, dress};
use super::{Applied, Context, Machine, StepError};
use crate::apply::hex;
use crate::apply::journal::{Appended, Memo};

const MODE_DEFAULT: u32 = 0o644;
/// Longest file whose middle is replaced.
const REPLACE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn apply(file: &FileStep, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let path = resolve(context.machine, &file.path)?;
    let ids = file.owner.as_ref().map(|owner| ids(context.machine, Some(owner))).transpose()?;
    let spot = Spot::make(&path, ids.unwrap_or_else(Ids::own))?;
    let is_new = spot.found()?.is_none();
    let mut applied = Applied::default();
    let old = context.memo.appended.take();
    let (appended, changed) = match old {
        Some(old) if stands(&spot, &old, Some(&file.content))? => (old, context.interrupted),
        Some(old) if context.interrupted => (after_crash(&spot, &file.content, &old, context)?, true),
        Some(old) => match replace(&spot, &old, &file.content)? {
            Some(appended) => (appended, true),
            None => {
                let (appended, added) = add_unless_there(&spot, &file.content, context)?;
                if added && old.sha256 != appended.sha256 {
                    let path = &file.path;
                    applied.warnings.push(format!("{path}: the earlier addition was not found; the new one was added"));
                }
                (appended, added)
            }
        },
        None => (add(&spot, &file.content, context)?, true),
    };
    applied.changed = changed | clothe(&spot, file.mode, ids, is_new)?;
    applied.memo = Memo { appended: Some(appended), adjusted: false };
    Ok(applied)
}

pub(super) fn holds(machine: &Machine, file: &FileStep, memo: &Memo) -> Result<bool, StepError> {
    let path = resolve(machine, &file.path)?;
    let Some(spot) = Spot::find(&path)? else { return Ok(false) };
    let Some(found) = spot.found()? else { return Ok(false) };
    let mode = file.mode.is_none_or(|mode| found.permissions().mode() & 0o7777 == mode);
    let owned = match &file.owner {
        Some(owner) => ids(machine, Some(owner))?.are(&found),
        None => true,
    };
    let there = match &memo.appended {
        Some(appended) if stands(&spot, appended, Some(&file.content))? => true,
        _ => find(&spot, &file.content)?.is_some(),
    };
    Ok(mode && owned && there)
}

fn clothe(spot: &Spot, mode: Option<u32>, ids: Option<Ids>, is_new: bool) -> Result<bool, StepError> {
    let (mode, ids) = match (mode, ids) {
        (None, None) if !is_new => return Ok(false),
        (mode, ids) => (mode, ids),
    };
    let Some(file) = spot.change(OFlag::O_RDONLY)? else { return Err(gone(spot)) };
    let kept = file.metadata().map_err(StepError::read(spot.path()))?.permissions().mode() & 0o7777;
    let mode = mode.unwrap_or(if is_new { MODE_DEFAULT } else { kept });
    let ids = ids.unwrap_or(if is_new { Ids::own() } else { Ids { user: None, group: None } });
    dress(&file, spot.path(), mode, ids)
}

/// The file was there a moment ago.
fn gone(spot: &Spot) -> StepError {
    StepError::write(spot.path())(std::io::ErrorKind::NotFound.into())
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn length(spot: &Spot) -> Result<u64, StepError> {
    Ok(spot.found()?.map_or(0, |found| found.len()))
}

/// Writes down where the content will stand, then adds it.
fn add(spot: &Spot, content: &[u8], context: &mut Context<'_>) -> Result<Appended, StepError> {
    let appended = Appended { offset: length(spot)?, length: content.len() as u64, sha256: digest(content) };
    let memo = Memo { appended: Some(appended.clone()), adjusted: false };
    (context.note)(memo).map_err(StepError::Journal)?;
    let file = match spot.change(OFlag::O_WRONLY | OFlag::O_APPEND)? {
        Some(file) => Ok(file),
        None => spot.folder.create(&spot.name),
    };
    file.and_then(|mut file| file.write_all(content)).map_err(StepError::write(spot.path()))?;
    Ok(appended)
}

fn add_unless_there(spot: &Spot, content: &[u8], context: &mut Context<'_>) -> Result<(Appended, bool), StepError> {
    match find(spot, content)? {
        Some(offset) => Ok((Appended { offset, length: content.len() as u64, sha256: digest(content) }, false)),
        None => Ok((add(spot, content, context)?, true)),
    }
}

/// The addition was noted and perhaps written, perhaps in part.
fn after_crash(
    spot: &Spot,
    content: &[u8],
    noted: &Appended,
    context: &mut Context<'_>,
) -> Result<Appended, StepError> {
    let end = length(spot)?;
    if end > noted.offset {
        let part = read_range(spot, noted.offset, end - noted.offset)?;
        if content.starts_with(&part) {
            let Some(file) = spot.change(OFlag::O_WRONLY)? else { return Err(gone(spot)) };
            file.set_len(noted.offset).map_err(StepError::write(spot.path()))?;
        }
    }
    Ok(add_unless_there(spot, content, context)?.0)
}

/// Puts the new content where the old one stands; `None` when that is not there any more.
fn replace(spot: &Spot, old: &Appended, content: &[u8]) -> Result<Option<Appended>, StepError> {
    if old.sha256 == digest(content) || length(spot)? > REPLACE_BYTES_MAX || !stands(spot, old, None)? {
        return Ok(None);
    }
    let Some(mut text) = files::read(spot.path())? else { return Ok(None) };
    let start = usize::try_from(old.offset).unwrap_or(text.len());
    let end = start + usize::try_from(old.length).unwrap_or(0);
    text.splice(start..end, content.iter().copied());
    let Some(found) = spot.found()? else { return Ok(None) };
    let ids = Ids {
        user: Some(std::os::unix::fs::MetadataExt::uid(&found)),
        group: Some(std::os::unix::fs::MetadataExt::gid(&found)),
    };
    write(spot.path(), &text, found.permissions().mode() & 0o7777, ids)?;
    Ok(Some(Appended { offset: old.offset, length: content.len() as u64, sha256: digest(content) }))
}

/// Whether the bytes at a place are those that were added there, and, if given, this content.
fn stands(spot: &Spot, appended: &Appended, content: Option<&[u8]>) -> Result<bool, StepError> {
    let end = appended.offset.saturating_add(appended.length);
    if spot.found()?.is_none_or(|found| found.len() < end) {
        return Ok(false);
    }
    let there = read_range(spot, appended.offset, appended.length)?;
    Ok(content.map_or_else(|| digest(&there) == appended.sha256, |content| there == content))
}

/// Reads at most as much as one document can have added.
fn read_range(spot: &Spot, offset: u64, length: u64) -> Result<Vec<u8>, StepError> {
    let Some(mut file) = spot.read()? else { return Ok(Vec::new()) };
    file.seek(SeekFrom::Start(offset)).map_err(StepError::read(spot.path()))?;
    let mut bytes = Vec::new();
    file.take(length.min(REPLACE_BYTES_MAX)).read_to_end(&mut bytes).map_err(StepError::read(spot.path()))?;
    Ok(bytes)
}

/// Where the content stands in the file, looked for piece by piece.
fn find(spot: &Spot, content: &[u8]) -> Result<Option<u64>, StepError> {
    let Some(mut file) = spot.read()? else { return Ok(None) };
    if content.is_empty() {
        return Ok(Some(0));
    }
    let mut window: Vec<u8> = Vec::new();
    let mut window_start = 0u64;
    let mut buffer = vec![0; content.len().max(16 << 10)];
    loop {
        let count = file.read(&mut buffer).map_err(StepError::read(spot.path()))?;
        if count == 0 {
            return Ok(None);
        }
        window.extend_from_slice(&buffer[..count]);
        if let Some(at) = position(&window, content) {
            return Ok(Some(window_start + at as u64));
        }
        let surplus = window.len().saturating_sub(content.len() - 1);
        window.drain(..surplus);
        window_start += surplus as u64;
    }
}

/// Where a needle stands in a haystack. Candidates are found by their first byte.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let last = haystack.len().checked_sub(needle.len())?;
    let mut from = 0;
    while from <= last {
        from += haystack[from..=last].iter().position(|byte| *byte == needle[0])?;
        if haystack[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
    None
}
