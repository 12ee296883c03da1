//! What steps print, kept in files of bounded size: the beginning and the end of each step's output.
//!
//! A step's folder holds numbered segments. The first `HEAD_SEGMENTS` stay; of the others the last `TAIL_SEGMENTS` do.
//! A line of a segment is `MICROSECONDS o|e TEXT`.

use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use muster_api::LogStream;
use muster_types::Timestamp;
use sha2::{Digest as _, Sha256};

const SEGMENT_BYTES: u64 = 128 << 10;
const HEAD_SEGMENTS: u32 = 4;
const TAIL_SEGMENTS: u32 = 4;
/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 8 << 10;
/// What a reader holds: a client that is slow must not make the agent hold what it has not taken.
const READ_BYTES: usize = 4 << 10;
/// How much of the end of a log is looked at for its last lines.
const TAIL_READ_BYTES: u64 = 32 << 10;
/// What stands in place of the segments that were thrown away.
pub(super) const LEFT_OUT: &str = "… the middle of this output was not kept …";

/// How far a log has been written, or read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) stream: LogStream,
    pub(super) text: String,
}

/// The folder of all logs.
#[derive(Debug, Clone)]
pub(super) struct Logs(PathBuf);

impl Logs {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Ids hold slashes and can be long, so folders are named by a hash.
    fn folder(&self, step: &str) -> PathBuf {
        let hash = Sha256::digest(step.as_bytes());
        self.0.join(super::hex(&hash[..12]))
    }

    /// How far the output of an earlier process of the agent goes.
    pub(super) fn end(&self, step: &str) -> io::Result<Position> {
        end_of(&self.folder(step))
    }

    pub(super) fn reader(&self, step: &str) -> Reader {
        Reader { folder: self.folder(step), at: Position::default(), file: None, lost: false }
    }

    /// Begins a step's log anew.
    pub(super) fn writer(&self, step: &str) -> io::Result<Writer> {
        let folder = self.folder(step);
        match fs_err::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Writer { folder, at: Position::default(), file: None, pending: Default::default(), only: None })
    }

    /// Goes on after what is there, in a segment of its own, for as long as nobody begins this log anew.
    pub(super) fn writer_after(&self, step: &str) -> io::Result<Writer> {
        let folder = self.folder(step);
        fs_err::create_dir_all(&folder)?;
        let only = Some(fs_err::File::open(&folder)?);
        let end = end_of(&folder)?;
        let at = if end == Position::default() { end } else { Position { segment: end.segment + 1, offset: 0 } };
        Ok(Writer { folder, at, file: None, pending: Default::default(), only })
    }

    /// Removes the logs of steps that are not among these.
    pub(super) fn keep_only<'a>(&self, steps: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let kept: std::collections::BTreeSet<PathBuf> = steps.map(|step| self.folder(step)).collect();
        let entries = match fs_err::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs_err::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// The last lines of a step's output.
    pub(super) fn tail(&self, step: &str, lines: usize) -> io::Result<Vec<String>> {
        let mut reader = self.reader(step);
        reader.at = end_of(&reader.folder)?;
        let mut room = TAIL_READ_BYTES;
        while reader.at.offset < room
            && reader.at.segment > 0
            && segment(&reader.folder, reader.at.segment - 1).exists()
        {
            room -= reader.at.offset;
            reader.at.segment -= 1;
            reader.at.offset = fs_err::metadata(segment(&reader.folder, reader.at.segment))?.len();
        }
        reader.at.offset = reader.at.offset.saturating_sub(room);
        let mut last = std::collections::VecDeque::new();
        let whole = reader.at.offset == 0;
        if !whole {
            reader.skip_line()?;
        }
        while let Some(line) = reader.next(None)? {
            if last.len() == lines {
                last.pop_front();
            }
            last.push_back(line.text);
        }
        Ok(last.into())
    }
}

fn segment(folder: &Path, number: u32) -> PathBuf {
    folder.join(number.to_string())
}

/// The end of the last segment.
fn end_of(folder: &Path) -> io::Result<Position> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Position::default()),
        Err(error) => return Err(error),
    };
    let mut end = Position::default();
    for entry in entries {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number >= end.segment) {
            end = Position { segment: number, offset: entry.metadata()?.len() };
        }
    }
    Ok(end)
}

/// Writes one step's output. Nothing is made on disk before there is some.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    at: Position,
    file: Option<fs_err::File>,
    /// The beginnings of lines whose ends have not come yet, of stdout and stderr.
    pending: [Vec<u8>; 2],
    /// If set, this very folder is written to and no later one in its place. It is open, so no other can be taken for it.
    only: Option<fs_err::File>,
}

impl Writer {
    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Takes output as it comes, cut anywhere.
    pub(super) fn output(&mut self, stream: LogStream, data: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(data.len() + 64);
        let index = index_of(stream);
        let mut pending = std::mem::take(&mut self.pending[index]);
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while pending.len() + piece.len() > LINE_BYTES_MAX {
                let (head, rest) = piece.split_at((LINE_BYTES_MAX - pending.len()).min(piece.len()));
                pending.extend_from_slice(head);
                write_line(&mut out, stream, &pending);
                pending.clear();
                piece = rest;
            }
            pending.extend_from_slice(piece);
            if pending.last() == Some(&b'\n') {
                write_line(&mut out, stream, &pending);
                pending.clear();
            }
        }
        self.pending[index] = pending;
        self.append(&out)
    }

    /// A line of our own.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.output(LogStream::Stdout, format!("{text}\n").as_bytes())
    }

    /// Ends lines that have no end.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let pending = std::mem::take(&mut self.pending[index_of(stream)]);
            if !pending.is_empty() {
                let mut out = Vec::new();
                write_line(&mut out, stream, &pending);
                self.append(&out)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.file.is_none() || self.at.offset >= SEGMENT_BYTES {
            self.next_segment()?;
        }
        let file = self.file.as_mut().expect("opened above");
        file.write_all(lines)?;
        self.at.offset += lines.len() as u64;
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<()> {
        if let Some(only) = &self.only {
            let (wanted, found) = (only.metadata()?, fs_err::metadata(&self.folder)?);
            if (wanted.dev(), wanted.ino()) != (found.dev(), found.ino()) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the log was begun anew"));
            }
        }
        if self.file.is_some() {
            self.at = Position { segment: self.at.segment + 1, offset: 0 };
        } else {
            fs_err::create_dir_all(&self.folder)?;
        }
        let old = self.at.segment.checked_sub(TAIL_SEGMENTS).filter(|old| *old >= HEAD_SEGMENTS);
        if let Some(old) = old {
            match fs_err::remove_file(segment(&self.folder, old)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = Some(fs_err::File::create(segment(&self.folder, self.at.segment))?);
        Ok(())
    }
}

fn index_of(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

fn write_line(out: &mut Vec<u8>, stream: LogStream, line: &[u8]) {
    let mark = match stream {
        LogStream::Stdout => 'o',
        LogStream::Stderr => 'e',
    };
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    out.extend_from_slice(format!("{} {mark} {text}\n", Timestamp::now().as_microsecond()).as_bytes());
}

/// Reads one step's output from its beginning, following it while it grows.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    at: Position,
    /// The segment, once it is open.
    file: Option<BufReader<fs_err::File>>,
    lost: bool,
}

impl Reader {
    /// The next line before `end`, or before the end of what is there.
    pub(super) fn next(&mut self, end: Option<Position>) -> io::Result<Option<Line>> {
        loop {
            if end.is_some_and(|end| self.at >= end) {
                return Ok(None);
            }
            if std::mem::take(&mut self.lost) {
                let line = Line { at: Timestamp::now(), stream: LogStream::Stdout, text: LEFT_OUT.to_owned() };
                return Ok(Some(line));
            }
            if let Some(bytes) = self.read_line()? {
                if let Some(line) = parse(&bytes) {
                    return Ok(Some(line));
                }
                continue;
            }
            if !self.next_segment()? {
                return Ok(None);
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        self.read_line().map(drop)
    }

    /// One whole line of this segment; `None` at its end, or when it is not there.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match self.open()? {
                Some(file) => self.file.insert(file),
                None => return Ok(None),
            },
        };
        let mut line = Vec::new();
        let count = file.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            // What was read of a line that is not whole yet has to be read again.
            self.file = None;
            return Ok(None);
        }
        self.at.offset += count as u64;
        Ok(Some(line))
    }

    fn open(&self) -> io::Result<Option<BufReader<fs_err::File>>> {
        let mut file = match fs_err::File::open(segment(&self.folder, self.at.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.at.offset))?;
        Ok(Some(BufReader::with_capacity(READ_BYTES, file)))
    }

    /// Goes to the next segment that is there; false when this is the last.
    fn next_segment(&mut self) -> io::Result<bool> {
        let next = self.at.segment + 1;
        if segment(&self.folder, next).exists() {
            self.at = Position { segment: next, offset: 0 };
            self.file = None;
            return Ok(true);
        }
        let end = end_of(&self.folder)?;
        if end.segment <= self.at.segment {
            return Ok(false);
        }
        let first = end.segment.saturating_sub(TAIL_SEGMENTS - 1).max(next);
        self.at = Position { segment: first, offset: 0 };
        self.file = None;
        self.lost = true;
        Ok(true)
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(line).ok()?;
    let mut parts = text.splitn(3, ' ');
    let at = Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok()?;
    let stream = match parts.next()? {
        "o" => LogStream::Stdout,
        "e" => LogStream::Stderr,
        _ => return None,
    };
    Some(Line { at, stream, text: parts.next()?.to_owned() })
}
